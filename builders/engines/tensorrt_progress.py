# SPDX-License-Identifier: Apache-2.0
"""How far a TensorRT build is: one fraction out of its nested phases, and a way to end it early."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sightline.builders.engines.tensorrt_api import Api

Progress = Callable[[float, str], None]


@dataclass
class _Phase:
    """A phase that has begun. share: of its parent's current step that is done in `inner`, 0..1."""

    parent: str | None
    steps: int
    done: int = 0
    inner: dict[str, float] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        running = max(self.inner.values(), default=0.0)
        return min(1.0, (self.done + running) / max(self.steps, 1))


class BuildTracker:
    """Follows the phases that TensorRT reports, from any of its threads.

    The fraction never falls: phases of one name follow each other and begin at 0 again, which is not shown.
    """

    def __init__(self, progress: Progress | None = None, on_step: Callable[[], None] | None = None) -> None:
        self._progress = progress
        self._on_step = on_step
        self._phases: dict[str, _Phase] = {}
        self._lock = threading.Lock()
        self._shown = 0.0
        self._cancelled = False
        self.failure: BaseException | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the build has been asked to end."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask the build to end at its next step."""
        self._cancelled = True

    def begin(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins inside the current step of its parent."""
        with self._lock:
            self._phases[name] = _Phase(parent, steps)
        self._show(name)

    def step(self, name: str) -> bool:
        """A step of a phase is done; False ends the build."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done += 1
                phase.inner.clear()
                self._pass_on(name, phase)
        self._show(name)
        self._guarded(self._on_step)
        return not self._cancelled

    def end(self, name: str) -> None:
        """A phase is over."""
        with self._lock:
            phase = self._phases.pop(name, None)
            if phase is not None:
                phase.done = phase.steps
                self._pass_on(name, phase)

    def finish(self) -> None:
        """The engine is there."""
        self._shown = 1.0
        self._show("done")

    def _pass_on(self, name: str, phase: _Phase) -> None:
        """Tell the phases above how far this one is."""
        for _ in range(64):  # more levels than TensorRT has; a circle of parents ends here
            above = self._phases.get(phase.parent) if phase.parent else None
            if above is None or above is phase or phase.parent is None:
                if phase.parent is None:
                    self._shown = max(self._shown, phase.fraction)
                return
            above.inner[name] = phase.fraction
            name, phase = phase.parent, above

    def _show(self, name: str) -> None:
        if self._progress is not None:
            progress, fraction = self._progress, self._shown
            self._guarded(lambda: progress(fraction, name))

    def _guarded(self, call: Callable[[], None] | None) -> None:
        """Nothing may be raised into TensorRT: what a callback raises ends the build and is raised after it."""
        if call is None or self.failure is not None:
            return
        try:
            call()
        except BaseException as error:
            self.failure = error
            self._cancelled = True


def make_monitor(api: Api, tracker: BuildTracker) -> Any:
    """An IProgressMonitor that reports to `tracker`; None where this version has none."""
    base: Any = getattr(api.module, "IProgressMonitor", None)
    if base is None:
        return None

    class Monitor(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            tracker.begin(name, parent or None, steps)

        def step_complete(self, name: str, step: int) -> bool:
            return tracker.step(name)

        def phase_finish(self, name: str) -> None:
            tracker.end(name)

    return Monitor()

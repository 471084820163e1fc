# SPDX-License-Identifier: Apache-2.0
"""One way of working as a process of its own, which waits between its turns without using a core.

As a process: `python -m sightline.perf.streams.worker`. The first line of stdin is what it is (JSON); each further line
a number of seconds to work. It answers one line of JSON each, and ends with stdin.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from sightline.errors import StreamError

_FIRST_FRAME_SECONDS = 90.0
_FAILED = "a process of the measurement ended; see its message above"


class Way(Protocol):
    """One way of working, inside its process."""

    def start(self) -> None:
        """Begin to work; the warm-up follows."""

    def frames(self) -> int:
        """Frames done since `start`."""

    def is_running(self) -> bool:
        """Whether every source has given a frame; the warm-up begins then."""

    def stop(self) -> dict[str, Any]:
        """End, and give further figures."""


@dataclass(frozen=True)
class Turn:
    """One turn of a worker, without its warm-up. more: further figures of its kind."""

    frames: int
    seconds: float
    cpu_seconds: float
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of this process for one frame."""
        return self.cpu_seconds * 1e3 / max(self.frames, 1)


class Worker:
    """A worker's process. kind: one of ways.WAYS; options: of that kind, as JSON types."""

    def __init__(self, kind: str, **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sightline.perf.streams.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            if not self._ask({"kind": kind, **options}).get("ready"):
                raise StreamError(_FAILED)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def turn(
        self, seconds: float, *, warm_up: float = 1.0, meanwhile: Callable[[], None] | None = None
    ) -> Turn:
        """Work for so long after the warm-up. meanwhile: is called while it works. Raises StreamError."""
        self._tell({"seconds": seconds, "warm_up": warm_up})
        if meanwhile:
            meanwhile()
        return Turn(**self._answer())

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, question: Any) -> dict[str, Any]:
        self._tell(question)
        return self._answer()

    def _tell(self, question: Any) -> None:
        try:
            if self._process.stdin:
                self._process.stdin.write(json.dumps(question) + "\n")
                self._process.stdin.flush()
        except OSError:
            raise StreamError(_FAILED) from None

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise StreamError(_FAILED)
        return dict(json.loads(line))


def _turn(way: Way, seconds: float, warm_up: float) -> dict[str, Any]:
    way.start()
    until = time.monotonic() + _FIRST_FRAME_SECONDS
    while not way.is_running() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(warm_up)
    frames, began, cpu = way.frames(), time.monotonic(), sum(os.times()[:2])
    time.sleep(seconds)
    frames, ended, used = way.frames() - frames, time.monotonic(), sum(os.times()[:2]) - cpu
    return {"frames": frames, "seconds": ended - began, "cpu_seconds": used, "more": way.stop()}


def main() -> None:
    """The process."""
    from sightline.perf.streams.ways import open_way

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    way = open_way(**json.loads(sys.stdin.readline()))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_turn(way, **json.loads(line))), file=answers, flush=True)
    os._exit(0)  # a library's own threads are not waited for


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The training loop of every task: seeded, averaged weights, cosine rate, mixed precision, early stop, resumable."""

from __future__ import annotations

import copy
import math
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from sightline.errors import SightlineError

_WARM_STEPS = 300
_WARM_SHARE = 0.1
_CLIP = 10.0
_FORMAT = 2


@dataclass(frozen=True)
class Settings:
    """What a run is made of. It ends with `minutes` or with `epochs`, whichever comes first; one of them is given.

    average: decay of the averaged weights, which are what is kept. patience: evaluations without a better score
    after which the run stops, 0 for never. evaluations: how many there are, evenly over the run.
    precision: auto (mixed on CUDA, else fp32), fp32 or mixed. checkpoint_seconds: time between checkpoints.
    """

    minutes: float | None = None
    epochs: float | None = None
    seed: int = 1
    batch: int = 8
    rate: float = 1.5e-3
    weight_decay: float = 0.02
    average: float = 0.999
    evaluations: int = 10
    patience: int = 0
    device: str = "cpu"
    threads: int = 2
    precision: str = "auto"
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.minutes is None and self.epochs is None:
            raise SightlineError("neither minutes nor epochs is given; one of them ends the run")
        for name in ("minutes", "epochs", "batch", "rate", "evaluations", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SightlineError(f"{name} is {value}; it must be above 0")
        if self.precision not in ("auto", "fp32", "mixed"):
            raise SightlineError(f"precision is {self.precision!r}; it must be auto, fp32 or mixed")

    @property
    def mixed(self) -> bool:
        """Whether the forward pass runs in half precision where that is safe."""
        return self.precision == "mixed" or (self.precision == "auto" and self.device == "cuda")


@dataclass
class History:
    """What happened, for the record and the curve. Points are (seconds, value)."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    best: float = -math.inf
    since_best: int = 0
    stopped_early: bool = False
    losses: list[tuple[float, float]] = field(default_factory=list)
    scores: list[tuple[float, float]] = field(default_factory=list)


class Task(Protocol):
    """What a task adds to the loop."""

    network: nn.Module
    score_name: str
    """Name of the figure that is to grow, such as mAP50."""
    images: int
    """How many images an epoch has."""
    classes: tuple[str, ...]

    def batches(self, size: int, seed: int) -> Iterator[Any]:
        """Endless batches of arrays, made in a thread of their own."""

    def loss(self, network: nn.Module, batch: Any, device: torch.device) -> Tensor:
        """The loss of one batch, a scalar."""

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Figures of the averaged network on held-out data, the score first; empty where there are none."""


class Reporter(Protocol):
    """Who hears of a run."""

    def say(self, line: str) -> None:
        """A line worth keeping."""

    def advance(self, share: float, text: str) -> None:
        """How much of the run is done, 0..1, and the latest figures."""


class _Feed:
    """Batches prepared ahead in a thread that ends with the run."""

    def __init__(self, source: Iterator[Any]) -> None:
        self._source, self._queue, self._stop = source, Queue[Any](4), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for batch in self._source:
                while not self._stop.is_set():
                    try:
                        self._queue.put(batch, timeout=0.2)
                        break
                    except Full:
                        continue
                if self._stop.is_set():
                    return
        except BaseException as error:
            self._error = error

    def get(self) -> Any:
        """The next batch; an error of the thread is raised here."""
        while True:
            try:
                return self._queue.get(timeout=0.2)
            except Empty:
                if self._error is not None:
                    raise self._error from None

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


class Trainer:
    """One run of a task. `saved` gets the averaged network after each evaluation that is the best so far."""

    def __init__(
        self,
        settings: Settings,
        task: Task,
        checkpoint: Path,
        reporter: Reporter,
        saved: Callable[[nn.Module, dict[str, float]], None] | None = None,
    ) -> None:
        torch.manual_seed(settings.seed)
        if settings.device == "cpu":
            torch.set_num_threads(settings.threads)
            cv2.setNumThreads(1)
        self.settings, self.task, self.checkpoint = settings, task, checkpoint
        self.reporter, self.saved = reporter, saved
        self.device = torch.device(settings.device)
        self.network = task.network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: nn.Module = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.best: dict[str, Tensor] | None = None
        learnt = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learnt if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.rate)
        half = (
            torch.float16
            if self.device.type == "cuda" and not torch.cuda.is_bf16_supported()
            else torch.bfloat16
        )
        self._half = half
        self._scaler = torch.amp.GradScaler(
            self.device.type, enabled=settings.mixed and half == torch.float16
        )
        self.history = History()
        if checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        """Go on from the checkpoint. Raises SightlineError where it is damaged or of another run."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            if state["format"] != _FORMAT or state["classes"] != list(self.task.classes):
                raise SightlineError(
                    f"checkpoint {self.checkpoint} is of a run with other classes; delete it, or choose another folder"
                )
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self._scaler.load_state_dict(state["scaler"])
            self.best, self.history = state["best"], History(**state["history"])
        except (
            OSError,
            KeyError,
            TypeError,
            ValueError,
            RuntimeError,
            EOFError,
            pickle.UnpicklingError,
        ) as error:
            raise SightlineError(
                f"checkpoint {self.checkpoint} cannot be used: it is damaged, or of another network; "
                "delete it to begin anew"
            ) from error
        self.reporter.say(f"resumed at {self.history.seconds / 60:.1f} minutes, step {self.history.steps}")

    def save(self) -> None:
        """Write the checkpoint in one rename."""
        partial = self.checkpoint.with_suffix(".partial")
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "format": _FORMAT,
            "classes": list(self.task.classes),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "history": asdict(self.history),
        }
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def summary(self) -> dict[str, object]:
        """What was done, for the record."""
        history, settings = self.history, self.settings
        return {
            "images": self.task.images,
            "images_seen": history.images,
            "steps": history.steps,
            "epochs": round(history.images / max(self.task.images, 1), 2),
            "batch": settings.batch,
            "rate": settings.rate,
            "minutes": round(history.seconds / 60, 1),
            "stopped_early": history.stopped_early,
            "precision": "mixed" if settings.mixed else "fp32",
            "device": settings.device,
            "torch": torch.__version__,
        }

    @property
    def done(self) -> float:
        """How much of the run is behind us, 0..1."""
        shares = [0.0]
        if self.settings.minutes is not None:
            shares.append(self.history.seconds / (self.settings.minutes * 60))
        if self.settings.epochs is not None:
            shares.append(self.history.steps / self._last_step(self.settings.epochs))
        return min(max(shares), 1.0)

    def _last_step(self, epochs: float) -> int:
        return max(math.ceil(epochs * self.task.images / self.settings.batch), 1)

    def _set_rate(self) -> None:
        warm = min(max((self.history.steps + 1) / _WARM_STEPS, self.done / _WARM_SHARE, 1e-3), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = (
                self.settings.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.done)))
            )

    def step(self, batch: Any) -> float:
        """One update; returns the loss. Raises SightlineError when the loss is no number."""
        self._set_rate()
        self.network.train()
        with torch.autocast(self.device.type, dtype=self._half, enabled=self.settings.mixed):
            loss = self.task.loss(self.network, batch, self.device)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise SightlineError(
                f"the loss is {value} at step {self.history.steps}; lower the rate ({self.settings.rate}), "
                "or look for broken labels"
            )
        self.optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self._follow()
        self.history.steps += 1
        self.history.images += self.settings.batch
        return value

    @torch.no_grad()
    def _follow(self) -> None:
        keep = self.settings.average * (1 - math.exp(-(self.history.steps + 1) / 300.0))
        ours, theirs = self.average.state_dict(), self.network.state_dict()
        floats = [k for k, v in ours.items() if v.is_floating_point()]
        torch._foreach_lerp_([ours[k] for k in floats], [theirs[k] for k in floats], 1 - keep)

    def run(self) -> nn.Module:
        """Train to the end; returns the averaged network of the best evaluation.

        A Ctrl-C leaves a checkpoint behind, from which the same call goes on.
        """
        feed = _Feed(self.task.batches(self.settings.batch, self.settings.seed + self.history.steps))
        begun = time.monotonic() - self.history.seconds
        shown = kept = time.monotonic()
        recent: list[float] = []
        try:
            while self.done < 1.0 and not self.history.stopped_early:
                recent.append(self.step(feed.get()))
                now = time.monotonic()
                self.history.seconds = now - begun
                self._show(recent)
                if now - shown > 20 or self.done >= 1.0:
                    shown, recent = now, []
                tested = self.done >= (self.history.evaluations + 1) / self.settings.evaluations
                if tested:
                    self._test()
                if tested or time.monotonic() - kept > self.settings.checkpoint_seconds:
                    self.save()
                    kept = time.monotonic()
        finally:
            feed.close()
            self.save()
        if self.best is not None:
            self.average.load_state_dict(self.best)
        return self.average

    def _show(self, recent: list[float]) -> None:
        """Tell the reporter; a point of the curve for every fiftieth of the run."""
        history, loss = self.history, float(np.mean(recent[-50:]))
        if not history.losses or self.done - self._share_of_last_point() >= 0.02:
            history.losses.append((history.seconds, loss))
        rate = history.images / max(history.seconds, 1e-9)
        epoch = history.images / max(self.task.images, 1)
        best = "" if history.best == -math.inf else f", best {self.task.score_name} {history.best:.3f}"
        self.reporter.advance(self.done, f"loss {loss:.3f}, epoch {epoch:.2f}, {rate:.0f} images/s{best}")

    def _share_of_last_point(self) -> float:
        return self.done * self.history.losses[-1][0] / max(self.history.seconds, 1e-9)

    def _test(self) -> None:
        """Evaluate the averaged weights, keep them when they are the best, stop when nothing improves."""
        history = self.history
        history.evaluations = int(self.done * self.settings.evaluations + 1e-6)
        figures = self.task.evaluate(self.average.eval(), self.device)
        if not figures:
            return
        score = next(iter(figures.values()))
        history.scores.append((history.seconds, score))
        self.reporter.say(f"step {history.steps}: " + ", ".join(f"{k} {v:.4f}" for k, v in figures.items()))
        if score > history.best:
            history.best, history.since_best = score, 0
            self.best = {k: v.detach().clone() for k, v in self.average.state_dict().items()}
            if self.saved:
                self.saved(self.average, figures)
        else:
            history.since_best += 1
            history.stopped_early = 0 < self.settings.patience <= history.since_best

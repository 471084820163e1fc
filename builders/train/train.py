# SPDX-License-Identifier: Apache-2.0
"""The training loop: seeded, averaged weights, a cosine rate bound to the time, resumable checkpoints."""

from __future__ import annotations

import copy
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import cv2
import numpy as np
import torch
from torch import nn

from sightline.builders.train.dataset import PAD_ROWS, Batch, RenderedScenes, batches, letterboxed
from sightline.builders.train.evaluate import Evaluation, detections, evaluate
from sightline.builders.train.export import ExportedDetector
from sightline.builders.train.loss import detection_loss
from sightline.builders.train.network import StreetDetector, anchor_points

_WARM_STEPS = 300
_CLIP = 10.0


@dataclass(frozen=True)
class Settings:
    """What a run is made of; everything that changes the result is in here."""

    minutes: float
    seed: int = 1
    batch: int = 8
    rate: float = 1.5e-3
    weight_decay: float = 0.02
    average: float = 0.999
    evaluate_minutes: float = 6.0
    evaluate_frames: int = 160
    device: str = "cpu"
    threads: int = 2


@dataclass
class History:
    """What happened, for the record and the curve. Points are (seconds, value)."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    losses: list[tuple[float, float]] = field(default_factory=list)
    map50: list[tuple[float, float]] = field(default_factory=list)


def tensors(batch: Batch, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Images 0..1, then truth, classes, real and hidden padded to the batch's largest count."""
    images, found, hidden = batch
    picture = (
        torch.from_numpy(images)
        .to(device)
        .permute(0, 3, 1, 2)
        .float()
        .div_(255.0)
        .contiguous(memory_format=torch.channels_last)
    )
    most, most_hidden = max(max(map(len, found)), 1), max(max(map(len, hidden)), 1)
    rows = np.zeros((len(found), most, 6), np.float32)
    covers = np.full((len(found), most_hidden, 4), -1, np.float32)
    for i, (objects, covered) in enumerate(zip(found, hidden, strict=True)):
        rows[i, : len(objects), :5] = objects
        rows[i, : len(objects), 5] = 1
        covers[i, : len(covered)] = covered
    table = torch.from_numpy(rows).to(device)
    return (
        picture,
        table[..., 1:5],
        table[..., 0].long(),
        table[..., 5] > 0,
        torch.from_numpy(covers).to(device),
    )


def network_evaluation(
    network: StreetDetector, held_out: RenderedScenes, frames: int, classes: int, device: str
) -> Evaluation:
    """AP of the network on evenly spread held-out frames."""
    model = ExportedDetector(network).eval()
    picks = np.unique(np.linspace(0, len(held_out) - 1, min(frames, len(held_out))).astype(int))
    shift = np.array([0, 0, PAD_ROWS, 0, PAD_ROWS], np.float32)

    def infer(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            output = model(torch.from_numpy(images).to(device).contiguous(memory_format=torch.channels_last))
            return np.asarray(output.float().cpu())

    truth = [held_out.truth(int(i)) for i in picks]
    found = detections(infer, [letterboxed(np.asarray(held_out.images[i])) for i in picks])
    return evaluate(found, [t + shift for t, _ in truth], [h + shift[1:] for _, h in truth], classes)


class Trainer:
    """One run.

    `report` gets a line of text now and then; `saved` gets the averaged network after each evaluation.
    """

    def __init__(
        self,
        settings: Settings,
        classes: int,
        data: RenderedScenes,
        held_out: RenderedScenes | None,
        checkpoint: Path,
        report: Callable[[str], None],
        saved: Callable[[StreetDetector, Evaluation], None] | None = None,
    ) -> None:
        torch.manual_seed(settings.seed)
        if settings.device == "cpu":
            torch.set_num_threads(settings.threads)
            cv2.setNumThreads(1)
        self.settings, self.classes, self.data, self.held_out = settings, classes, data, held_out
        self.checkpoint, self.report, self.saved = checkpoint, report, saved
        self.device = torch.device(settings.device)
        self.network = StreetDetector(classes).to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: StreetDetector = copy.deepcopy(self.network).eval().requires_grad_(False)
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.rate)
        self.history = History()
        if checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.history = History(**state["history"])
        self.report(f"resumed at {self.history.seconds / 60:.1f} minutes, step {self.history.steps}")

    def save(self) -> None:
        """Write the checkpoint in one rename."""
        partial = self.checkpoint.with_suffix(".partial")
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        torch.save(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "history": self.history.__dict__,
            },
            partial,
        )
        os.replace(partial, self.checkpoint)

    def summary(self) -> dict[str, object]:
        """What was done, for the record."""
        history = self.history
        return {
            "images": len(self.data),
            "images_seen": history.images,
            "steps": history.steps,
            "epochs": round(history.images / len(self.data), 2),
            "batch": self.settings.batch,
            "minutes": round(history.seconds / 60, 1),
            "device": self.settings.device,
            "torch": torch.__version__,
        }

    def _set_rate(self) -> None:
        done = min(self.history.seconds / (self.settings.minutes * 60.0), 1.0)
        warm = min((self.history.steps + 1) / _WARM_STEPS, 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def step(self, batch: Batch) -> float:
        """One update; returns the loss."""
        self._set_rate()
        self.network.train()
        images, truth, classes, real, hidden = tensors(batch, self.device)
        boxes, logits = self.network(images)
        points, strides = anchor_points(images.shape[2], images.shape[3], self.device)
        box_loss, score_loss = detection_loss(boxes, logits, truth, classes, real, hidden, points, strides)
        loss = box_loss + score_loss
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimiser.step()
        self._follow()
        self.history.steps += 1
        self.history.images += len(images)
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        keep = self.settings.average * (1 - math.exp(-(self.history.steps + 1) / 300.0))
        ours, theirs = self.average.state_dict(), self.network.state_dict()
        floats = [k for k, v in ours.items() if v.is_floating_point()]
        torch._foreach_lerp_([ours[k] for k in floats], [theirs[k] for k in floats], 1 - keep)

    def run(self) -> StreetDetector:
        """Train until the minutes are spent; returns the averaged network."""
        queue: Queue[Batch] = Queue(4)
        source = batches(self.data, self.settings.batch, self.settings.seed + self.history.steps)
        stop = threading.Event()

        def feed() -> None:
            for batch in source:
                queue.put(batch)
                if stop.is_set():
                    return

        threading.Thread(target=feed, daemon=True).start()
        begun = time.monotonic() - self.history.seconds
        shown = tested = time.monotonic()
        recent: list[float] = []
        while self.history.seconds < self.settings.minutes * 60:
            recent.append(self.step(queue.get()))
            now = time.monotonic()
            self.history.seconds = now - begun
            if now - shown > 20:
                shown = now
                self._show(recent)
                recent = []
            if now - tested > self.settings.evaluate_minutes * 60:
                self._test()
                tested = time.monotonic()
        stop.set()
        self.save()
        return self.average

    def _show(self, recent: list[float]) -> None:
        history = self.history
        loss, left = float(np.mean(recent)), self.settings.minutes * 60 - history.seconds
        history.losses.append((history.seconds, loss))
        done = min(history.seconds / (self.settings.minutes * 60), 1.0)
        bar = "#" * int(30 * done)
        epoch = history.images / len(self.data)
        self.report(
            f"[{bar:30s}] {done:4.0%} loss {loss:.3f} epoch {epoch:.2f} "
            f"{history.images / history.seconds:.1f} images/s, {left / 60:.1f} min left"
        )

    def _test(self) -> None:
        self.save()
        if self.held_out is None:
            return
        result = network_evaluation(
            self.average, self.held_out, self.settings.evaluate_frames, self.classes, self.settings.device
        )
        self.history.map50.append((self.history.seconds, result.map50))
        each = " ".join(f"{k}:{v:.2f}" for k, v in result.ap50.items())
        self.report(
            f"held-out mAP50 {result.map50:.3f} mAP50-95 {result.map50_95:.3f} "
            f"({result.frames} frames) {each}"
        )
        if self.saved:
            self.saved(self.average, result)

# SPDX-License-Identifier: Apache-2.0
"""Parity and rates, as all steps report them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.perf.gpu.onnx_torch import Reference, cpu_reference
from sightline.perf.gpu.step import Network

_PICTURES = 4
_LATENCIES_KEPT = 100_000


class Parity:
    """Compares a GPU's answers with the CPU's in fp32, on the same random pictures."""

    def __init__(self, network: Network) -> None:
        self.pictures = np.random.default_rng(7).random(network.shape(_PICTURES), np.float32)
        reference, self.against = cpu_reference(network.content)
        self._wanted = [_one_by_one(reference, self.pictures)]

    def compare(self, answers: Sequence[NDArray[Any]]) -> dict[str, Any]:
        """Errors by output, as shares of the output's largest value."""
        (wanted,) = self._wanted
        if len(answers) != len(wanted):
            raise ValueError(f"there are {len(answers)} outputs, the CPU gives {len(wanted)}")
        return {
            "against": self.against,
            "pictures": len(self.pictures),
            "outputs": [_difference(a, b) for a, b in zip(answers, wanted, strict=True)],
        }


def _one_by_one(reference: Reference, pictures: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Exports with a batch of 1 baked in take no more."""
    answers = [reference(pictures[index : index + 1]) for index in range(len(pictures))]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _difference(answer: NDArray[Any], wanted: NDArray[Any]) -> dict[str, Any]:
    if answer.shape != wanted.shape:
        raise ValueError(f"an output has the shape {answer.shape}, the CPU's has {wanted.shape}")
    difference = np.abs(answer.astype(np.float64) - wanted.astype(np.float64))
    scale = max(float(np.abs(wanted).max()), 1e-12)
    return {
        "shape": list(answer.shape),
        "finite": bool(np.isfinite(answer).all()),
        "largest_error": _number(difference.max() / scale),
        "mean_error": _number(difference.mean() / scale),
    }


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else None


def rate(
    run: Callable[[], object], wait: Callable[[], object], images: int, seconds: float
) -> dict[str, Any]:
    """Images a second of `run`, which enqueues a batch; `wait` returns when all is done. After a warm-up."""
    for _ in range(3):
        run()
    wait()
    started = time.perf_counter()
    run()
    wait()
    at_once = max(1, min(64, int(0.05 / max(time.perf_counter() - started, 1e-6))))
    runs, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(at_once):
            run()
        wait()
        runs += at_once
    return {
        "batch": images,
        "images_per_second": runs * images / elapsed,
        "milliseconds_per_run": 1e3 * elapsed / runs,
        "runs": runs,
    }


def load(calls: Sequence[Callable[[], object]], images: int, seconds: float) -> dict[str, Any]:
    """Images a second of several clients, a thread each, and their latencies. Raises what a client raised first."""
    times: list[list[float]] = [[] for _ in calls]
    failures: list[Exception] = []
    end = threading.Event()

    def client(index: int) -> None:
        try:
            while not end.is_set():
                started = time.perf_counter()
                calls[index]()
                if len(times[index]) < _LATENCIES_KEPT:
                    times[index].append(time.perf_counter() - started)
        except Exception as error:
            failures.append(error)
            end.set()

    for call in calls:
        call()
    threads = [threading.Thread(target=client, args=(index,)) for index in range(len(calls))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    end.wait(seconds)
    end.set()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    if failures:
        raise failures[0]
    every = np.array([one for some in times for one in some])
    return {
        "clients": len(calls),
        "batch": images,
        "images_per_second": len(every) * images / elapsed,
        "p50_milliseconds": float(np.percentile(every, 50) * 1e3),
        "p99_milliseconds": float(np.percentile(every, 99) * 1e3),
        "requests": len(every),
    }

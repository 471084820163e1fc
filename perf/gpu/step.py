# SPDX-License-Identifier: Apache-2.0
"""A step of the GPU script: it runs and gives facts, or it says why it does not."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.builders.engines.gpu_query import GpuReport

NO_GPU = "no GPU: not run"


class NotRun(Exception):  # noqa: N818 - it is no error
    """Why a step cannot run on this machine."""


@dataclass(frozen=True)
class Network:
    """A network to measure. size: width and height in pixels; content: its ONNX, float32, one image input."""

    name: str
    content: bytes = field(repr=False)
    size: tuple[int, int]

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """Of the input."""
        return batch, 3, self.size[1], self.size[0]


@dataclass(frozen=True)
class Context:
    """What all steps share. seconds: how long a rate is measured; folder: for files on the way."""

    report: GpuReport
    networks: tuple[Network, ...]
    folder: Path
    seconds: float = 3.0
    batches: tuple[int, ...] = (1, 8, 32)


@dataclass(frozen=True)
class Step:
    """run: gives facts as JSON types, or raises NotRun. needs_gpu: without one it is not called."""

    name: str
    run: Callable[[Context], Mapping[str, Any]]
    needs_gpu: bool = True


def run_step(step: Step, context: Context) -> dict[str, Any]:
    """The step's entry in the document. Never raises, but for KeyboardInterrupt."""
    started = time.monotonic()
    if step.needs_gpu and not context.report.gpus:
        return {"step": step.name, "ran": False, "reason": f"{NO_GPU} ({context.report.why_none})"}
    try:
        result = dict(step.run(context))
    except NotRun as reason:
        return {"step": step.name, "ran": False, "reason": str(reason), "seconds": _since(started)}
    except Exception as error:
        return {
            "step": step.name,
            "ran": False,
            "reason": f"{type(error).__name__}: {error}",
            "where": _where(error),
            "seconds": _since(started),
        }
    return {"step": step.name, "ran": True, "seconds": _since(started), "result": result}


def each_network(context: Context, measure: Callable[[Network], Mapping[str, Any]]) -> dict[str, Any]:
    """Facts by network; one that fails is named with its reason and does not stop the others."""
    facts: dict[str, Any] = {}
    for network in context.networks:
        try:
            facts[network.name] = dict(measure(network))
        except NotRun:
            raise
        except Exception as error:
            facts[network.name] = {"reason": f"{type(error).__name__}: {error}", "where": _where(error)}
    if facts and all("reason" in one for one in facts.values()):
        raise NotRun("; ".join(f"{name}: {one['reason']}" for name, one in facts.items()))
    return facts


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def _where(error: Exception) -> str:
    """File and line of the innermost frame, without the machine's own folders."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""

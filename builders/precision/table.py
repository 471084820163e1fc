# SPDX-License-Identifier: Apache-2.0
"""What each precision costs and brings on this machine: python -m sightline.builders.precision.table CARD

Every row is measured here, on pictures that did not calibrate: error of the outputs, agreement of the detections, time
of one image (CPU time of one thread, the best of rounds in turn), bytes. Networks for GPUs are checked on the CPU,
where bf16 is emulated, and built with TensorRT-RTX, which needs no GPU; they are not run there and have no time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.calibration import calibration_tensors
from sightline.builders.network import canonical_network
from sightline.builders.onnx_source import open_onnx
from sightline.builders.precision.apply import onnx_in_precision
from sightline.builders.precision.running import onnx_runner
from sightline.builders.precision.sensitivity import mean_field_error
from sightline.builders.precision.variants import Precision, cast_variants
from sightline.builders.stages.cpu_engine import ENGINE_FILE, ONNX_FILE, OnnxEngine, open_engine
from sightline.card import ModelCard, load_card
from sightline.errors import SightlineError
from sightline.preprocess_ext import Head, decode_head

Floats = NDArray[np.float32]
Run = Callable[[Floats], list[NDArray[Any]]]
_ROUNDS = 15
_MATCH_IOU = 0.5
_CAPABILITY = 89


@dataclass(frozen=True)
class Row:
    """One engine or network. milliseconds: None where it cannot run here."""

    engine: str
    precision: str
    error: float | None = None
    agreement: float | None = None
    milliseconds: float | None = None
    size_bytes: int | None = None
    note: str = ""


@dataclass(frozen=True)
class _Job:
    card: ModelCard
    onnx: bytes
    calibration: Sequence[Floats]
    pictures: list[Floats]
    wanted: list[list[NDArray[Any]]]
    classes: int


def precision_table(card: ModelCard, pictures: int, *, tell: Callable[[str], None]) -> list[Row]:
    """All rows for a card whose source is an ONNX file. pictures: for calibration, and as many to measure on."""
    network = canonical_network(open_onnx(card.source_path), card)
    tensors = calibration_tensors(card, count=2 * pictures)
    reference = onnx_runner(network.content)
    held_out = [np.ascontiguousarray(tensor[None]) for tensor in tensors[1::2]]
    wanted = [reference(tensor) for tensor in held_out]
    job = _Job(card, network.content, tensors[::2], held_out, wanted, len(network.plan.labels))
    with tempfile.TemporaryDirectory(prefix="sightline_table_") as folder:
        return [*_cpu_rows(job, Path(folder), tell), *_gpu_rows(job, tell)]


def _cpu_rows(job: _Job, folder: Path, tell: Callable[[str], None]) -> list[Row]:
    """Engines of the target local; their times are taken in turn, so that all see the same machine."""
    rows: list[Row] = []
    runs: list[Run] = []
    for kind, precisions in (
        ("openvino", ("fp32", "fp16", "bf16", "int8")),
        ("onnxruntime", ("fp32", "fp16", "int8")),
    ):
        for precision in precisions:
            tell(f"{kind} {precision}")
            place = folder / f"{kind}_{precision}"
            place.mkdir()
            row, run = _cpu_row(job, kind, precision, place)
            rows.append(row)
            runs.append(run)
    best = [float("inf")] * len(runs)
    for _ in range(_ROUNDS):
        for index, run in enumerate(runs):
            started = time.process_time()
            run(job.pictures[0])
            best[index] = min(best[index], time.process_time() - started)
    return [replace(row, milliseconds=seconds * 1e3) for row, seconds in zip(rows, best, strict=True)]


def _cpu_row(job: _Job, kind: str, precision: str, place: Path) -> tuple[Row, Run]:
    card = job.card.model_copy(update={"engine": job.card.engine.model_copy(update={"precision": precision})})
    run: Run
    if kind == "openvino":
        from sightline.builders.engines.openvino import write_openvino

        written = write_openvino(job.onnx, card, place, tensors=job.calibration)
        run = open_engine(place / ENGINE_FILE, precision).run
    else:
        from sightline.builders.engines.onnxruntime import write_onnxruntime

        written = write_onnxruntime(job.onnx, card, place, tensors=job.calibration)
        run = OnnxEngine(place / ONNX_FILE).run
    return Row(
        kind, precision, *_quality(job, run), size_bytes=written.bytes, note="; ".join(written.notes)
    ), run


def _gpu_rows(job: _Job, tell: Callable[[str], None]) -> list[Row]:
    rows = []
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "fp8")
    for precision in precisions:
        tell(f"TensorRT {precision}")
        result = onnx_in_precision(
            job.onnx,
            precision,
            tensors=job.calibration,
            keep_precise=job.card.engine.keep_precise,
            allowed_drop=job.card.calibration.allowed_drop,
        )
        run = onnx_runner(_runnable(job, precision, result.kept, result.content), exact=True)
        notes = [*result.notes, _built(job.card, result.content, precision)]
        rows.append(
            Row(
                "ONNX for TensorRT",
                precision,
                *_quality(job, run),
                None,
                len(result.content),
                "; ".join(notes),
            )
        )
    return rows


def _runnable(job: _Job, precision: Precision, kept: Sequence[str], content: bytes) -> bytes:
    """The network itself; of bf16, which ONNX Runtime does not run on a CPU, the emulated form."""
    if precision != "bf16":
        return content
    variants = cast_variants(job.onnx, "bf16", job.card.engine.keep_precise)
    return bytes(variants.model(kept, emulated=True).SerializeToString())


def _built(card: ModelCard, onnx: bytes, precision: Precision) -> str:
    """What TensorRT-RTX makes of the network, for one compute capability."""
    from sightline.builders.engines.tensorrt import TensorRTOptions, tensorrt_engine

    try:
        options = TensorRTOptions(
            kind="rtx",
            precision=precision,
            batch=(1, card.engine.batch[-1], card.engine.batch[-1]),
            size=card.input.size,
            capabilities=(_CAPABILITY,),
        )
        built = tensorrt_engine(onnx, options)
    except SightlineError as error:
        return f"TensorRT-RTX: {error}"
    return f"built by TensorRT-RTX {built.version} for SM {_CAPABILITY}: {len(built.plan) / 1e6:.1f} MB"


def _quality(job: _Job, run: Run) -> tuple[float, float | None]:
    """Error of the outputs, and agreement of the detections where the head is YOLOv8's."""
    answers = [[np.array(output) for output in run(picture)] for picture in job.pictures]
    error = mean_field_error(answers, job.wanted)
    if job.card.head is None or job.card.head.kind != "yolov8" or job.card.task != "detect":
        return error, None
    pairs = zip(answers, job.wanted, strict=True)
    return error, float(np.mean([_agreement(job, given[0][0], original[0][0]) for given, original in pairs]))


def _agreement(job: _Job, given: Floats, original: Floats) -> float:
    """2 x matched / all: boxes of one class that overlap by half, each matched once, best first."""
    first, second = (_detections(job, raw) for raw in (given, original))
    total = len(first.boxes) + len(second.boxes)
    free = set(range(len(second.boxes)))
    matched = 0
    for box, kind in zip(first.boxes, first.classes, strict=True):
        overlaps = [(_iou(box, second.boxes[i]), i) for i in free if second.classes[i] == kind]
        best = max(overlaps, default=(0.0, -1))
        if best[0] >= _MATCH_IOU:
            matched += 1
            free.discard(best[1])
    return 2 * matched / total if total else 1.0


def _detections(job: _Job, raw: Floats) -> Any:
    width, height = job.card.input.size
    limits = job.card.limits
    return decode_head(
        Head("yolov8", job.classes, (width, height)),
        [np.ascontiguousarray(raw)],
        np.array([1, width, height, 1, 1, 0, 0], np.float32),
        score=limits.score,
        iou=limits.iou,
        max_detections=limits.detections,
    )


def _iou(a: Floats, b: Floats) -> float:
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    inside = float(sides[0] * sides[1])
    both = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - inside
    return inside / both if both > 0 else 0.0


def table_text(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| engine | precision | error | agreement | CPU ms | MB | notes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            row.engine,
            row.precision,
            "" if row.error is None else f"{row.error:.3%}",
            "" if row.agreement is None else f"{row.agreement:.2%}",
            "" if row.milliseconds is None else f"{row.milliseconds:.1f}",
            "" if row.size_bytes is None else f"{row.size_bytes / 1e6:.2f}",
            row.note,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table for a card."""
    parser = argparse.ArgumentParser(prog="python -m sightline.builders.precision.table", description=__doc__)
    parser.add_argument("card", type=Path, help="model card whose source is an ONNX file")
    parser.add_argument("--pictures", type=int, default=32, help="to calibrate, and as many to measure on")
    options = parser.parse_args(arguments)
    try:
        rows = precision_table(
            load_card(options.card), options.pictures, tell=lambda text: print(text, file=sys.stderr)
        )
    except SightlineError as error:
        print(error, file=sys.stderr)
        return 1
    print(table_text(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

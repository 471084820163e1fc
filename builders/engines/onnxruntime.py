# SPDX-License-Identifier: Apache-2.0
"""The canonical ONNX as an ONNX Runtime engine for this machine's CPU (engine.kind: onnxruntime), checked by running it.

For networks that OpenVINO does not take. `python -m sightline.builders.precision.table CARD` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.builders.engines.cpu import (
    Engine,
    Floats,
    Progress,
    folder_files,
    picked,
    raise_if_disk_full,
    trial_tensors,
    try_engine,
    until_cancelled,
)
from sightline.builders.engines.int8_search import Int8Model, search_int8
from sightline.builders.precision.quantize import quantized_for_cpu
from sightline.builders.precision.running import onnx_runner
from sightline.builders.precision.sensitivity import (
    Metric,
    SensitivityReport,
    mean_field_error,
    sensitivity,
)
from sightline.builders.precision.stored import half_weights
from sightline.builders.precision.variants import quantized_variants
from sightline.builders.stages.cpu_engine import ONNX_FILE, OnnxEngine, import_onnxruntime
from sightline.errors import BuildError, OutputError

if TYPE_CHECKING:
    from sightline.card import ModelCard

PRECISIONS = ("fp32", "fp16", "int8")
LEAST_TENSORS = 8
_CHECKING_PICTURES = 12


@dataclass(frozen=True)
class _Job:
    onnx: bytes
    card: ModelCard
    tensors: Sequence[Floats]
    metric: Metric | None
    progress: Progress | None


def write_onnxruntime(
    onnx: bytes,
    card: ModelCard,
    folder: Path,
    *,
    tensors: Sequence[Floats] | None = None,
    metric: Metric | None = None,
    progress: Progress | None = None,
) -> Engine:
    """Write the engine into `folder` as stages/network.py reads it, and compare its answers with the fp32 network's.

    Arguments and errors are those of write_openvino. fp16 is that of the stored weights.
    """
    ort = import_onnxruntime()
    job = _Job(onnx, card, () if tensors is None else tensors, metric, progress)
    precision = card.engine.precision
    content, quantized = _content(job)
    path = folder / ONNX_FILE
    try:
        path.write_bytes(content)
        engine = OnnxEngine(path)
    except OSError as error:
        raise OutputError(f"the engine cannot be written to {folder}: {error.strerror}") from error
    except RuntimeError as error:
        raise_if_disk_full(folder)
        raise BuildError(str(error)) from error
    images = trial_tensors(card, job.tensors)
    trial = try_engine(engine.run, onnx_runner(onnx), images, precision, folder)
    files, size = folder_files(folder, (ONNX_FILE,))
    return Engine(
        kind="onnxruntime",
        version=ort.__version__,
        precision=precision,
        shapes=tuple(tuple(output.shape) for output in engine.run(images[0])),
        milliseconds=trial.milliseconds,
        compared_with="ONNX Runtime, fp32",
        largest_difference=trial.largest,
        mean_difference=trial.mean,
        bytes=size,
        notes=(quantized.note,) if quantized else (),
        files=files,
        sensitivity=quantized.report.as_dict() if quantized and quantized.report else None,
    )


def _content(job: _Job) -> tuple[bytes, Int8Model | None]:
    precision = job.card.engine.precision
    if precision == "fp32":
        return job.onnx, None
    if precision == "fp16":
        return half_weights(job.onnx), None
    if precision != "int8":
        raise BuildError(
            f"engine.precision is {precision}; ONNX Runtime on a CPU runs {', '.join(PRECISIONS)}. "
            "bf16 runs with engine.kind: openvino, fp8 needs a GPU"
        )
    if len(job.tensors) < LEAST_TENSORS:
        raise BuildError(
            f"engine.precision int8 needs at least {LEAST_TENSORS} calibration pictures; there are "
            f"{len(job.tensors)}. Set calibration.images to a folder of pictures or a recording of your cameras"
        )
    found = _int8(job)
    return found.model, found


def _int8(job: _Job) -> Int8Model:
    allowed = job.card.calibration.allowed_drop
    metric = job.metric or mean_field_error
    pictures = list(until_cancelled(picked(job.tensors, _CHECKING_PICTURES)))
    reference = onnx_runner(job.onnx)
    wanted = [reference(picture) for picture in pictures]
    keep: tuple[str, ...] = job.card.engine.keep_precise

    def trial(kept: tuple[str, ...]) -> tuple[Any, float]:
        content = quantized_for_cpu(
            job.onnx, job.tensors, keep_precise=keep, kept=kept, progress=job.progress
        ).SerializeToString()
        run = onnx_runner(content)
        return content, metric([run(picture) for picture in pictures], wanted)

    def ranking() -> SensitivityReport:
        variants = quantized_variants(job.onnx, "int8", job.tensors, keep_precise=keep, progress=job.progress)
        return sensitivity(variants, job.tensors, allowed=allowed, metric=job.metric, progress=job.progress)

    return search_int8(trial, ranking, allowed)

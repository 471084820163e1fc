# SPDX-License-Identifier: Apache-2.0
"""The canonical ONNX to an OpenVINO engine for this machine's CPU, checked by running it.

The engine takes one image at a time: with one thread an instance a batch is no faster than its items one after the
other, a static shape is quicker than an open one, and exports with a batch of 1 baked into their reshapes work.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.builders.engines.cpu import (
    Engine,
    Floats,
    Progress,
    Run,
    first_lines,
    folder_files,
    in_own_thread,
    raise_if_disk_full,
    trial_tensors,
    try_engine,
)
from sightline.builders.precision.graph import named_nodes
from sightline.builders.stages.cpu_engine import ENGINE_FILE, import_openvino, open_engine
from sightline.errors import BuildError, ModelFileError

if TYPE_CHECKING:
    from sightline.builders.precision.sensitivity import Metric
    from sightline.card import ModelCard

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
LEAST_TENSORS = 8


@dataclass(frozen=True)
class _Job:
    onnx: bytes
    card: ModelCard
    folder: Path
    tensors: Sequence[Floats]
    metric: Metric | None
    progress: Progress | None


def write_openvino(
    onnx: bytes,
    card: ModelCard,
    folder: Path,
    *,
    tensors: Sequence[Floats] | None = None,
    metric: Metric | None = None,
    progress: Progress | None = None,
) -> Engine:
    """Write the engine into `folder` and compare its answers with the ONNX's.

    onnx: the canonical network. tensors: float32 of shape (3, height, width) or (1, 3, height, width), the network's
    input for real pictures; int8 needs at least LEAST_TENSORS, and every precision is compared on a few of them.
    metric: of int8, the task's own loss of agreement instead of the outputs' mean error.

    Raises BuildError, CardError for a wrong engine.keep_precise, or OutputError where the disk is full.
    """
    job = _Job(onnx, card, folder, () if tensors is None else tensors, metric, progress)
    return in_own_thread(lambda cancelled: _write(job, cancelled))


def network_shapes(onnx: bytes, card: ModelCard) -> tuple[tuple[int, ...], ...]:
    """Shapes of the canonical network's outputs for one image of the card's size, as OpenVINO infers them.

    Raises BuildError where they depend on the picture or the first size is not 1.
    """
    return _output_shapes(read_network(onnx, card))


def read_network(onnx: bytes, card: ModelCard) -> Any:
    """The canonical network as an openvino.Model that takes one image, float32 in and out. Raises BuildError."""
    ov = import_openvino()
    width, height = card.input.size
    try:
        model = ov.Core().read_model(onnx)
    except RuntimeError as error:
        raise ModelFileError(f"the network cannot be read by OpenVINO: {first_lines(error)}") from error
    try:
        model.reshape([1, 3, height, width])
        steps = ov.preprocess.PrePostProcessor(model)
        for index in range(len(model.outputs)):
            steps.output(index).tensor().set_element_type(ov.Type.f32)
        return steps.build()
    except RuntimeError as error:
        raise BuildError(
            f"the network cannot take one image of {width}x{height} ({first_lines(error)}). "
            "Export it again with an open batch (dynamic=True) or batch=1"
        ) from error


def _output_shapes(model: Any) -> tuple[tuple[int, ...], ...]:
    shapes = []
    for output in model.outputs:
        partial = output.partial_shape
        if partial.is_dynamic:
            raise BuildError(
                f"output '{output.any_name}' has the shape {partial}, which depends on the picture "
                "(NMS inside the model?). Export without NMS: nms=False"
            )
        shapes.append(tuple(int(dim) for dim in output.shape))
    if any(shape[:1] != (1,) for shape in shapes):
        listed = ", ".join(str(shape) for shape in shapes)
        raise BuildError(
            f"for one image the network's outputs have the shapes {listed}; "
            "the first size must be 1. The batch size is baked in: export with batch=1 or dynamic=True"
        )
    return tuple(shapes)


def _write(job: _Job, cancelled: threading.Event) -> Engine:
    ov = import_openvino()
    card, folder, precision = job.card, job.folder, job.card.engine.precision
    _check_precision(job)
    model = read_network(named_nodes(job.onnx) if precision == "int8" else job.onnx, card)
    shapes = _output_shapes(model)
    notes, report = _precision_notes(ov, card), None
    if precision == "int8":
        from sightline.builders.engines.openvino_int8 import int8_model

        quantized = int8_model(
            model,
            job.onnx,
            card,
            job.tensors,
            metric=job.metric,
            progress=job.progress,
            cancelled=cancelled,
        )
        model, notes = quantized.model, (*notes, quantized.note)
        report = quantized.report.as_dict() if quantized.report else None
    _save(ov, model, folder, compress=precision != "fp32")
    engine = open_engine(folder / ENGINE_FILE, precision)
    reference, compared_with = _reference(ov, job.onnx, card)
    trial = try_engine(engine.run, reference, trial_tensors(card, job.tensors), precision, folder)
    files, size = folder_files(folder, (ENGINE_FILE, Path(ENGINE_FILE).with_suffix(".bin").name))
    return Engine(
        kind="openvino",
        version=ov.__version__,
        precision=precision,
        shapes=shapes,
        milliseconds=trial.milliseconds,
        compared_with=compared_with,
        largest_difference=trial.largest,
        mean_difference=trial.mean,
        bytes=size,
        notes=notes,
        files=files,
        sensitivity=report,
    )


def _check_precision(job: _Job) -> None:
    precision = job.card.engine.precision
    if precision not in PRECISIONS:
        raise BuildError(
            f"engine.precision is {precision}; OpenVINO on a CPU runs {', '.join(PRECISIONS)}. "
            "fp8 needs a GPU: use int8 here"
        )
    if precision == "int8" and len(job.tensors) < LEAST_TENSORS:
        raise BuildError(
            f"engine.precision int8 needs at least {LEAST_TENSORS} calibration pictures; there are "
            f"{len(job.tensors)}. Set calibration.images to a folder of pictures or a recording of your cameras"
        )


def _precision_notes(ov: Any, card: ModelCard) -> tuple[str, ...]:
    if card.engine.precision == "bf16":
        if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return (
                "this CPU has no bf16 instructions: the engine runs in fp32 here, in bf16 where there are some",
            )
        if card.engine.keep_precise:
            return (
                "engine.keep_precise has no effect on bf16 on a CPU: OpenVINO chooses operators by itself",
            )
    return ()


def _save(ov: Any, model: Any, folder: Path, *, compress: bool) -> None:
    """Write the engine and see that it can be read back."""
    path = folder / ENGINE_FILE
    try:
        ov.save_model(model, str(path), compress_to_fp16=compress)
        ov.Core().read_model(str(path))
    except RuntimeError as error:
        raise_if_disk_full(folder)
        raise BuildError(f"OpenVINO could not write or read back the engine: {first_lines(error)}") from error


def _reference(ov: Any, onnx: bytes, card: ModelCard) -> tuple[Run, str]:
    """A function image -> outputs of the fp32 network, and who computes it.

    ONNX Runtime, an independent implementation, where it is installed; else OpenVINO on the uncompressed graph,
    which still shows what writing, reading back and rounding the weights did.
    """
    try:
        import onnxruntime
    except ImportError:
        compiled = ov.Core().compile_model(
            read_network(onnx, card), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return lambda image: [value.copy() for value in compiled(image).values()], "OpenVINO, fp32"
    from sightline.builders.precision.running import onnx_runner

    del onnxruntime
    return onnx_runner(onnx), "ONNX Runtime"

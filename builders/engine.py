# SPDX-License-Identifier: Apache-2.0
"""ONNX to an engine for this machine's CPU: OpenVINO IR, checked by running it.

The IR takes one image at a time: with one thread an instance a batch is no faster than its items one after the
other, a static shape is quicker than an open one, and exports with a batch of 1 baked into their reshapes work.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.heads import HEADS, check_head
from sightline.builders.onnx_source import OnnxSource, shape_text
from sightline.builders.stages.cpu_engine import ENGINE_FILE, import_openvino, open_engine
from sightline.errors import BuildError, ModelFileError, OutputError

if TYPE_CHECKING:
    from sightline.card import ModelCard

# Largest difference from the original, as a share of the output's largest value: (at any value, on average).
_TOLERANCE = {"fp32": (1e-3, 1e-4), "fp16": (3e-2, 2e-3)}
_TEST_IMAGES = 3


@dataclass(frozen=True)
class ConvertedModel:
    """The network in memory, one image a run. shapes: of the outputs that the head reads; labels: checked."""

    model: Any
    shapes: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """A written and tried engine."""

    kind: str
    version: str
    shapes: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    milliseconds: float
    compared_with: str
    largest_difference: float


def model_from_onnx(source: OnnxSource, card: ModelCard) -> ConvertedModel:
    """Read the ONNX with OpenVINO, fix its input to (1, 3, height, width) float32, and check the head.

    Raises BuildError where the model's size is not the card's, HeadMismatchError where the outputs do not fit.
    """
    width, height = card.input.size
    if source.size and source.size != (width, height):
        raise BuildError(
            f"the input size is {width}x{height}; the network takes {source.size[0]}x{source.size[1]} only. "
            f"Set the card's input.size to [{source.size[0]}, {source.size[1]}], or leave --size out"
        )
    ov = import_openvino()
    core = ov.Core()
    try:
        model = core.read_model(source.content)
    except RuntimeError as error:
        raise ModelFileError(f"{source.path} cannot be read by OpenVINO: {_first_lines(error)}") from error
    image = [1, 3, height, width] if source.layout == "NCHW" else [1, height, width, 3]
    try:
        model.reshape({source.input.name: image})
        model = _plain_tensors(ov, model, source.layout)
    except RuntimeError as error:
        raise BuildError(
            f"the network cannot take one image of {width}x{height} ({_first_lines(error)}). "
            "Export it again with an open batch (dynamic=True) or batch=1"
        ) from error
    shapes = _static_shapes(model, source)
    labels = check_head(card.head, shapes, card.labels)
    return ConvertedModel(model, shapes[: HEADS[card.head].outputs], labels)


def engine_from_onnx(source: OnnxSource, card: ModelCard, folder: Path) -> Engine:
    """Write the engine into `folder` (as stages/network.py reads it) and compare its answers with the ONNX's.

    Raises BuildError, HeadMismatchError, or OutputError where the disk is full.
    """
    return write_engine(model_from_onnx(source, card), source, card, folder)


def write_engine(converted: ConvertedModel, source: OnnxSource, card: ModelCard, folder: Path) -> Engine:
    """Second half of `engine_from_onnx`: save, read back, run, compare.

    In a thread of its own: OpenVINO's CPU plugin gives the thread that compiles a signal stack, and two compiled models
    that end in the order in which they began leave it pointing at freed memory. The next signal, such as Ctrl-C in
    the main thread, would then end the process with a segmentation fault.
    """
    with ThreadPoolExecutor(1) as own_thread:
        return own_thread.submit(_write_engine, converted, source, card, folder).result()


def _write_engine(converted: ConvertedModel, source: OnnxSource, card: ModelCard, folder: Path) -> Engine:
    ov = import_openvino()
    path = folder / ENGINE_FILE
    try:
        ov.save_model(converted.model, str(path), compress_to_fp16=card.engine.precision == "fp16")
        engine = open_engine(path)
    except RuntimeError as error:
        _raise_if_disk_full(folder)
        raise BuildError(
            f"OpenVINO could not write or read back the engine: {_first_lines(error)}"
        ) from error
    reference, compared_with = _reference(ov, converted, source, card)
    seconds, worst = [], 0.0
    for image in _test_images(card):
        started = time.perf_counter()
        answers = [output.copy() for output in engine.run(image)]
        seconds.append(time.perf_counter() - started)
        for answer, wanted in zip(answers, reference(image), strict=False):
            worst = max(worst, _compare(answer, wanted, card.engine.precision, folder))
    return Engine(
        "openvino",
        ov.__version__,
        converted.shapes,
        converted.labels,
        min(seconds) * 1e3,
        compared_with,
        worst,
    )


def _plain_tensors(ov: Any, model: Any, layout: str) -> Any:
    """Input as float32 NCHW and outputs as float32, whatever the export used."""
    steps = ov.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.f32).set_layout(ov.Layout("NCHW"))
    steps.input().model().set_layout(ov.Layout(layout))
    for index in range(len(model.outputs)):
        steps.output(index).tensor().set_element_type(ov.Type.f32)
    return steps.build()


def _static_shapes(model: Any, source: OnnxSource) -> tuple[tuple[int, ...], ...]:
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
        listed = ", ".join(shape_text(shape) for shape in shapes)
        raise BuildError(
            f"for one image the outputs of {source.path.name} have the shapes {listed}; "
            "the first size must be 1. The batch size is baked in: export with batch=1 or dynamic=True"
        )
    return tuple(shapes)


def _test_images(card: ModelCard) -> list[NDArray[np.float32]]:
    """Random pictures with the card's normalisation, float32 of shape (1, 3, height, width)."""
    width, height = card.input.size
    generator = np.random.default_rng(0)
    mean = np.asarray(card.input.mean, np.float32).reshape(3, 1, 1)
    std = np.asarray(card.input.std, np.float32).reshape(3, 1, 1)
    coarse = generator.integers(0, 256, (_TEST_IMAGES, 3, (height + 7) // 8, (width + 7) // 8))
    pictures = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :height, :width]
    return [np.ascontiguousarray((picture[None] - mean) / std, dtype=np.float32) for picture in pictures]


def _reference(ov: Any, converted: ConvertedModel, source: OnnxSource, card: ModelCard) -> tuple[Any, str]:
    """A function image -> outputs of the original model, and who computes it.

    ONNX Runtime, an independent implementation, where it is installed; else OpenVINO on the uncompressed graph,
    which still shows what writing, reading back and rounding the weights did.
    """
    try:
        import onnxruntime
    except ImportError:
        compiled = ov.Core().compile_model(converted.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda image: list(compiled(image).values()), "OpenVINO, fp32"
    session = onnxruntime.InferenceSession(source.content, providers=["CPUExecutionProvider"])
    dtype = np.float16 if source.input.element == "FLOAT16" else np.float32
    batch = source.input.dims[0] or 1

    def run(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        image = image if source.layout == "NCHW" else image.transpose(0, 2, 3, 1)
        stacked = np.repeat(image, batch, axis=0).astype(dtype)
        return [np.asarray(output[:1]) for output in session.run(None, {source.input.name: stacked})]

    return run, "ONNX Runtime"


def _compare(answer: NDArray[np.float32], wanted: NDArray[Any], precision: str, folder: Path) -> float:
    if answer.shape != wanted.shape or not np.isfinite(answer).all():
        _raise_if_disk_full(folder)
        raise BuildError(
            f"the test run gave shape {answer.shape} with {np.isfinite(answer).mean():.0%} finite values; "
            f"expected {wanted.shape}, all finite. With engine.precision fp16 large weights overflow: try fp32"
        )
    scale = max(float(np.abs(wanted).max()), 1e-6)
    difference = np.abs(answer - wanted) / scale
    worst, mean = float(difference.max()), float(difference.mean())
    allowed_worst, allowed_mean = _TOLERANCE[precision]
    if worst > allowed_worst or mean > allowed_mean:
        _raise_if_disk_full(folder)
        raise BuildError(
            f"the engine's answers differ from the ONNX's by {worst:.2%} (mean {mean:.3%}) of the largest "
            f"value; allowed are {allowed_worst:.2%} and {allowed_mean:.3%}. Try engine.precision: fp32"
        )
    return worst


def _raise_if_disk_full(folder: Path) -> None:
    """OpenVINO does not say why a write failed, or that it did: try to write as much again."""
    written = max((path.stat().st_size for path in folder.iterdir() if path.is_file()), default=0)
    probe = folder / "space_probe"
    try:
        with probe.open("wb") as file:
            remaining = written + (1 << 16)
            while remaining > 0:
                remaining -= file.write(bytes(min(remaining, 1 << 20)))
    except OSError as error:
        raise OutputError(f"the engine cannot be written to {folder}: {error.strerror}") from error
    finally:
        probe.unlink(missing_ok=True)


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return " ".join((useful or lines)[:2])[:400]

# SPDX-License-Identifier: Apache-2.0
"""An OpenVINO network in int8 by NNCF, with the layers that cost accuracy left as they were.

NNCF, not the Q/DQ nodes made for TensorRT: it knows where this CPU's int8 instructions saturate (those before VNNI)
and keeps weights to seven bits there, where the Q/DQ network's answers were ten times further off.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sightline.builders.engines.cpu import (
    Cancelled,
    Floats,
    Progress,
    first_lines,
    picked,
    until_cancelled,
)
from sightline.builders.engines.int8_search import Int8Model, search_int8
from sightline.builders.precision.graph import chosen_nodes, model_from_bytes
from sightline.builders.precision.running import onnx_runner
from sightline.builders.precision.sensitivity import (
    SECONDS,
    Metric,
    SensitivityReport,
    mean_field_error,
    sensitivity,
)
from sightline.builders.precision.variants import quantized_variants
from sightline.builders.stages.cpu_engine import SETTINGS, import_openvino
from sightline.errors import BuildError, MissingDependencyError

if TYPE_CHECKING:
    from sightline.card import ModelCard

_HEAVY_OPERATIONS = (
    "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul",
)  # fmt: skip
_CHECKING_PICTURES = 12


def int8_model(
    model: Any,
    onnx: bytes,
    card: ModelCard,
    tensors: Sequence[Floats],
    *,
    metric: Metric | None,
    progress: Progress | None,
    cancelled: threading.Event,
) -> Int8Model:
    """Quantize `model`, which was read from `onnx`, until its loss is at most the card's calibration.allowed_drop.

    Raises BuildError where that is not reached, or the quantizer fails.
    """
    allowed = card.calibration.allowed_drop
    quantizer = _Quantizer(model, onnx, card, tensors, metric, progress, cancelled)
    return search_int8(quantizer.trial, lambda: quantizer.ranking(allowed), allowed)


class _Quantizer:
    """One network, its pictures and its fp32 answers."""

    def __init__(
        self,
        model: Any,
        onnx: bytes,
        card: ModelCard,
        tensors: Sequence[Floats],
        metric: Metric | None,
        progress: Progress | None,
        cancelled: threading.Event,
    ) -> None:
        self._nncf = import_nncf()
        self._model, self._onnx, self._card = model, onnx, card
        self._tensors, self._tell, self._cancelled = tensors, progress, cancelled
        self._metric = metric or mean_field_error
        self._given_metric = metric
        self._pictures = list(until_cancelled(picked(tensors, _CHECKING_PICTURES), cancelled))
        reference = onnx_runner(onnx)
        self._wanted = [reference(picture) for picture in self._pictures]
        network = model_from_bytes(onnx)
        self._always = chosen_nodes(network, card.engine.keep_precise)
        self._tail = _tail(model)

    def trial(self, kept: Collection[str]) -> tuple[Any, float]:
        """The network with these layers left alone, and its loss."""
        nncf = self._nncf
        ignored = [*self._tail, *_operations(self._model, {*kept, *self._always})]
        try:
            with _quiet():
                candidate = nncf.quantize(
                    self._model.clone(),
                    nncf.Dataset(_Pictures(self)),
                    subset_size=len(self._tensors),
                    preset=nncf.QuantizationPreset.MIXED,
                    target_device=nncf.TargetDevice.CPU,
                    model_type=nncf.ModelType.TRANSFORMER if self._has_attention() else None,
                    fast_bias_correction=True,
                    ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
                )
        except (RuntimeError, nncf.errors.ValidationError, nncf.errors.UnsupportedModelError) as error:
            raise BuildError(f"NNCF cannot quantize the network: {first_lines(error)}") from error
        return candidate, self._loss(candidate)

    def _loss(self, model: Any) -> float:
        settings = {**SETTINGS, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = import_openvino().Core().compile_model(model, "CPU", settings)
        answers = []
        for picture in until_cancelled(self._pictures, self._cancelled):
            found = compiled(picture)
            answers.append([found[output].copy() for output in compiled.outputs])
        return self._metric(answers, self._wanted)

    def ranking(self, allowed: float) -> SensitivityReport:
        """What each layer costs, measured on the Q/DQ form of the same network."""
        variants = quantized_variants(
            self._onnx,
            "int8",
            self._tensors,
            keep_precise=self._card.engine.keep_precise,
            progress=self._progress,
        )
        return sensitivity(
            variants,
            self._tensors,
            allowed=allowed,
            metric=self._given_metric,
            seconds=SECONDS,
            progress=self._progress,
        )

    def pictures(self) -> Iterator[Floats]:
        """Calibration pictures; the quantizer goes through them several times."""
        started = time.monotonic()
        for index, picture in enumerate(until_cancelled(self._tensors, self._cancelled)):
            if index == 0 or time.monotonic() - started > 0.1:
                started = time.monotonic()
                self._progress("int8 ranges", index + 1, len(self._tensors))
            yield picture

    def _progress(self, what: str, done: int, total: int) -> None:
        """Tell the caller, and end here where it was interrupted."""
        if self._cancelled.is_set():
            raise Cancelled
        if self._tell:
            self._tell(what, done, total)

    def __len__(self) -> int:
        return len(self._tensors)

    def _has_attention(self) -> bool:
        """Products of two activations: NNCF then smooths activations and keeps softmax's neighbours precise."""
        return any(
            operation.get_type_name() == "ScaledDotProductAttention"
            or (
                operation.get_type_name() == "MatMul"
                and not any(_is_constant(operation.input_value(place)) for place in (0, 1))
            )
            for operation in self._model.get_ordered_ops()
        )


class _Pictures:
    """What nncf.Dataset wants: something with a length that can be gone through again."""

    def __init__(self, quantizer: _Quantizer) -> None:
        self._quantizer = quantizer

    def __len__(self) -> int:
        return len(self._quantizer)

    def __iter__(self) -> Iterator[Floats]:
        return self._quantizer.pictures()


def import_nncf() -> Any:
    """The nncf package. Raises MissingDependencyError."""
    try:
        with _without_logging():
            import nncf
    except ImportError as error:
        raise MissingDependencyError(
            "int8 on this CPU needs the package 'nncf'; run: pip install 'sightline[precision]'"
        ) from error
    return nncf


def _is_constant(output: Any) -> bool:
    node = output.get_node()
    while node.get_type_name() in ("Convert", "Reshape", "Transpose") and node.get_input_size():
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def _tail(model: Any) -> list[str]:
    """Operations behind the last convolution or matrix product: boxes in pixels are not rounded to 256 steps."""
    feeds: set[str] = set()
    tail = []
    for operation in reversed(model.get_ordered_ops()):
        below = [
            target.get_node()
            for index in range(operation.get_output_size())
            for target in operation.output(index).get_target_inputs()
        ]
        name = operation.get_friendly_name()
        if any(
            node.get_type_name() in _HEAVY_OPERATIONS or node.get_friendly_name() in feeds for node in below
        ):
            feeds.add(name)
        elif operation.get_type_name() not in (*_HEAVY_OPERATIONS, "Result", "Parameter", "Constant"):
            tail.append(name)
    return tail


def _operations(model: Any, names: Collection[str]) -> list[str]:
    """OpenVINO's names of the ONNX nodes: a convolution with a bias becomes NAME/WithoutBiases and NAME."""
    wanted = tuple(names)
    return [
        name
        for name in (operation.get_friendly_name() for operation in model.get_ordered_ops())
        if any(name == node or name.startswith(f"{node}/") for node in wanted)
    ]


@contextlib.contextmanager
def _without_logging() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF's own bars and remarks stay out of a build's output; progress is told through the callback."""
    from nncf.common.logging import track_progress

    original: Callable[..., None] = track_progress.track.__init__

    @functools.wraps(original)
    def without_bar(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "disable": True})

    track_progress.track.__init__ = without_bar
    try:
        with _without_logging():
            yield
    finally:
        track_progress.track.__init__ = original

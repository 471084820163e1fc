# SPDX-License-Identifier: Apache-2.0
"""The canonical network in the card's precision, for engines whose precision lies in the ONNX.

Chosen after trying what there is (all work without a GPU): casts are a pass of our own, since onnxconverter-common and
ONNX Runtime's converter know no bf16 and round box coordinates; Q/DQ nodes are placed by ONNX Runtime's quantizer.
nvidia-modelopt runs that same quantizer, but pins onnx and onnxruntime-gpu to single versions and needs PyTorch and
cupy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sightline.builders.engines.cpu import Progress
from sightline.builders.precision.graph import model_bytes
from sightline.builders.precision.sensitivity import SECONDS, Metric, SensitivityReport, sensitivity
from sightline.builders.precision.variants import (
    Precision,
    Rest,
    Variants,
    cast_variants,
    quantized_variants,
)
from sightline.errors import BuildError

Floats = NDArray[np.float32]
_FEW_PICTURES = 8


@dataclass(frozen=True)
class PrecisionResult:
    """content: the ONNX; its input and outputs are float32 whatever the precision. kept: layers in higher precision.

    report: of the sensitivity, where pictures were given. notes: what the user should know.
    """

    content: bytes = field(repr=False)
    precision: str
    kept: tuple[str, ...] = ()
    report: SensitivityReport | None = None
    notes: tuple[str, ...] = ()


def onnx_in_precision(
    onnx: bytes,
    precision: Precision,
    *,
    tensors: Sequence[Floats] | None = None,
    keep_precise: Collection[str] = (),
    allowed_drop: float = 0.01,
    rest: Rest = "fp16",
    metric: Metric | None = None,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> PrecisionResult:
    """The network's ONNX in a precision, valid and strongly typed.

    onnx: the canonical network. tensors: float32 of shape (3, height, width), the network's input for real pictures:
    int8 and fp8 need at least eight, fp16 and bf16 are checked on them. keep_precise: nodes and operator types that stay
    in fp32. allowed_drop: the most loss against fp32; the costliest layers go back to higher precision until it is
    reached. rest: precision of what int8 and fp8 leave out. metric: the task's own loss of agreement, instead of the
    mean error as a share of each field's spread. seconds: for measuring the layers.

    Raises CardError for a name in keep_precise that is not there, BuildError for the rest.
    """
    if precision == "fp32":
        return PrecisionResult(onnx, precision)
    given = tensors if tensors is not None else ()
    if precision == "fp16" or precision == "bf16":
        variants = cast_variants(onnx, precision, keep_precise)
    elif len(given) < _FEW_PICTURES:
        raise BuildError(
            f"engine.precision {precision} needs at least {_FEW_PICTURES} calibration pictures; there are "
            f"{len(given)}. Set calibration.images to a folder of pictures or a recording of your cameras"
        )
    else:
        variants = quantized_variants(
            onnx, precision, given, rest=rest, keep_precise=keep_precise, progress=progress
        )
    report = None
    if len(given):
        report = sensitivity(
            variants,
            given,
            allowed=allowed_drop,
            metric=metric,
            rank=variants.quantized is not None,
            seconds=seconds,
            progress=progress,
        )
    kept = report.kept if report else ()
    content = model_bytes(variants.model(kept))
    return PrecisionResult(content, precision, kept, report, _notes(variants, report))


def _notes(variants: Variants, report: SensitivityReport | None) -> tuple[str, ...]:
    notes = [report.note] if report else []
    if report and not report.complete:
        notes.append(
            "time ran out before every layer was measured; those not measured stay in the lower precision"
        )
    if variants.precision == "fp8":
        notes.append("fp8 runs on GPUs of compute capability 8.9 and later (Ada, Hopper, Blackwell)")
    if variants.precision == "bf16":
        notes.append("bf16 runs on GPUs of compute capability 8.0 and later")
    return tuple(notes)

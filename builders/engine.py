# SPDX-License-Identifier: Apache-2.0
"""The engine of a build: which kind, in which precision, and what its files are.

On the target local the engine is written and run here. A TensorRT engine is built where it runs: the entry carries the
network in the card's precision and the request for the engine, and `first_start` builds it before Triton starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.builders.engines.cpu import Engine
from sightline.builders.entries.context import Target
from sightline.builders.network import CanonicalNetwork
from sightline.card import ModelCard
from sightline.errors import BuildError, CardError

Progress = Callable[[str, int, int], None]
_KINDS: dict[Target, tuple[str, ...]] = {
    "local": ("openvino", "onnxruntime"),
    "server": ("tensorrt",),
    "jetson": ("tensorrt",),
}
_QUANTIZED = ("int8", "fp8")
_CHECKED_ON = 16
"""Pictures on which a cast to fp16 or bf16 is tried."""


@dataclass(frozen=True)
class BuiltEngine:
    """engine: as written into the folder. data: what was calibrated with. facts: more for the manifest."""

    engine: Engine
    data: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def engine_kind(card: ModelCard, target: Target) -> str:
    """The card's engine on this target. Raises CardError where it does not run there."""
    kinds = _KINDS[target]
    if card.engine.kind == "auto":
        return kinds[0]
    if card.engine.kind not in kinds:
        raise CardError(
            f"engine.kind is {card.engine.kind}; on the target {target} it must be {' or '.join(kinds)}, or auto"
        )
    return card.engine.kind


def build_engine(
    network: CanonicalNetwork,
    card: ModelCard,
    target: Target,
    folder: Path,
    progress: Progress | None = None,
) -> BuiltEngine:
    """Write the engine's files into `folder`. Raises CardError, BuildError, OutputError, MissingDependencyError."""
    kind = engine_kind(card, target)
    tensors, data = None, ""
    quantized = card.engine.precision in _QUANTIZED
    if (
        quantized
        or card.calibration.images is not None
        or (kind == "tensorrt" and card.engine.precision != "fp32")
    ):
        from sightline.builders.calibration import calibration_tensors

        count = None if quantized else min(card.calibration.samples, _CHECKED_ON)
        tensors = calibration_tensors(card, count=count, progress=progress)
        data = tensors.note
    if kind == "tensorrt" and not network.open_batch and card.engine.batch[-1] > 1:
        raise BuildError(
            f"engine.batch is {list(card.engine.batch)}; the network takes one image at a time. "
            "Set engine.batch to [1], or export the model again with an open batch"
        )
    if kind == "tensorrt":
        return _tensorrt_request(network, card, folder, tensors, data, progress)
    if kind == "onnxruntime":
        from sightline.builders.engines.onnxruntime import write_onnxruntime as write
    else:
        from sightline.builders.engines.openvino import write_openvino as write
    engine = write(network.content, card, folder, tensors=tensors, progress=progress)
    return BuiltEngine(engine, data)


def _tensorrt_request(
    network: CanonicalNetwork,
    card: ModelCard,
    folder: Path,
    tensors: Any,
    data: str,
    progress: Progress | None,
) -> BuiltEngine:
    from sightline.builders.engines.first_start_request import ONNX_FILE, REQUEST_FILE, request_text
    from sightline.builders.engines.tensorrt import options_from_card
    from sightline.builders.precision import onnx_in_precision
    from sightline.builders.repository import write_file

    result = onnx_in_precision(
        network.content,
        card.engine.precision,
        tensors=tensors,
        keep_precise=card.engine.keep_precise,
        allowed_drop=card.calibration.allowed_drop,
        progress=progress,
    )
    digest = hashlib.sha256(result.content).hexdigest()
    options = options_from_card(card)
    write_file(folder / ONNX_FILE, result.content)
    write_file(folder / REQUEST_FILE, request_text(digest, options).encode())
    error = result.report.error if result.report else 0.0
    engine = Engine(
        kind="tensorrt",
        version="built on first start",
        precision=card.engine.precision,
        shapes=network.shapes,
        milliseconds=0.0,
        compared_with="ONNX in fp32, on the calibration pictures" if result.report else "nothing yet",
        largest_difference=error,
        mean_difference=error,
        bytes=len(result.content),
        notes=result.notes,
        files=(ONNX_FILE, REQUEST_FILE),
    )
    facts = {
        "kept_precise": list(result.kept),
        "onnx_sha256": digest,
        "sensitivity": result.report.as_dict() if result.report else None,
    }
    return BuiltEngine(engine, data, facts)

# SPDX-License-Identifier: Apache-2.0
"""int8 and fp8 by Q/DQ nodes: ONNX Runtime's quantizer finds ranges and places the nodes, layer by layer removable.

Products of two activations, as in attention, stay as they are.

For TensorRT (strongly typed): symmetric ranges, weights by channel, no quantized biases, Q/DQ at the inputs of
convolutions and matrix products only, so that what follows fuses with them. fp8 is the same graph with E4M3 numbers.
For ONNX Runtime's own CPU kernels: unsigned activations, and outputs quantized too, so that int8 kernels chain.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.builders.precision.graph import (
    HEAVY_OPERATORS,
    chosen_nodes,
    drop_unused_initializers,
    import_onnx,
    model_from_bytes,
    readers,
    replace_nodes,
    weight_array,
    with_opset,
)
from sightline.builders.stages.cpu_engine import import_onnxruntime
from sightline.errors import BuildError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from sightline.builders.engines.cpu import Progress

Floats = NDArray[np.float32]
Number = Literal["int8", "fp8"]
QDQ_OPSET = 19  # Q/DQ of fp16 values and of fp8 numbers are in the standard from here on
_FP8_LARGEST = 448.0
_TENSORRT = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": list(HEAVY_OPERATORS),
    "QDQKeepRemovableActivations": True,
}
_CPU = {"ActivationSymmetric": False, "WeightSymmetric": True}


@dataclass(frozen=True)
class QuantizedGraph:
    """A network of which each layer can be int8 or fp8, or as it was.

    layers: names of the nodes that have Q/DQ nodes at their inputs, in the network's order.
    """

    number: Number
    layers: tuple[str, ...]
    plain: ModelProto = field(repr=False)
    full: ModelProto = field(repr=False)

    def model(self, kept: Collection[str] = ()) -> ModelProto:
        """A copy in which the layers in `kept` are as they were."""
        onnx = import_onnx()
        model: ModelProto = onnx.ModelProto()
        model.CopyFrom(self.full)
        if kept:
            self._restore(model, set(kept))
        if self.number == "fp8":
            _to_fp8(model, self.plain)
        return model

    def _restore(self, model: ModelProto, kept: set[str]) -> None:
        inputs = {node.name: list(node.input) for node in self.plain.graph.node if node.name in kept}
        for node in model.graph.node:
            if node.name in inputs:
                node.input[:] = inputs[node.name]
        present = {tensor.name for tensor in model.graph.initializer}
        needed = {name for names in inputs.values() for name in names} - present
        model.graph.initializer.extend(
            tensor for tensor in self.plain.graph.initializer if tensor.name in needed
        )
        _drop_dead_nodes(model)


def quantized_graph(
    onnx: bytes,
    number: Number,
    tensors: Sequence[Floats],
    *,
    keep_precise: Collection[str] = (),
    progress: Progress | None = None,
) -> QuantizedGraph:
    """Find the ranges of every layer's input on the tensors (largest values seen) and place Q/DQ nodes.

    tensors: float32 of shape (3, height, width), the network's input for real pictures.
    Raises CardError for a name in keep_precise that is not there, BuildError where nothing can be quantized.
    """
    import_onnxruntime()
    plain = prepared(onnx)
    keep = _kept_names(onnx, plain, keep_precise) | _without_weights(plain)
    full = _quantized(
        plain, tensors, keep, list(HEAVY_OPERATORS), _TENSORRT, unsigned=False, progress=progress
    )
    _only_at_layers(full, plain, keep)
    before = {node.name: list(node.input) for node in plain.graph.node}
    layers = tuple(
        node.name
        for node in full.graph.node
        if node.op_type in HEAVY_OPERATORS and list(node.input) != before[node.name]
    )
    if not layers:
        raise BuildError(
            f"the network has no layer that {number} can hold (operators {', '.join(HEAVY_OPERATORS)} with constant "
            "weights). Use engine.precision: fp16"
        )
    return QuantizedGraph(number, layers, plain, full)


def quantized_for_cpu(
    onnx: bytes,
    tensors: Sequence[Floats],
    *,
    keep_precise: Collection[str] = (),
    kept: Collection[str] = (),
    progress: Progress | None = None,
) -> ModelProto:
    """The network in int8 as ONNX Runtime's CPU kernels like it: activations unsigned, outputs quantized too.

    keep_precise: the card's; kept: names of further layers that stay in fp32.
    """
    plain = prepared(onnx)
    precise = _kept_names(onnx, plain, keep_precise) | set(kept)
    keep = precise | _leading_to(plain, precise) | _without_weights(plain) | _decoding_tail(plain)
    return _quantized(
        plain, tensors, keep, None, _CPU, unsigned=True, progress=progress, reduce_range=_saturates()
    )


def _leading_to(plain: ModelProto, precise: Collection[str]) -> set[str]:
    """What computes the inputs of precise layers, back to the layers before: else those inputs come out of int8."""
    makers = {name: node for node in plain.graph.node for name in node.output}
    waiting = [node for node in plain.graph.node if node.name in precise]
    found: set[str] = set()
    while waiting:
        for name in waiting.pop().input:
            maker = makers.get(name)
            if maker is not None and maker.op_type not in HEAVY_OPERATORS and maker.name not in found:
                found.add(maker.name)
                waiting.append(maker)
    return found


def _saturates() -> bool:
    """Whether this CPU adds two products in 16 bits, so that weights need one bit less: x86 before VNNI."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return "avx2" in flags and not flags & {"avx512_vnni", "avx_vnni"}


def prepared(onnx: bytes) -> ModelProto:
    """The network with constants folded and batch normalisation inside its convolutions, in an opset for Q/DQ."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx_package = import_onnx()
    model = model_from_bytes(onnx)
    with contextlib.suppress(BuildError):  # an older opset does, as long as the rest stays in fp32
        model = with_opset(model, QDQ_OPSET)
    with tempfile.TemporaryDirectory(prefix="sightline_quantize_") as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        onnx_package.save(model, str(before))
        try:
            with _quiet():
                quant_pre_process(str(before), str(after), skip_symbolic_shape=True)
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise BuildError(f"ONNX Runtime cannot prepare the network: {str(error)[:400]}") from error
        model = model_from_bytes(after.read_bytes())
    used = {node.domain for node in model.graph.node} | {""}
    imports = [item for item in model.opset_import if item.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return model


def _quantized(
    plain: ModelProto,
    tensors: Sequence[Floats],
    keep: Collection[str],
    operators: list[str] | None,
    options: dict[str, Any],
    *,
    unsigned: bool,
    progress: Progress | None,
    reduce_range: bool = False,
) -> ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    onnx = import_onnx()
    if not len(tensors):
        raise BuildError("int8 and fp8 need calibration pictures, and there are none")
    with tempfile.TemporaryDirectory(prefix="sightline_quantize_") as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        onnx.save(plain, str(before))
        try:
            with _quiet():
                quantize_static(
                    str(before),
                    str(after),
                    _reader(plain.graph.input[0].name, tensors, progress),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=operators,
                    per_channel=True,
                    activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    reduce_range=reduce_range,
                    nodes_to_exclude=sorted(keep),
                    calibrate_method=CalibrationMethod.MinMax,
                    extra_options=options,
                )
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise BuildError(f"ONNX Runtime's quantizer failed: {str(error)[:400]}") from error
        model: ModelProto = onnx.load(str(after))
    return model


def _reader(name: str, tensors: Sequence[Floats], progress: Progress | None) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """One picture a run: ranges do not depend on the batch, memory does."""

        def __init__(self) -> None:
            self._items = self._all()

        def _all(self) -> Iterator[dict[str, Floats]]:
            for index, tensor in enumerate(tensors):
                if progress:
                    progress("ranges", index + 1, len(tensors))
                yield {name: np.ascontiguousarray(tensor, np.float32).reshape(1, *tensor.shape[-3:])}

        def get_next(self) -> dict[str, Floats] | None:
            return next(self._items, None)

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer's remarks for its own developers stay out of a build's output."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _kept_names(onnx: bytes, plain: ModelProto, keep_precise: Collection[str]) -> set[str]:
    """Nodes of the prepared network that the card keeps; names are those of the network as it came."""
    original = model_from_bytes(onnx)
    chosen = chosen_nodes(original, keep_precise)
    types = {node.op_type for node in plain.graph.node} & set(keep_precise)
    return {node.name for node in plain.graph.node if node.name in chosen or node.op_type in types}


def _without_weights(plain: ModelProto) -> set[str]:
    """Products of two activations, as in attention: runtimes fuse them with their softmax in fp16."""
    weights = {tensor.name for tensor in plain.graph.initializer}
    return {
        node.name
        for node in plain.graph.node
        if node.op_type in HEAVY_OPERATORS and not weights.intersection(node.input[:2])
    }


def _decoding_tail(plain: ModelProto) -> set[str]:
    """What computes boxes out of the last layers' answers: int8 steps of a picture's width are pixels."""
    reading = readers(plain.graph)
    feeds: set[str] = set()
    for node in reversed(plain.graph.node):
        below = [reader for name in node.output for reader in reading.get(name, [])]
        if any(reader.op_type in HEAVY_OPERATORS or reader.name in feeds for reader in below):
            feeds.add(node.name)
    return {node.name for node in plain.graph.node if node.op_type not in HEAVY_OPERATORS} - feeds


def _only_at_layers(model: ModelProto, plain: ModelProto, keep: Collection[str]) -> None:
    """The quantizer hands a rounded value to all that read it; those that are not quantized get the exact one back."""
    before = {
        node.name: node.input
        for node in plain.graph.node
        if node.op_type not in HEAVY_OPERATORS or node.name in keep
    }
    for node in model.graph.node:
        if node.name in before:
            node.input[:] = before[node.name]
    _drop_dead_nodes(model)


def _drop_dead_nodes(model: ModelProto) -> None:
    """Remove Q/DQ nodes that nothing reads any more, and their scales."""
    used = {value.name for value in model.graph.output}
    alive: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if used.intersection(node.output) or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            alive.append(node)
            used.update(node.input)
    replace_nodes(model.graph, alive[::-1])
    drop_unused_initializers(model.graph)


def _to_fp8(model: ModelProto, plain: ModelProto) -> None:
    """int8 Q/DQ nodes as E4M3: scales stretch from 127 to 448, weights are taken from the fp32 network again."""
    onnx = import_onnx()
    numbers = {tensor.name: tensor for tensor in model.graph.initializer}
    original = {tensor.name: tensor for tensor in plain.graph.initializer}
    inputs_before = {node.name: list(node.input) for node in plain.graph.node}
    new: dict[str, Any] = {}
    made = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            source = made.get(name)
            if node.name not in inputs_before or source is None or source.op_type != "DequantizeLinear":
                continue
            weights = original.get(inputs_before[node.name][place])
            axis = next((a.i for a in source.attribute if a.name == "axis"), 1)
            if source.input[0] in numbers and weights is not None:
                scale, quantized = _fp8_weights(
                    weight_array(weights), weight_array(numbers[source.input[1]]), axis
                )
                new[source.input[0]] = onnx.numpy_helper.from_array(quantized, source.input[0])
            else:
                scale = weight_array(numbers[source.input[1]]) * np.float32(127.0 / _FP8_LARGEST)
            new[source.input[1]] = onnx.numpy_helper.from_array(scale.astype(np.float32), source.input[1])
            zero = np.zeros(scale.shape, _fp8_dtype())
            new[source.input[2]] = onnx.numpy_helper.from_array(zero, source.input[2])
    kept = [new.get(tensor.name, tensor) for tensor in model.graph.initializer]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _fp8_dtype() -> Any:
    onnx = import_onnx()
    return onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.FLOAT8E4M3FN)


def _fp8_weights(weights: Any, int8_scale: Any, axis: int) -> tuple[NDArray[np.float32], Any]:
    """Scale (of the int8 scale's shape) and E4M3 weights."""
    scale = int8_scale.astype(np.float32) * np.float32(127.0 / _FP8_LARGEST)
    shape = [1] * weights.ndim
    if scale.ndim:
        shape[axis] = -1
    levels = np.clip(weights / scale.reshape(shape), -_FP8_LARGEST, _FP8_LARGEST)
    return scale, levels.astype(_fp8_dtype())

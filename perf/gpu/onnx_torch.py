# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX network with PyTorch: the way to a GPU where TensorRT cannot be carried.

Not a converter for everything: the operators of convolutional and transformer vision networks, run node by node. What
is computed from shapes stays on the CPU, as ONNX has it; a name that is read as numbers never goes to the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BuildError, MissingDependencyError
from sightline.perf.gpu.onnx_torch_ops import NUMBERS, OPERATORS, Attributes


def import_torch() -> Any:
    """The torch package. Raises MissingDependencyError."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "the package 'torch' is not installed; run: pip install 'sightline[bench]'"
        ) from error
    return torch


class TorchNetwork:
    """An ONNX network on a device of PyTorch. Raises BuildError where it has an operator that is not known.

    What depends on the input's shape alone is computed once for each shape and kept. half: fp16 arithmetic; inputs and
    outputs stay float32.
    """

    def __init__(self, content: bytes, device: str, *, half: bool = False) -> None:
        import onnx

        self._torch = import_torch()
        self._device, self._half = self._torch.device(device), half
        model = onnx.load_from_string(content)
        self._weights = {
            tensor.name: self._as_computed(onnx.numpy_helper.to_array(tensor).copy())
            for tensor in model.graph.initializer
        }
        self._nodes = _nodes(model, onnx, set(self._weights))
        unknown = sorted({node.operator for node in self._nodes} - set(OPERATORS))
        if unknown:
            raise BuildError(f"PyTorch is not told how to run the operators {', '.join(unknown)}")
        self.inputs = tuple(value.name for value in model.graph.input if value.name not in self._weights)
        self.outputs = tuple(value.name for value in model.graph.output)
        self._last_use = _last_uses(self._nodes, self.outputs)
        self._known: dict[tuple[int, ...], dict[str, Any]] = {}
        self._placed: dict[tuple[tuple[int, ...], str], Any] = {}

    def _as_computed(self, values: Any) -> Any:
        """Weights stored in fp16 behind a cast are fp32 in an fp32 run."""
        tensor = self._torch.from_numpy(values)
        return tensor.float() if tensor.dtype is self._torch.float16 and not self._half else tensor

    def run(self, image: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Outputs for an input of shape (N, 3, height, width)."""
        with self._torch.inference_mode():
            outputs = self.run_tensor(self._torch.from_numpy(np.ascontiguousarray(image)).to(self._device))
            return [(one.float() if one.is_floating_point() else one).cpu().numpy() for one in outputs]

    def run_tensor(self, image: Any) -> list[Any]:
        """Like `run`, with tensors of the device, inside inference_mode; nothing is waited for.

        From the second run of a shape on, only the device works: such a run can be captured in a CUDA graph.
        """
        shape = tuple(image.shape)
        is_first = shape not in self._known
        known = dict(self._weights) if is_first else self._known[shape]
        values: dict[str, Any] = {self.inputs[0]: image.half() if self._half else image}
        for index, node in enumerate(self._nodes):
            if node.is_static and not is_first:
                continue
            arguments = [self._argument(node, i, values, known, shape) for i in range(len(node.inputs))]
            results = OPERATORS[node.operator](self._torch, arguments, node.attributes)
            results = results if isinstance(results, (list, tuple)) else [results]
            (known if node.is_static else values).update(zip(node.outputs, results, strict=False))
            for done in self._last_use.get(index, ()):
                values.pop(done, None)
        self._known[shape] = known
        return [values[name] if name in values else known[name] for name in self.outputs]

    def _argument(
        self,
        node: _Node,
        position: int,
        values: dict[str, Any],
        known: dict[str, Any],
        shape: tuple[int, ...],
    ) -> Any:
        """An input of a node: of the device, but for what is read as numbers."""
        name = node.inputs[position]
        if not name:
            return None
        if name in values:
            return values[name]
        tensor = known[name]
        is_index = node.operator == "Gather" and position == 1 and tensor.ndim == 0
        if node.is_static or is_index or position in NUMBERS.get(node.operator, ()):
            return tensor
        key = (() if name in self._weights else shape, name)
        if key not in self._placed:
            placed = tensor.to(self._device)
            self._placed[key] = placed.half() if self._half and placed.is_floating_point() else placed
        return self._placed[key]


class _Node:
    """A node with its attributes as Python values. is_static: its results depend on the input's shape alone."""

    def __init__(self, node: Any, onnx: Any, static: set[str]) -> None:
        self.operator, self.inputs, self.outputs = str(node.op_type), list(node.input), list(node.output)
        values: dict[str, Any] = {}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                value = onnx.numpy_helper.to_array(value)
            values[attribute.name] = value.decode() if isinstance(value, bytes) else value
        values["outputs"] = len(self.outputs)
        self.attributes: Attributes = values
        self.is_static = self.operator == "Shape" or all(name in static for name in self.inputs if name)


def _nodes(model: Any, onnx: Any, weights: set[str]) -> list[_Node]:
    """The nodes in their order, which ONNX demands to be one that can be run."""
    static, nodes = set(weights), []
    for proto in model.graph.node:
        node = _Node(proto, onnx, static)
        if node.is_static:
            static.update(node.outputs)
        nodes.append(node)
    return nodes


def _last_uses(nodes: Sequence[_Node], kept: Sequence[str]) -> dict[int, list[str]]:
    """By node: what nobody reads after it, so that memory is given back."""
    last: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in (*node.inputs, *node.outputs):
            last[name] = index
    uses: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in kept:
            uses.setdefault(index, []).append(name)
    return uses


Reference = Callable[[NDArray[np.float32]], list[NDArray[Any]]]


def cpu_reference(content: bytes) -> tuple[Reference, str]:
    """The network by ONNX Runtime or OpenVINO on the CPU in fp32, and which of them it is."""
    try:
        import onnxruntime
    except ImportError:
        return _by_openvino(content)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: list(session.run(None, {name: image})), f"ONNX Runtime {onnxruntime.__version__}"


def _by_openvino(content: bytes) -> tuple[Reference, str]:
    from sightline.builders.stages.cpu_engine import import_openvino

    ov = import_openvino()
    compiled = ov.Core().compile_model(
        ov.Core().read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return (lambda image: [value.copy() for value in compiled(image).values()]), f"OpenVINO {ov.__version__}"

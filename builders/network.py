# SPDX-License-Identifier: Apache-2.0
"""The canonical network: whatever the source, one ONNX that every engine is made from.

Input TENSOR float32 (N, 3, height, width); outputs RAW, RAW_1, … float32 in the order in which the head reads them,
and nothing else. N is open where the export can do it, else 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sightline.builders.engines.cpu import first_lines
from sightline.builders.heads import HeadPlan, OutputInfo, evidence_from_onnx, plan_head
from sightline.builders.onnx_source import OnnxSource, shape_text
from sightline.builders.stages.cpu_engine import import_openvino
from sightline.builders.stages.wire import raw_name
from sightline.errors import BuildError, CardError, ModelFileError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

    from sightline.card import ModelCard

INPUT = "TENSOR"
_TRIAL_BATCH = 2
_OWN = "source/"


@dataclass(frozen=True)
class CanonicalNetwork:
    """content: the ONNX. shapes: of RAW, RAW_1, … for one image. open_batch: it takes several images at once."""

    content: bytes = field(repr=False)
    plan: HeadPlan
    shapes: tuple[tuple[int, ...], ...]
    open_batch: bool


def canonical_network(source: OnnxSource, card: ModelCard) -> CanonicalNetwork:
    """Recognise the head and bring the source's graph into the canonical form.

    Raises BuildError where the network does not take an image of the card's size, HeadMismatchError where its outputs
    do not fit the card, ModelFileError where the graph cannot be read.
    """
    import onnx

    _check_size(source, card)
    _check_levels(source, card)
    model = onnx.load_from_string(source.content)
    outputs = _outputs_for_one_image(source, card, model)
    plan = plan_head(
        card,
        outputs,
        metadata=source.metadata,
        labels=source.exported_labels,
        evidence=evidence_from_onnx(model),
    )
    for index in plan.outputs:
        _check_output(outputs[index], source, plan)
    names = tuple(f"{_OWN}{outputs[index].name}" for index in plan.outputs)
    shapes = tuple(_canonical_shape(outputs[index].dims, plan) for index in plan.outputs)
    _set_apart(model.graph)
    _new_input(model, source, card)
    _new_outputs(model, names, plan, shapes)
    _drop_unused(model)
    open_batch = source.input.dims[0] is None and _takes_batches(model, card, shapes)
    if not open_batch:
        _fix_batch(model)
    return CanonicalNetwork(model.SerializeToString(), plan, shapes, open_batch)


def _check_size(source: OnnxSource, card: ModelCard) -> None:
    width, height = card.input.size
    if source.size and source.size != (width, height):
        raise BuildError(
            f"the input size is {width}x{height}; the network takes {source.size[0]}x{source.size[1]} only. "
            f"Set the card's input.size to [{source.size[0]}, {source.size[1]}], or leave --size out"
        )


def _check_levels(source: OnnxSource, card: ModelCard) -> None:
    if source.takes_bytes and (any(card.input.mean) or set(card.input.std) != {1.0}):
        raise CardError(
            f"input.mean is {list(card.input.mean)} and input.std {list(card.input.std)}; the network's input "
            f"'{source.input.name}' is UINT8 and takes levels 0..255 as they are: set mean to 0 and std to 1"
        )


def _outputs_for_one_image(source: OnnxSource, card: ModelCard, model: ModelProto) -> tuple[OutputInfo, ...]:
    """The network's outputs with their shapes for one image, as OpenVINO infers them; None where they are open."""
    ov = import_openvino()
    width, height = card.input.size
    try:
        read = ov.Core().read_model(source.content)
    except RuntimeError as error:
        raise ModelFileError(f"{source.path} cannot be read by OpenVINO: {first_lines(error)}") from error
    batch = source.input.dims[0] or 1
    try:
        read.reshape([batch, 3, height, width] if source.layout == "NCHW" else [batch, height, width, 3])
    except RuntimeError as error:
        raise BuildError(
            f"the network cannot take one image of {width}x{height} ({first_lines(error)}). "
            "Export it again with an open batch (dynamic=True) or batch=1"
        ) from error
    found = []
    for declared, output in zip(model.graph.output, read.outputs, strict=True):
        shape = output.partial_shape
        dims = (
            tuple(int(d.get_length()) if d.is_static else None for d in shape) if shape.rank.is_static else ()
        )
        found.append(OutputInfo(declared.name, dims, output.element_type.get_type_name().upper()))
    return tuple(found)


def _check_output(output: OutputInfo, source: OnnxSource, plan: HeadPlan) -> None:
    if not output.dims or any(dim is None for dim in output.dims):
        raise BuildError(
            f"output '{output.name}' has the shape {shape_text(output.dims)}, which depends on the picture "
            "(NMS inside the model?). Export without NMS: nms=False"
        )
    if plan.batched and output.dims[0] != 1:
        raise BuildError(
            f"for one image output '{output.name}' of {source.path.name} has the shape {shape_text(output.dims)}; "
            "the first size must be 1. The batch size is baked in: export with batch=1 or dynamic=True"
        )


def _canonical_shape(dims: tuple[int | None, ...], plan: HeadPlan) -> tuple[int, ...]:
    whole = tuple(int(dim or 1) for dim in dims)
    return whole if plan.batched else (1, *whole)


def _set_apart(graph: GraphProto) -> None:
    """Give every value of the source a name that none of ours has."""
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = f"{_OWN}{value.name}"
    for sparse in graph.sparse_initializer:
        sparse.values.name = f"{_OWN}{sparse.values.name}"
    for node in graph.node:
        for names in (node.input, node.output):
            _replace(names, [f"{_OWN}{name}" if name else "" for name in names])
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _set_apart(inner)
    # Sizes that the exporter noted for an open input may be wrong for this one; every reader infers them anew.
    del graph.value_info[:]


def _new_input(model: ModelProto, source: OnnxSource, card: ModelCard) -> None:
    """TENSOR in place of the source's input: transposed and converted where the source wants that."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    width, height = card.input.size
    old = f"{_OWN}{source.input.name}"
    nodes: list[NodeProto] = []
    current = INPUT
    if source.input.element == "FLOAT16":
        nodes.append(helper.make_node("Cast", [current], [f"{INPUT}/half"], to=TensorProto.FLOAT16))
        current = f"{INPUT}/half"
    elif source.takes_bytes:
        ends = [
            numpy_helper.from_array(np.array(level, np.float32), f"{INPUT}/{level}") for level in (0, 255)
        ]
        model.graph.initializer.extend(ends)
        nodes += [
            helper.make_node("Round", [current], [f"{INPUT}/whole"]),
            helper.make_node("Clip", [f"{INPUT}/whole", *(end.name for end in ends)], [f"{INPUT}/level"]),
            helper.make_node("Cast", [f"{INPUT}/level"], [f"{INPUT}/bytes"], to=TensorProto.UINT8),
        ]
        current = f"{INPUT}/bytes"
    if source.layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [current], [f"{INPUT}/last"], perm=[0, 2, 3, 1]))
        current = f"{INPUT}/last"
    nodes.append(helper.make_node("Identity", [current], [old], name=f"{INPUT}/old"))
    kept = [given for given in model.graph.input if given.name != old]
    batch = source.input.dims[0]
    value = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch or "N", 3, height, width])
    _replace(model.graph.input, [value, *(other for other in kept if other.name != INPUT)])
    _replace(model.graph.node, [*nodes, *model.graph.node])


def _new_outputs(
    model: ModelProto, names: tuple[str, ...], plan: HeadPlan, shapes: tuple[tuple[int, ...], ...]
) -> None:
    """RAW, RAW_1, … in place of the source's outputs: float32, with a batch dimension, shifted where the plan says so."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    values = []
    for index, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        raw = raw_name(index)
        current = f"{raw}/float"
        model.graph.node.append(helper.make_node("Cast", [name], [current], to=TensorProto.FLOAT))
        if index == 0 and plan.shift:
            model.graph.initializer.append(
                numpy_helper.from_array(np.array(plan.shift, np.float32), f"{raw}/shift")
            )
            model.graph.node.append(helper.make_node("Add", [current, f"{raw}/shift"], [f"{raw}/shifted"]))
            current = f"{raw}/shifted"
        if plan.batched:
            model.graph.node.append(helper.make_node("Identity", [current], [raw]))
        else:
            sizes = numpy_helper.from_array(np.array(shape, np.int64), f"{raw}/shape")
            model.graph.initializer.append(sizes)
            model.graph.node.append(helper.make_node("Reshape", [current, sizes.name], [raw]))
        values.append(helper.make_tensor_value_info(raw, TensorProto.FLOAT, ["N", *shape[1:]]))
    _replace(model.graph.output, values)


def _drop_unused(model: ModelProto) -> None:
    """Leave out what no output needs: auxiliary heads, and weights that belong to them."""
    makers = {name: node for node in model.graph.node for name in node.output if name}
    needed: set[str] = set()
    waiting = [value.name for value in model.graph.output]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers:
            waiting += _read_names(makers[name])
    nodes = [node for node in model.graph.node if any(name in needed for name in node.output)]
    read = {name for node in nodes for name in _read_names(node)}
    _replace(model.graph.node, nodes)
    _replace(model.graph.initializer, [t for t in model.graph.initializer if t.name in read])
    inputs = [value for value in model.graph.input if value.name == INPUT or value.name in read]
    _replace(model.graph.input, inputs)


def _read_names(node: NodeProto) -> list[str]:
    """What a node reads, in its subgraphs too."""
    names = list(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names += [name for inner in graph.node for name in _read_names(inner)]
            names += [value.name for value in graph.output]
    return names


def _takes_batches(model: ModelProto, card: ModelCard, shapes: tuple[tuple[int, ...], ...]) -> bool:
    """Whether two images give outputs for two."""
    ov = import_openvino()
    width, height = card.input.size
    try:
        read = ov.Core().read_model(model.SerializeToString())
        read.reshape([_TRIAL_BATCH, 3, height, width])
        found = [output.partial_shape for output in read.outputs]
    except RuntimeError:
        return False
    wanted = [(_TRIAL_BATCH, *shape[1:]) for shape in shapes]
    return [tuple(s.to_shape()) if s.is_static else () for s in found] == wanted


def _fix_batch(model: ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        if value.name == INPUT or value in model.graph.output:
            value.type.tensor_type.shape.dim[0].dim_value = 1


def _replace(field_: Any, values: Iterable[Any]) -> None:
    values = list(values)
    del field_[:]
    field_.extend(values)

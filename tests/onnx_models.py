# SPDX-License-Identifier: Apache-2.0
"""Small ONNX networks for tests: one with learnable layers, one whose answer is known from the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

OPSET = 17
PLANTED_ANCHORS = 64
PLANTED_SCORE = 0.9


def _constant(name: str, values: Any, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=dtype), name)


def _save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    input_shape: Sequence[int | str],
    output_shape: Sequence[int | str],
    metadata: dict[str, str] | None = None,
    element: int = TensorProto.FLOAT,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("images", element, list(input_shape))],
        [helper.make_tensor_value_info("output0", element, list(output_shape))],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())
    return path


def yolov8_like(
    path: Path,
    *,
    classes: int = 11,
    size: tuple[int, int] = (64, 32),
    batch: int | str = "batch",
    transposed: bool = False,
    nhwc: bool = False,
    metadata: dict[str, str] | None = None,
    weight_scale: float = 1.0,
    box_scale: float = 1.0,
) -> Path:
    """A conv net with random weights and the output layout (N, 4 + classes, anchors) of YOLOv8, stride 8.

    Boxes lie between 0 and box_scale, scores between 0 and 1.
    """
    width, height = size
    anchors = (width // 8) * (height // 8)
    generator = np.random.default_rng(0)
    channels = [3, 8, 16, 4 + classes]
    nodes, constants = [], []
    current = "images"
    if nhwc:
        nodes.append(helper.make_node("Transpose", [current], ["nchw"], perm=[0, 3, 1, 2]))
        current = "nchw"
    for index, (before, after) in enumerate(pairwise(channels)):
        weights = generator.normal(0, weight_scale * (2 / (9 * before)) ** 0.5, (after, before, 3, 3))
        constants.append(_constant(f"weights{index}", weights))
        nodes.append(
            helper.make_node(
                "Conv",
                [current, f"weights{index}"],
                [f"conv{index}"],
                kernel_shape=[3, 3],
                strides=[2, 2],
                pads=[1] * 4,
            )
        )
        nodes.append(helper.make_node("Sigmoid", [f"conv{index}"], [f"act{index}"]))
        current = f"act{index}"
    if box_scale != 1.0:
        constants.append(_constant("scale", np.reshape([box_scale] * 4 + [1.0] * classes, (-1, 1, 1))))
        nodes.append(helper.make_node("Mul", [current, "scale"], ["scaled"]))
        current = "scaled"
    constants.append(_constant("shape", [0, 4 + classes, -1], np.int64))
    nodes.append(helper.make_node("Reshape", [current, "shape"], ["flat" if transposed else "output0"]))
    if transposed:
        nodes.append(helper.make_node("Transpose", ["flat"], ["output0"], perm=[0, 2, 1]))
    output = [batch, anchors, 4 + classes] if transposed else [batch, 4 + classes, anchors]
    image = [batch, height, width, 3] if nhwc else [batch, 3, height, width]
    return _save(path, nodes, constants, image, output, metadata)


def planted(path: Path, *, classes: int = 11, class_id: int = 3, size: tuple[int, int] = (384, 224)) -> Path:
    """Finds the bright rectangle of a dark picture: a detector whose boxes are exact by construction.

    The first anchor is (cx, cy, w, h) of all pixels whose red is above 0.7, in network pixels, with
    PLANTED_SCORE for `class_id`; the other anchors have score 0. Without a bright pixel the score is 0.
    """
    width, height = size
    constants = [
        _constant("bright", 0.7),
        _constant("axis_y", [2], np.int64),
        _constant("starts", [0], np.int64),
        _constant("ends", [1], np.int64),
        _constant("axis_c", [1], np.int64),
        _constant("half", 0.5),
        _constant("score", PLANTED_SCORE),
        _constant("one_hot", np.eye(classes)[class_id].reshape(1, classes, 1)),
        _constant("spread", np.eye(PLANTED_ANCHORS)[0].reshape(1, 1, PLANTED_ANCHORS)),
    ]
    nodes = [
        helper.make_node("Slice", ["images", "starts", "ends", "axis_c"], ["red"]),
        helper.make_node("Greater", ["red", "bright"], ["is_bright"]),
        helper.make_node("Cast", ["is_bright"], ["mask"], to=TensorProto.FLOAT),
    ]
    for name, length in (("x", width), ("y", height)):
        axis = 2 if name == "x" else 3
        constants += [
            _constant(f"last_{name}", np.arange(1, length + 1).reshape(1, 1, length)),
            _constant(f"first_{name}", np.arange(length, 0, -1).reshape(1, 1, length)),
            _constant(f"length_{name}", float(length)),
        ]
        nodes += [
            helper.make_node("ReduceMax", ["mask"], [f"line_{name}"], axes=[axis], keepdims=0),
            helper.make_node("Mul", [f"line_{name}", f"last_{name}"], [f"ends_{name}"]),
            helper.make_node("ReduceMax", [f"ends_{name}"], [f"high_{name}"], axes=[2], keepdims=1),
            helper.make_node("Mul", [f"line_{name}", f"first_{name}"], [f"starts_{name}"]),
            helper.make_node("ReduceMax", [f"starts_{name}"], [f"left_{name}"], axes=[2], keepdims=1),
            helper.make_node("Sub", [f"length_{name}", f"left_{name}"], [f"low_{name}"]),
            helper.make_node("Add", [f"low_{name}", f"high_{name}"], [f"sum_{name}"]),
            helper.make_node("Mul", [f"sum_{name}", "half"], [f"centre_{name}"]),
            helper.make_node("Sub", [f"high_{name}", f"low_{name}"], [f"extent_{name}"]),
        ]
    nodes += [
        helper.make_node("ReduceMax", ["mask"], ["any"], axes=[2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["any", "axis_y"], ["seen"]),
        helper.make_node("Mul", ["seen", "score"], ["confidence"]),
        helper.make_node("Mul", ["confidence", "one_hot"], ["scores"]),
        helper.make_node(
            "Concat", ["centre_x", "centre_y", "extent_x", "extent_y", "scores"], ["column"], axis=1
        ),
        helper.make_node("Mul", ["column", "spread"], ["output0"]),
    ]
    names = {"names": str({index: f"class_{index}" for index in range(classes)})}
    outputs = ["batch", 4 + classes, PLANTED_ANCHORS]
    return _save(path, nodes, constants, ["batch", 3, height, width], outputs, names)


def _save_outputs(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    size: tuple[int, int],
    outputs: dict[str, Sequence[int | str]],
) -> Path:
    """A network of RGB pictures, 0..1, with named outputs."""
    width, height = size
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, height, width])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(form))
            for name, form in outputs.items()
        ],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def mean_colours(path: Path, *, size: tuple[int, int] = (32, 32)) -> Path:
    """A classifier of three classes: the scores are the means of red, green and blue, 0..1."""
    nodes = [helper.make_node("ReduceMean", ["images"], ["output0"], axes=[2, 3], keepdims=0)]
    return _save_outputs(path, nodes, [], size, {"output0": ["batch", 3]})


def mean_quarters(path: Path, *, size: tuple[int, int] = (32, 32)) -> Path:
    """An embedder: the mean colours of the four quarters, 12 values, the channels of a quarter side by side."""
    width, height = size
    constants = [_constant("shape", [0, 12], np.int64)]
    pool = [height // 2, width // 2]
    nodes = [
        helper.make_node("AveragePool", ["images"], ["quarters"], kernel_shape=pool, strides=pool),
        helper.make_node("Transpose", ["quarters"], ["moved"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["moved", "shape"], ["output0"]),
    ]
    return _save_outputs(path, nodes, constants, size, {"output0": ["batch", 12]})


def strongest_channel(path: Path, *, size: tuple[int, int] = (64, 48)) -> Path:
    """A class map: 0 where no channel is above a half, else 1, 2 or 3 for the strongest of red, green and blue."""
    width, height = size
    constants = [_constant("half", 0.5), _constant("first", 0.0)]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["grey", "first"], ["nothing"]),
        helper.make_node("Add", ["nothing", "half"], ["background"]),
        helper.make_node("Concat", ["background", "images"], ["output0"], axis=1),
    ]
    return _save_outputs(path, nodes, constants, size, {"output0": ["batch", 4, height, width]})


def planted_masks(
    path: Path,
    *,
    classes: int = 3,
    class_id: int = 1,
    size: tuple[int, int] = (384, 224),
    coefficients: int = 8,
) -> Path:
    """`planted` with masks: prototypes of a quarter of the size, of which the first is above 0 where the picture is bright.

    The mask of a bright rectangle whose corners lie on multiples of four network pixels is that rectangle.
    """
    width, height = size
    boxes = onnx.load(planted(path, classes=classes, class_id=class_id, size=size)).graph
    weights = np.zeros((coefficients, 1, 1, 1))
    weights[0] = 1.0
    column = np.zeros((1, coefficients, PLANTED_ANCHORS))
    column[0, 0, 0] = 1.0
    constants = [
        _constant("minus", -0.5),
        _constant("weights", weights),
        _constant("column_of_masks", column),
    ]
    nodes = [
        helper.make_node("Mul", ["confidence", "column_of_masks"], ["of_masks"]),
        helper.make_node("Concat", ["boxes", "of_masks"], ["output0"], axis=1),
        helper.make_node("AveragePool", ["mask"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Add", ["cells", "minus"], ["inside"]),
        helper.make_node("Conv", ["inside", "weights"], ["output1"]),
    ]
    boxes.node[-1].output[0] = "boxes"
    outputs: dict[str, Sequence[int | str]] = {
        "output0": ["batch", 4 + classes + coefficients, PLANTED_ANCHORS],
        "output1": ["batch", coefficients, height // 4, width // 4],
    }
    return _save_outputs(path, [*boxes.node, *nodes], [*boxes.initializer, *constants], size, outputs)


def with_external_data(path: Path, location: str, *, length: int | None = None) -> Path:
    """A model whose first weights claim to lie in the file `location`."""
    yolov8_like(path)
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="length", value=str(len(content) if length is None else length))
    path.write_bytes(model.SerializeToString())
    return path


def bright_rectangle(
    width: int, height: int, box: tuple[int, int, int, int], *, dark: int = 20, light: int = 250
) -> NDArray[np.uint8]:
    """An RGB picture, uint8 of shape (height, width, 3), for `planted`: `box` is xyxy pixels."""
    picture = np.full((height, width, 3), dark, np.uint8)
    x1, y1, x2, y2 = box
    picture[y1:y2, x1:x2] = light
    return picture


def write_pictures(folder: Path, box: tuple[int, int, int, int] = (64, 48, 192, 160)) -> Path:
    """Eight PNG files, as few as calibration and proof take, of a rectangle that moves; returns the folder.

    To draw street scenes, which they take where no pictures are given, costs seconds.
    """
    folder.mkdir()
    x1, y1, x2, y2 = box
    for index in range(8):
        picture = bright_rectangle(384, 224, (x1 + 8 * index, y1, x2 + 8 * index, y2))
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder

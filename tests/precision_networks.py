# SPDX-License-Identifier: Apache-2.0
"""A small detector in the canonical form, with what makes precision hard: a residual, attention, boxes in pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sightline.card import ModelCard, card_from_dict

SIZE = (64, 32)
CLASSES = 5
WILD = "wild"
ATTENTION = "attention_product"
LABELS = tuple(f"kind_{index}" for index in range(CLASSES))


def small_card(folder: Any, **fields: Any) -> ModelCard:
    """A card for `small_network`; fields: further ones, nested as in YAML."""
    values = {
        "name": "small",
        "source": "small.onnx",
        "input": {"size": list(SIZE)},
        "head": "yolov8",
        "labels": list(LABELS),
    }
    labels = folder / "labels.txt"
    labels.write_text("\n".join(LABELS))
    return card_from_dict({**values, "labels": "labels.txt", **fields}, folder)


def pictures(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Network inputs: coloured rectangles before a textured wall, float32 of shape (count, 3, 32, 64), 0..1."""
    random = np.random.default_rng(seed)
    made = random.random((count, 3, SIZE[1] // 4, SIZE[0] // 4), np.float32).repeat(4, 2).repeat(4, 3) * 0.4
    for picture in made:
        x, y = random.integers(0, SIZE[0] - 16), random.integers(0, SIZE[1] - 12)
        picture[:, y : y + 12, x : x + 16] = random.random((3, 1, 1), np.float32)
    return np.ascontiguousarray(made)


def small_network(*, wild: float = 1.0, opset: int = 17, names: bool = True) -> bytes:
    """TENSOR (N, 3, 32, 64) to RAW (N, 4 + CLASSES, 32): boxes in pixels, then scores.

    wild: one channel before the layer WILD is that much larger than the others, and its weights that much smaller: the
    answers stay, but a range for the whole tensor loses the other channels. names: whether nodes have some.
    """
    graph = _Graph(np.random.default_rng(3))
    x = graph.silu(graph.convolution("TENSOR", 3, 12, "stem", normalised=True))
    x = graph.silu(graph.convolution(x, 12, 12, "second"))
    y = graph.silu(graph.convolution(x, 12, 12, "inner", stride=1))
    x = graph.node("Add", [x, y], "residual")
    scale = np.ones((12, 1, 1), np.float32)
    scale[0] = wild
    x = graph.node("Mul", [x, graph.constant("wild_scale", scale)], "wild_scaling")
    x = graph.silu(graph.convolution(x, 12, 12, WILD, input_scale=1 / scale.reshape(1, 12, 1, 1)))
    x = graph.attention(x, 12)
    x = graph.convolution(x, 12, 4 + CLASSES, "answers", stride=1)
    graph.decode(x)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "small",
            [helper.make_tensor_value_info("TENSOR", TensorProto.FLOAT, ["N", 3, SIZE[1], SIZE[0]])],
            [helper.make_tensor_value_info("RAW", TensorProto.FLOAT, ["N", 4 + CLASSES, 32])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    if not names:
        for node in model.graph.node:
            node.name = ""
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and weights of a graph in the making."""

    def __init__(self, random: np.random.Generator) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._random = random

    def constant(self, name: str, values: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, operator: str, inputs: list[str], name: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{name}_out"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def convolution(
        self,
        x: str,
        before: int,
        after: int,
        name: str,
        *,
        stride: int = 2,
        normalised: bool = False,
        input_scale: Any = 1.0,
    ) -> str:
        weights = self._random.normal(0, (2 / (9 * before)) ** 0.5, (after, before, 3, 3)) * input_scale
        bias = self.constant(f"{name}_bias", self._random.normal(0, 0.1, after).astype(np.float32))
        x = self.node(
            "Conv",
            [x, self.constant(f"{name}_weights", weights.astype(np.float32)), bias],
            name,
            kernel_shape=[3, 3],
            strides=[stride, stride],
            pads=[1] * 4,
        )
        if not normalised:
            return x
        values = {"scale": 1.5, "offset": 0.1, "mean": 0.05, "variance": 0.6}
        statistics = [
            self.constant(f"{name}_{key}", np.full(after, value, np.float32)) for key, value in values.items()
        ]
        return self.node("BatchNormalization", [x, *statistics], f"{name}_norm")

    def silu(self, x: str) -> str:
        gate = self.node("Sigmoid", [x], f"{x}_gate")
        return self.node("Mul", [x, gate], f"{x}_silu")

    def attention(self, x: str, channels: int) -> str:
        """Positions look at each other: two products of activations and a softmax."""
        shape = self.constant("flat_shape", np.array([0, channels, -1], np.int64))
        flat = self.node("Reshape", [x, shape], "flat")
        turned = self.node("Transpose", [flat], "turned", perm=[0, 2, 1])
        weights = self._random.normal(0, 0.3, (channels, channels)).astype(np.float32)
        keys = self.node("MatMul", [turned, self.constant("key_weights", weights)], "keys")
        scores = self.node("MatMul", [keys, flat], ATTENTION)
        shares = self.node("Softmax", [scores], "shares", axis=-1)
        mixed = self.node("MatMul", [shares, turned], "mixing")
        back = self.node("Transpose", [mixed], "back", perm=[0, 2, 1])
        shape = self.constant("grid_shape", np.array([0, channels, SIZE[1] // 8, SIZE[0] // 8], np.int64))
        return self.node("Add", [self.node("Reshape", [back, shape], "grid"), x], "attended")

    def decode(self, x: str) -> None:
        """Boxes of up to 64 pixels and scores, as YOLOv8's head gives them."""
        shape = self.constant("answer_shape", np.array([0, 4 + CLASSES, -1], np.int64))
        x = self.node("Reshape", [x, shape], "rows")
        parts = self.constant("parts", np.array([2, 2, CLASSES], np.int64))
        self.nodes.append(
            helper.make_node("Split", [x, parts], ["centre", "sides", "logits"], name="split", axis=1)
        )
        cells = np.stack([(np.arange(32) % 8) * 8 + 4, (np.arange(32) // 8) * 8 + 4], dtype=np.float32)
        centre = self.node("Add", ["centre", self.constant("cells", cells[None])], "centres")
        sides = self.node(
            "Mul", [self.node("Exp", ["sides"], "grow"), self.constant("cell", np.float32(8))], "sized"
        )
        scores = self.node("Sigmoid", ["logits"], "scores")
        self.node("Concat", [centre, sides, scores], "joined", "RAW", axis=1)

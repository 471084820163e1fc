# SPDX-License-Identifier: Apache-2.0
"""ONNX files from a stranger: each is refused with one of our errors, in bounded time and memory, or is sound.

The same files make readers in C++ hang, take gigabytes or end the process (OpenVINO 2026.4 on a Conv without inputs and
on a cycle, onnx 1.22 and ONNX Runtime 1.32 on functions that call each other twice), so none of these is run on them.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sightline.builders.onnx_checks import NEWEST_OPSET, OLDEST_OPSET, wire
from sightline.builders.onnx_checks.functions import MAX_NODES
from sightline.builders.onnx_source import open_onnx
from sightline.errors import ModelFileError
from tests.onnx_models import planted, with_external_data, yolov8_like

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
MOST_SECONDS = 20  # of processor time; a clean file of this size takes milliseconds


def node(kind: str, inputs: str = "images", outputs: str = "out", **values: Any) -> NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **values)


def value(name: str, shape: Any = None, element: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


def numbers(name: str, values: Any, element: int = INT64) -> TensorProto:
    array = np.asarray(values)
    return helper.make_tensor(name, element, array.shape, array.reshape(-1).tolist())


def claim(dims: list[int], element: int = FLOAT, raw: bytes = b"1234") -> TensorProto:
    """Weights that claim a shape."""
    tensor = TensorProto(name="w", data_type=element, raw_data=raw)
    tensor.dims.extend(dims)
    return tensor


def model(
    *nodes: NodeProto,
    weights: tuple[TensorProto, ...] = (),
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    opset: int = 17,
    domains: tuple[str, ...] = (),
    functions: tuple[Any, ...] = (),
    ir: int = 9,
) -> ModelProto:
    graph = helper.make_graph(
        list(nodes) or [node("Relu")],
        "test",
        [value("images", [1, 3, 64, 64])] if inputs is None else inputs,
        [value("out")] if outputs is None else outputs,
        list(weights),
    )
    sets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=sets, functions=list(functions), ir_version=ir)


def function(name: str, *nodes: NodeProto) -> Any:
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    return helper.make_function("my", name, ["x"], ["y"], list(nodes), sets)


def laughs() -> ModelProto:
    """40 functions, each calling the next one twice: 2^40 nodes."""
    made = [
        function(f"F{i}", node(f"F{i + 1}", "x", "z", domain="my"), node(f"F{i + 1}", "z", "y", domain="my"))
        for i in range(39)
    ]
    return model(
        node("F0", domain="my"), domains=("my",), functions=(*made, function("F39", node("Relu", "x", "y")))
    )


def branches(depth: int, inner: NodeProto | None = None) -> NodeProto:
    """If in If in If."""
    current = inner or node("Relu", "images", "o")
    plain = helper.make_graph([node("Abs", "images", "p")], "plain", [], [value("p")])
    for level in range(depth):
        graph = helper.make_graph([current], "branch", [], [value(current.output[0])])
        name = "out" if level == depth - 1 else "o"
        current = node("If", "c", name, then_branch=graph, else_branch=plain)
    return current


def round_trip(condition: str) -> NodeProto:
    """An If whose branches read what the graph makes from its own answer."""
    graph = helper.make_graph([node("Relu", condition, "o")], "branch", [], [value("o")])
    return node("If", "c", "a", then_branch=graph, else_branch=graph)


def deep_bytes(depth: int) -> bytes:
    """A graph in an attribute in a node in a graph, deeper than protobuf can write it."""
    content = b""
    for _ in range(depth):
        for number in (6, 5, 1):  # attribute.g, node.attribute, graph.node
            content = bytes([number << 3 | 2]) + varint(len(content)) + content
    return b"\x08\x09" + b"\x3a" + varint(len(content)) + content


def varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def loop(trips: int) -> NodeProto:
    body = helper.make_graph(
        [node("Identity", "ci", "co"), node("Relu", "xi", "xo")],
        "body",
        [value("i", [], INT64), value("ci", [], BOOL), value("xi")],
        [value("co", [], BOOL), value("xo")],
    )
    return node("Loop", "n c images", body=body)


def sparse() -> ModelProto:
    made = model(node("Add", "images s"))
    made.graph.sparse_initializer.add(
        values=TensorProto(name="s", data_type=FLOAT, dims=[1], raw_data=bytes(4)),
        indices=TensorProto(name="i", data_type=INT64, dims=[1], raw_data=bytes(8)),
        dims=[9],
    )
    return made


def changed(made: ModelProto, change: Callable[[ModelProto], object]) -> ModelProto:
    change(made)
    return made


def two_versions(made: ModelProto) -> None:
    made.opset_import.add(domain="", version=12)


def no_shape(made: ModelProto) -> None:
    made.graph.input[0].type.tensor_type.ClearField("shape")


def sequence(made: ModelProto) -> None:
    made.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = FLOAT


def wrong_type(made: ModelProto) -> None:
    made.graph.node[0].attribute[0].type = AttributeProto.FLOAT


WEIGHT = numbers("w", np.zeros((2, 3, 3, 3)), FLOAT)
TRUE = numbers("c", True, BOOL)
CONV = node("Conv", "images w", kernel_shape=[3, 3])

# name, model or bytes, words of the refusal
HOSTILE: list[tuple[str, Any, str]] = [
    ("cycle", model(node("Add", "b images", "a"), node("Add", "a images", "b"), node("Relu", "b")), "cycle"),
    ("a node that reads itself", model(node("Add", "out images", name="loop")), "'loop' .Add. needs its own result"),
    ("a cycle through a subgraph", model(round_trip("d"), node("Abs", "a", "d"), node("Relu", "a"), weights=(TRUE,)), "cycle"),
    ("two makers", model(node("Relu", name="one"), node("Abs", name="two")), "'one'.*'two'.*both make 'out'"),
    ("a node that makes a weight", model(node("Relu", "images", "w"), CONV, weights=(WEIGHT,)), "makes 'w'"),
    ("a node that makes the input", model(node("Relu", "w", "images"), CONV, weights=(WEIGHT,)), "makes 'images'"),
    ("two weights", model(CONV, weights=(WEIGHT, WEIGHT)), "two weights of the name 'w'"),
    ("two inputs of one name", model(inputs=[value("images", [1, 3, 64, 64])] * 2), "two inputs of the name 'images'"),
    ("two outputs of one name", model(outputs=[value("out"), value("out")]), "two outputs of the name 'out'"),
    ("weights without name", model(weights=(TensorProto(data_type=FLOAT, dims=[0]),)), "no name"),
    ("an output that nothing makes", model(outputs=[value("none")]), "output 'none' is made by no node"),
    ("a value that nothing makes", model(node("Add", "images none", name="sum")), "'sum' .Add. reads 'none'"),
    ("no output", model(outputs=[]), "no outputs"),
    ("opset too old", model(opset=OLDEST_OPSET - 1), "opset 10, which is too old; 11 to 23.*convert_version"),
    ("opset too new", model(opset=NEWEST_OPSET + 1), "opset 24, which is too new; 11 to 23"),
    ("opset of nonsense", model(opset=2**40), "too new"),
    ("no opset", changed(model(), lambda m: m.ClearField("opset_import")), "names no version"),
    ("two opsets", changed(model(), two_versions), "two versions"),
    ("format too new", model(ir=99), "ir_version. is 99"),
    ("no format", changed(model(), lambda m: m.ClearField("ir_version")), "ir_version. is 0"),
    ("unknown operator", model(node("Magic", name="m")), "'m' .Magic. is no operator of ONNX's opset 17"),
    ("an operator of a later opset", model(node("Gelu", name="g"), opset=17), "'g' .Gelu. is no operator"),
    ("an operator that left", model(node("Upsample", "images s"), weights=(numbers("s", [1.0, 1, 2, 2], FLOAT),)),
     "Upsample. that makes 'out' left ONNX"),
    ("TensorRT's plug-in", model(node("EfficientNMS_TRT", name="nms")), "'nms'.*TensorRT alone.*nms=False"),
    ("ONNX Runtime's operator", model(node("FusedConv", domain="com.microsoft"), domains=("com.microsoft",)),
     "com.microsoft.FusedConv.*optimizer"),
    ("a domain of its own", model(node("Evil", domain="evil"), domains=("evil",)), "evil.Evil.*plug-in"),
    ("a function that calls itself", model(node("F", domain="my"), domains=("my",),
                                           functions=(function("F", node("F", "x", "y", domain="my")),)),
     "function 'F' calls itself"),
    ("functions in a circle", model(node("F", domain="my"), domains=("my",), functions=(
        function("F", node("G", "x", "y", domain="my")), function("G", node("F", "x", "y", domain="my")))),
     "calls itself"),
    ("functions that explode", laughs(), f"at most {MAX_NODES}"),
    ("a function twice", model(node("F", domain="my"), domains=("my",),
                               functions=(function("F", node("Relu", "x", "y")),) * 2), "function 'F' twice"),
    ("a function with a hole", model(node("F", domain="my"), domains=("my",),
                                     functions=(function("F", node("Relu", "none", "y")),)), "reads 'none'"),
    ("an unknown operator in a branch", model(branches(3, node("Magic", "images", "o")), weights=(TRUE,)), "Magic"),
    ("a hole in a branch", model(branches(3, node("Relu", "none", "o")), weights=(TRUE,)), "reads 'none'"),
    ("branches without end", deep_bytes(60), "nested more than"),
    ("a node without inputs", model(node("Conv", "")), "0 inputs|lacks its input"),
    ("a required input left out", model(helper.make_node("Conv", ["images", ""], ["out"])), "lacks its input 'W'"),
    ("too many outputs", model(node("Relu", "images", "out b c")), "3 outputs"),
    ("an attribute that is missing", model(node("Concat", "images images")), "lacks its attribute 'axis'"),
    ("an attribute of another type", changed(model(node("Softmax", axis=1)), wrong_type), "'axis' of a wrong type"),
    ("stride 0", model(node("Conv", "images w", strides=[0, 0]), weights=(WEIGHT,)), "strides .0, 0."),
    ("a kernel of 2^40", model(node("MaxPool", kernel_shape=[2**40, 1])), "kernel_shape"),
    ("padding of 2^40", model(node("MaxPool", kernel_shape=[2, 2], pads=[0, 0, 2**40, 0])), "pads"),
    ("weights of 2^80", model(node("Add", "images w"), weights=(claim([2**40, 2**40]),)), "'w' claim the shape"),
    ("weights that are short", model(CONV, weights=(claim([2, 3, 3, 3]),)), "is 54 values; the file has 1"),
    ("weights of half a number", model(CONV, weights=(claim([1], raw=b"123"),)), "claim the shape"),
    ("weights of negative size", model(CONV, weights=(claim([-1, 3]),)), "none negative"),
    ("weights of 5000 dimensions", model(CONV, weights=(claim([2**40] * 5000),)), "at most 16 sizes"),
    ("weights of an unknown type", model(CONV, weights=(claim([1], 99),)), "of the type 99"),
    ("texts as weights", model(CONV, weights=(helper.make_tensor("w", TensorProto.STRING, [1], [b"x"]),)), "STRING"),
    ("texts in an attribute", model(node("Constant", "", "w", value=helper.make_tensor("t", TensorProto.STRING, [1], [b"x"])),
                                    node("Relu")), "inputs|STRING"),
    ("sparse weights", sparse(), "'s' are stored sparse"),
    ("a constant of 2^50", model(node("ConstantOfShape", "s", "z"), node("Add", "images z"),
                                 weights=(numbers("s", [2**25, 2**25]),)), "asks for a tensor"),
    ("an expansion to 2^40", model(node("Expand", "images s"), weights=(numbers("s", [2**20, 2**20, 1, 1]),)), "asks for"),
    ("a tiling of 2^40", model(node("Tile", "images s"), weights=(numbers("s", [2**10] * 4),)), "asks for a tensor"),
    ("a range of 3e38", model(node("Range", "a b d", "z"), node("Add", "images z"), weights=(
        numbers("a", 0.0, FLOAT), numbers("b", 3e38, FLOAT), numbers("d", 1.0, FLOAT))), "asks for a tensor"),
    ("an enlargement of 10^6", model(helper.make_node("Resize", ["images", "", "s"], ["out"]), weights=(
        numbers("s", [1.0, 1, 1e6, 1e6], FLOAT),)), "asks for a tensor"),
    ("padding by 2^40", model(node("Pad", "images s"), weights=(numbers("s", [0] * 7 + [2**40]),)), "asks for a tensor"),
    ("a loop of 2^62", model(loop(1), weights=(numbers("n", 2**62), TRUE)), "runs 4.6.*times"),
    ("two inputs", model(inputs=[value("images", [1, 3, 64, 64]), value("size", [1, 2], INT64)]),
     "2 inputs .'images' FLOAT.*'size' INT64"),
    ("no input", model(node("Relu", "w"), inputs=[], weights=(WEIGHT,)), "0 inputs .none."),
    ("int8 input", model(inputs=[value("images", [1, 3, 64, 64], TensorProto.INT8)]), "'images'.*INT8.*FLOAT16 or UINT8"),
    ("text input", model(inputs=[value("images", [1, 3, 64, 64], TensorProto.STRING)]), "STRING"),
    ("sequence input", changed(model(), sequence), "SEQUENCE"),
    ("dynamic rank", changed(model(), no_shape), "'images'.*dynamic rank.*does not say how many dimensions"),
    ("rank 0", model(inputs=[value("images", [])]), r"shape \(\)"),
    ("five dimensions", model(inputs=[value("images", [1, 3, 8, 64, 64])]), "must be .N, 3, height, width."),
    ("grey input", model(inputs=[value("images", [1, 1, 64, 64])]), "must be .N, 3, height, width."),
    ("an input of a million pixels a side", model(inputs=[value("images", [1, 3, 10**6, 10**6])]), "8..8192"),
    ("a name with control characters", model(helper.make_node("Relu", ["\x1b[31m\n" + "x" * 500], ["out"])),
     r"reads '.x1b\[31m.nx+…'"),
    ("a graph that claims 2 GiB", b"\x08\x09\x3a" + varint(2**31 - 100) + b"\x0a\x00", "cut off.*claims 2147483548"),
    ("a size of 70 bits", b"\x08\x09\x3a" + b"\xff" * 10, "cut off, or damaged"),
    ("a name that is no text", model(node("Relu", name="nameless")).SerializeToString()
     .replace(b"nameless", b"name\xff\xfess"), "no UTF-8"),
    ("an operator that is no text", model(node("Relu")).SerializeToString().replace(b"Relu", b"Rel\xff"), "no UTF-8"),
    ("a field number of 0", b"\x08\x09\x00\x01", "no part of an ONNX file"),
]  # fmt: skip


def write(path: Path, content: Any) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("content", "words"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE]
)
def test_a_hostile_file_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    path = write(tmp_path / "model.onnx", content)
    with pytest.raises(ModelFileError, match=words) as raised:
        open_onnx(path)
    assert str(path) in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000


_CHILD = """
import sys
from pathlib import Path
import onnx
from sightline.builders.onnx_source import open_onnx
from sightline.errors import ModelFileError
def peak():  # KiB; getrusage may tell that of the process which started this one
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        open_onnx(path)
    except ModelFileError:
        pass
print(peak() - before)
"""


def test_all_hostile_files_together_take_little_memory(tmp_path: Path) -> None:
    """In a child that may use MOST_SECONDS of processor time a file and 2 GiB of addresses: it must come to its end."""
    for index, (_, content, _) in enumerate(HOSTILE):
        write(tmp_path / f"{index:03d}.onnx", content)
    flood = b"\x0a\x00" * wire.MAX_FIELDS
    write(tmp_path / "flood.onnx", b"\x08\x09\x3a" + varint(len(flood) - 100) + flood[100:])
    for name in ("zeros", "huge"):
        with (tmp_path / f"{name}.onnx").open("wb") as file:
            file.truncate(
                (1 << 31) - 1 if name == "zeros" else 1 << 40
            )  # holes: no room on the disk is taken

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS * 3, MOST_SECONDS * 3))

    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path)],
        capture_output=True, text=True, check=False, preexec_fn=limit, timeout=240,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 1 << 20  # KiB


@pytest.mark.parametrize(
    ("limit", "content", "words"),
    [
        ("MAX_FIELDS", b"\x08\x09\x3a" + varint(400) + b"\x0a\x00" * 200, "more than 100 parts"),
        (
            "MAX_PACKED_BYTES",
            model(weights=(numbers("w", [1] * 200),)),
            "more than 100 bytes of whole numbers",
        ),
    ],
)
def test_what_would_grow_in_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, content: Any, words: str
) -> None:
    """A message of 2 bytes becomes more than 100 in memory, a number of 1 byte 8."""
    path = write(tmp_path / "model.onnx", content)
    monkeypatch.setattr(wire, limit, 100)
    with pytest.raises(ModelFileError, match=words):
        open_onnx(path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.onnx"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    with pytest.raises(ModelFileError, match="cannot be read"):
        open_onnx(path)


# ---------------------------------------------------------------- what is sound although it looks odd


@pytest.mark.parametrize(
    "made",
    [
        model(node("Relu", "images", "a"), node("Abs", "a")),
        model(node("Abs", "a"), node("Relu", "images", "a")),  # not sorted
        model(CONV, weights=(WEIGHT,), inputs=[value("images", [1, 3, 64, 64]), value("w", [2, 3, 3, 3])]),
        model(inputs=[value("images", ["N", 3, None, None])]),
        model(inputs=[value("images", [-1, 3, 0, 0])]),
        model(inputs=[value("images", [1, 64, 64, 3], TensorProto.UINT8)]),
        model(node("Relu", "images", "x"), node("Add", "x w"), weights=(claim([0], raw=b""),)),
        model(branches(20), weights=(TRUE,)),
        model(loop(1), weights=(numbers("n", 3), TRUE)),
        model(node("F", domain="my"), domains=("my",), functions=(function("F", node("Relu", "x", "y")),)),
        model(helper.make_node("Resize", ["images", "", "s"], ["out"]), weights=(numbers("s", [1.0, 1, 2, 2], FLOAT),)),
        model(opset=OLDEST_OPSET), model(opset=NEWEST_OPSET), model(ir=3), model(ir=onnx.IR_VERSION),
        model(node("Relu", domain="ai.onnx")),
        model(node("Dropout", "images", "out mask")),
    ],
)  # fmt: skip
def test_an_odd_file_is_read(tmp_path: Path, made: ModelProto) -> None:
    source = open_onnx(write(tmp_path / "model.onnx", made))
    assert onnx.load_from_string(source.content).graph.node
    assert source.outputs[0].name == "out"


def test_nodes_are_put_into_order(tmp_path: Path) -> None:
    made = model(node("Abs", "b"), node("Relu", "a", "b"), node("Neg", "images", "a"))
    source = open_onnx(write(tmp_path / "model.onnx", made))
    assert [item.op_type for item in onnx.load_from_string(source.content).graph.node] == [
        "Neg",
        "Relu",
        "Abs",
    ]


def test_a_byte_input_is_said_to_be_one(tmp_path: Path) -> None:
    made = model(inputs=[value("images", [1, 64, 32, 3], TensorProto.UINT8)])
    source = open_onnx(write(tmp_path / "model.onnx", made))
    assert (source.takes_bytes, source.layout, source.size) == (True, "NHWC", (32, 64))


def test_training_notes_are_dropped(tmp_path: Path) -> None:
    made = model()
    weight = made.training_info.add().initialization.initializer.add(name="x", data_type=FLOAT)
    weight.external_data.add(key="location", value="/etc/passwd")
    weight.data_location = TensorProto.EXTERNAL
    source = open_onnx(write(tmp_path / "model.onnx", made))
    assert b"passwd" not in source.content


@pytest.mark.parametrize("name", ["half", "int8", "int4", "bool", "typed"])
def test_weights_of_every_size_are_counted_rightly(tmp_path: Path, name: str) -> None:
    weight = {
        "half": numpy_helper.from_array(np.zeros((3, 5), np.float16), "w"),
        "int8": numpy_helper.from_array(np.zeros((3, 5), np.int8), "w"),
        "int4": helper.make_tensor("w", TensorProto.INT4, [3, 5], [1] * 15),
        "bool": numpy_helper.from_array(np.zeros((3, 5), bool), "w"),
        "typed": helper.make_tensor("w", TensorProto.FLOAT16, [3, 5], [1.0] * 15),
    }[name]
    made = model(node("Relu"), node("Cast", "w", "unused", to=FLOAT), weights=(weight,))
    assert open_onnx(write(tmp_path / "model.onnx", made)).content


# ---------------------------------------------------------------- real files, damaged


@pytest.fixture(scope="module")
def real_files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("real")
    shipped = sorted(Path(__file__).resolve().parent.parent.glob("model_repository/*/*.onnx"))
    made = [
        yolov8_like(folder / "a.onnx"),
        planted(folder / "b.onnx"),
        write(folder / "c.onnx", model(branches(5), weights=(TRUE,))),
    ]
    made += [
        write(
            folder / "d.onnx",
            model(
                node("F", domain="my"), domains=("my",), functions=(function("F", node("Relu", "x", "y")),)
            ),
        )
    ]
    return [path.read_bytes() for path in [*made, *shipped[:1]]]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_sound(
    tmp_path: Path, real_files: list[bytes], data: st.DataObject
) -> None:
    """After any flips, cuts and repeats open_onnx gives a source or a ModelFileError, and nothing else."""
    content = bytearray(data.draw(st.sampled_from(real_files)))
    for _ in range(data.draw(st.integers(1, 8))):
        # Most of a file are weights; its structure is at both ends.
        place = data.draw(st.one_of(st.integers(0, min(2000, len(content) - 1)),
                                    st.integers(max(0, len(content) - 2000), len(content) - 1),
                                    st.integers(0, len(content) - 1)))  # fmt: skip
        kind = data.draw(st.sampled_from(["flip", "set", "cut", "repeat", "drop"]))
        if kind == "flip":
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            content[place] = data.draw(st.integers(0, 255))
        elif kind == "repeat":
            content[place:place] = content[place : place + data.draw(st.integers(1, 64))]
        else:
            del content[place : None if kind == "cut" else place + data.draw(st.integers(1, 64))]
        if not content:
            break
    path = write(tmp_path / "model.onnx", bytes(content))
    with contextlib.suppress(ModelFileError):
        assert open_onnx(path).outputs


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    """A file of any few bytes, with and without a model's beginning, is refused with our error."""
    for start in (b"", b"\x08\x09", b"\x08\x09\x3a" + varint(len(content))):
        with pytest.raises(ModelFileError):
            open_onnx(write(tmp_path / "model.onnx", start + content))


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    whole = model(CONV, weights=(WEIGHT,)).SerializeToString()
    for size in range(len(whole) - 8):
        with pytest.raises(ModelFileError):
            open_onnx(write(tmp_path / "model.onnx", whole[:size]))


def test_external_weights_past_the_end_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(100))
    path = with_external_data(tmp_path / "model.onnx", "w.bin")
    with pytest.raises(ModelFileError, match=r"too few bytes.*it has 100"):
        open_onnx(path)

# SPDX-License-Identifier: Apache-2.0
"""The process in which TensorFlow works: `python -m sightline.builders.sources.keras_worker`, driven by keras_process."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from sightline.builders.sources import keras_wire
from sightline.errors import BuildError, SightlineError

OPSET = 17
_LOOK_SECONDS = 0.5
_REASON_CHARACTERS = 500


def main() -> None:
    """Answer messages until the builder closes the pipe."""
    builder = int(sys.argv[1])  # not getppid(): it may have been killed while Python started
    threading.Thread(target=_end_with, args=(builder,), daemon=True).start()
    requests, answers = _pipes()
    originals: list[Any] = []
    while True:
        try:
            head, blocks = keras_wire.receive(requests)
        except EOFError:
            return
        try:
            if "load" in head:
                _load(head["load"], originals, answers)
            else:
                outputs = originals[head["run"]].run(keras_wire.array_of(blocks[0]))
                keras_wire.send(answers, {}, [keras_wire.block_of(output) for output in outputs])
        except SightlineError as error:
            keras_wire.send(answers, {"error": str(error), "kind": type(error).__name__})
        except Exception as error:  # TensorFlow raises all sorts
            text = f"TensorFlow failed: {type(error).__name__}: {first_lines(error)}"
            keras_wire.send(answers, {"error": text, "kind": "BuildError"})


def _end_with(builder: int) -> None:
    """A builder that was killed in the middle of a load closes the pipe, which nobody reads before the load's end."""
    while os.getppid() == builder:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Both pipes for ourselves: what libraries print goes to the standard error, what they read is empty."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests, answers


def _load(order: dict[str, Any], originals: list[Any], answers: BinaryIO) -> None:
    from sightline.builders.sources import keras_load

    def report(text: str) -> None:
        keras_wire.send(answers, {"progress": text})

    path, size = Path(order["path"]), (int(order["size"][0]), int(order["size"][1]))
    if path.is_dir():
        original = keras_load.load_saved_model(path, size, order["signature"], order["branch"], report)
    else:
        original = keras_load.load_keras(path, size, order["branch"], report)
    report("export: tf2onnx")
    content = _onnx(original)
    head = {
        "number": len(originals),
        "origin": original.origin,
        "defaults": original.defaults,
        "channels_last": original.channels_last,
    }
    originals.append(original)
    keras_wire.send(answers, head, [content])


def _onnx(original: Any) -> bytes:
    """The original's function by tf2onnx: opset 17, in the layout of the original."""
    import numpy as np

    if not hasattr(np, "object"):  # tf2onnx looks types up by names that numpy no longer has
        np.object = object  # type: ignore[attr-defined]
    import tf2onnx

    try:
        graph, inputs, outputs = _frozen(original)
        model, _ = tf2onnx.convert.from_graph_def(
            graph, input_names=inputs, output_names=outputs, opset=OPSET
        )
    except Exception as error:  # tf2onnx raises all sorts
        raise BuildError(
            f"{original.origin} could not be exported to ONNX by tf2onnx: {first_lines(error)}. "
            "Layers without counterpart in ONNX must be replaced before"
        ) from error
    return bytes(model.SerializeToString())


def _frozen(original: Any) -> tuple[Any, list[str], list[str]]:
    """The original's graph with all variables and captured tensors as constants, its input's and outputs' names.

    tf2onnx's own way takes tensors that a layer captured, such as those of Normalization, for inputs.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = original.function.get_concrete_function(*original.signature)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)
    inputs = [tensor.name for tensor in frozen.inputs if tensor.name.startswith("images")]
    return frozen.graph.as_graph_def(add_shapes=True), inputs, [tensor.name for tensor in frozen.outputs]


def first_lines(error: Exception) -> str:
    """The beginning and the end of an error's text on one line: Keras tells at the start, traced functions at the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    chosen = lines if len(lines) <= 4 else [*lines[:2], "…", *lines[-2:]]
    return " ".join(chosen)[:_REASON_CHARACTERS]


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # TensorFlow's threads are not waited for

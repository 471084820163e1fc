# SPDX-License-Identifier: Apache-2.0
"""Loads Keras files and SavedModels without running code that they carry. Imported only where TensorFlow works alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.sources.base import Floats
from sightline.builders.sources.files import checked_archive, file_kind
from sightline.builders.sources.keras_defaults import defaults_of
from sightline.builders.sources.keras_worker import first_lines
from sightline.errors import BuildError, CardError, ModelFileError

Report = Callable[[str], None]
MAX_GRAPH_BYTES = 1 << 31
# Operations of a graph that run Python, or read and write files by name.
_FORBIDDEN = frozenset(
    ("PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "WholeFileReader",
     "WholeFileReaderV2", "TFRecordReader", "TFRecordReaderV2", "TextLineReader", "TextLineReaderV2", "TFRecordDataset",
     "TextLineDataset", "FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "CSVDataset", "CSVDatasetV2",
     "SaveDataset", "SaveDatasetV2", "LoadDataset", "SqlDataset", "ImmutableConst", "DebugIdentity", "DebugIdentityV2",
     "DebugIdentityV3", "PrintV2", "XlaLaunch", "LookupTableExportV2", "InitializeTableFromTextFile",
     "InitializeTableFromTextFileV2", "CreateSummaryFileWriter", "CreateSummaryDbWriter", "CacheDataset", "CacheDatasetV2",
     "SnapshotDataset", "SnapshotDatasetV2", "DatasetToTFRecord", "LMDBReader", "LMDBDataset", "ExperimentalLMDBDataset",
     "ExperimentalCSVDataset", "ExperimentalSqlDataset", "ExperimentalDatasetToTFRecord", "FixedLengthRecordReader",
     "FixedLengthRecordReaderV2")
)  # fmt: skip
# A SavedModel's own functions for saving have these; the function that is served must not.
_ONLY_IN_SAVERS = frozenset(
    ("Save", "SaveV2", "SaveSlices", "MergeV2Checkpoints", "Restore", "RestoreV2", "RestoreSlice", "ShardedFilename")
)  # fmt: skip


@dataclass(frozen=True)
class Original:
    """A loaded model: its function of one image tensor, a tf.function that gives a flat list, and what is known of it."""

    function: Any
    signature: list[Any]
    channels_last: bool
    origin: str
    defaults: dict[str, Any] = field(default_factory=dict)
    kept: Any = None  # whose variables the function reads

    def run(self, images: Floats) -> list[NDArray[Any]]:
        """Outputs for float32 (N, 3, height, width)."""
        import tensorflow as tf

        images = images.transpose(0, 2, 3, 1) if self.channels_last else images
        return [output.numpy() for output in self.function(tf.constant(np.ascontiguousarray(images)))]


def load_keras(path: Path, size: tuple[int, int], branch: str | None, report: Report) -> Original:
    """A .keras or .h5 file. Raises ModelFileError for one with code, custom layers or damage, CardError for the branch."""
    import keras

    report("load the Keras file")
    if file_kind(path) == "keras":
        with checked_archive(path) as archive:
            for name in archive.namelist():
                if name.endswith(".h5"):
                    _check_hdf5(io.BytesIO(archive.read(name)), f"{name} of {path}")
    else:
        _check_hdf5(path, str(path))
    model = _keras_model(keras, path)
    served = _branch(keras, model, branch)
    shape = _image_shape(served, branch or model.name)
    versions = f"Keras {keras.version()}"
    name = f"{model.name}/{branch}" if branch else model.name
    return _original(
        lambda x: served(x, training=False), shape, size, f"{versions} {name}", defaults_of(model.name), model
    )


def _check_hdf5(file: Any, name: str) -> None:
    """Refuse what would have HDF5 read other files: links out of the file, external and virtual data sets."""
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            _check_group(h5py, opened, name)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise ModelFileError(f"{name} is damaged: {first_lines(error)}. Save the model again") from error


def _check_group(h5py: Any, root: Any, name: str) -> None:
    waiting = [root]
    while waiting:
        group = waiting.pop()
        for key in group:
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelFileError(
                    f"{name} has the link {key!r} to elsewhere, which is never followed; save the model again"
                )
            item = group[key]
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                raise ModelFileError(
                    f"{name} keeps the data of {key!r} in other files, which are never opened; save it again"
                )


def _keras_model(keras: Any, path: Path) -> Any:
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises ValueError, TypeError, OSError, KeyError and more
        text = first_lines(error)
        if "unsafe" in text.lower() or "lambda" in text.lower() or "arbitrary code" in text.lower():
            raise ModelFileError(
                f"{path} carries Python code (a Lambda layer), which is never run. Build the model with Keras's own layers "
                "instead, or export it where you trust it: model.export('folder'), and name that folder"
            ) from error
        if "locate" in text or "Unknown layer" in text or "register" in text:
            raise ModelFileError(
                f"{path} needs classes of its own ({text}). Export it where they are: model.export('folder'), and name that "
                "folder"
            ) from error
        raise ModelFileError(
            f"{path} cannot be loaded by Keras: {text}. Save it again with model.save('model.keras')"
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(f"{path} holds a {type(model).__name__}, not a Keras model")
    return model


def _branch(keras: Any, model: Any, branch: str | None) -> Any:
    """The model, or the layer inside it that the card names, such as "tower" or "outer.inner"."""
    current = model
    for part in branch.split(".") if branch else ():
        names = [layer.name for layer in getattr(current, "layers", ())]
        if part not in names:
            raise CardError(f"branch names {part!r}; {current.name} has the layers {', '.join(names[:20])}")
        current = current.get_layer(part)
    return current


def _image_shape(served: Any, name: str) -> tuple[int | None, ...]:
    shape = getattr(served, "input_shape", None)
    if isinstance(shape, dict):
        shape = list(shape.values())
    if isinstance(shape, list) and len(shape) == 1:
        shape = shape[0]
    if isinstance(shape, list):
        towers = [layer.name for layer in served.layers if hasattr(layer, "layers")]
        hint = (
            f"name one of its parts as 'branch': {', '.join(towers)}"
            if towers
            else "a network with one is served"
        )
        raise ModelFileError(f"{name} has {len(shape)} inputs; {hint}")
    if not shape:
        raise ModelFileError(
            f"{name} was saved before its input's shape was known; call it once and save it again"
        )
    return tuple(shape)


def load_saved_model(
    path: Path, size: tuple[int, int], signature: str, branch: str | None, report: Report
) -> Original:
    """A SavedModel's signature. Raises ModelFileError for operations that run code or touch files, CardError for names."""
    if branch is not None:
        raise CardError(
            f"branch is {branch!r}; a SavedModel has no layers to choose from, only signatures (source_args)"
        )
    import tensorflow as tf

    report("check the graph's operations")
    _check_operations(path)
    report("load the SavedModel")
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises all sorts
        raise ModelFileError(f"{path} cannot be loaded by TensorFlow: {first_lines(error)}") from error
    if signature not in loaded.signatures:
        known = ", ".join(loaded.signatures) or "none"
        raise CardError(
            f"{path} has no signature {signature!r}; it has {known}. Name one: source_args: {{signature: …}}"
        )
    served = loaded.signatures[signature]
    _refuse(_graph_nodes(served.graph.as_graph_def()), _FORBIDDEN | _ONLY_IN_SAVERS, path)
    arguments = served.structured_input_signature[1]
    if len(arguments) != 1:
        raise ModelFileError(
            f"signature {signature} of {path} has the inputs {', '.join(arguments)}; one image is served"
        )
    ((name, spec),) = arguments.items()
    if spec.dtype != tf.float32 or spec.shape.rank is None:
        raise ModelFileError(
            f"input {name} of {path} is {spec.dtype.name} {spec.shape}; it must be float32 of a known rank"
        )

    def call(images: Any) -> Any:
        outputs = served(**{name: images})
        return [outputs[key] for key in sorted(outputs)]

    return _original(
        call, tuple(spec.shape), size, f"TensorFlow {tf.__version__} SavedModel {path.name}", {}, loaded
    )


def _check_operations(path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    file = path / "saved_model.pb"
    if file.stat().st_size > MAX_GRAPH_BYTES:
        raise ModelFileError(f"{file} has more than {MAX_GRAPH_BYTES} bytes")
    content = saved_model_pb2.SavedModel()
    try:
        content.ParseFromString(file.read_bytes())
    except Exception as error:  # protobuf's DecodeError, whichever protobuf that is
        raise ModelFileError(f"{file} is damaged or cut off; export the model again") from error
    for meta in content.meta_graphs:
        _refuse(_graph_nodes(meta.graph_def), _FORBIDDEN, file)


def _refuse(nodes: Iterable[Any], forbidden: frozenset[str], file: Path) -> None:
    for node in nodes:
        if node.op in forbidden:
            raise ModelFileError(
                f"node {node.name[:80]!r} of {file} is a {node.op}: it would run code or open files on this machine, which "
                "Sightline never lets a model do. Export the model without it"
            )


def _graph_nodes(graph: Any) -> Iterable[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _original(
    call: Any,
    shape: tuple[int | None, ...],
    size: tuple[int, int],
    origin: str,
    defaults: dict[str, Any],
    kept: Any,
) -> Original:
    import tensorflow as tf

    width, height = size
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ModelFileError(
            f"the input of {origin} has the shape {shape}; it must be (N, height, width, 3) or (N, 3, height, width)"
        )
    last = shape[3] == 3
    sides = shape[1:3] if last else shape[2:]
    chosen = [side or wanted for side, wanted in zip(sides, (height, width), strict=True)]
    if chosen != [height, width]:
        raise BuildError(
            f"the input size is {width}x{height}; the network takes {chosen[1]}x{chosen[0]} only. "
            f"Set the card's input.size to [{chosen[1]}, {chosen[0]}]"
        )
    dims = [shape[0], height, width, 3] if last else [shape[0], 3, height, width]
    signature = [tf.TensorSpec(dims, tf.float32, name="images")]

    def flat(images: Any) -> list[Any]:
        return list(tf.nest.flatten(call(images)))

    fixed = {"input": {**defaults.get("input", {}), "size": [width, height]}}
    return Original(
        tf.function(flat, input_signature=signature, autograph=False),
        signature,
        last,
        origin,
        {**defaults, **fixed},
        kept,
    )

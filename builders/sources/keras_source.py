# SPDX-License-Identifier: Apache-2.0
"""Keras files (.keras, .h5) and TensorFlow SavedModels as ONNX, by tf2onnx.

TensorFlow works in a process of its own (keras_worker): it brings its own protobuf, thread pools and signal handlers,
takes gigabytes, and may not live beside the other frameworks. The process stays to run the original for the proof and
ends with the ExportedModel. Code that a file carries (Lambda layers, Python functions) is never run.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.sources.base import ExportedModel, Floats
from sightline.builders.sources.keras_process import KerasProcess
from sightline.builders.sources.keras_worker import OPSET
from sightline.card import InputSpec, ModelCard
from sightline.errors import BuildError, CardError, MissingDependencyError, ModelFileError

MOST_ERROR = 1e-3  # largest difference of an output, as a share of its spread
_PACKAGES = ("tensorflow", "keras", "tf2onnx")
_LEAST_SPREAD = 1e-3
_PICTURES = 2
_MAX_FILES = 10_000

Progress = Callable[[str], None]


def export(
    card: ModelCard, progress: Progress | None = None, *, process: KerasProcess | None = None
) -> ExportedModel:
    """The card's Keras file or SavedModel folder as ONNX of opset 17, in the layout of the original (often NHWC).

    card.branch names a layer that is served alone, such as the tower of a Siamese pair; card.source_args may name a
    SavedModel's `signature` (else serving_default). process: one that is used again; started where None. Raises
    ModelFileError for a file that cannot be loaded safely, CardError for a branch or argument that is not there,
    BuildError where the export does not give the original's numbers, and MissingDependencyError.
    """
    report = progress or (lambda _: None)
    _check_packages()
    path = _path_of(card)
    signature = _signature_of(card)
    digest = _digest(path, report)
    own = process is None
    if process is None:
        report("start TensorFlow")
        process = KerasProcess()
    order = {"path": str(path), "size": list(card.input.size), "branch": card.branch, "signature": signature}
    try:
        loaded = process.load(order, report)
        report("compare with Keras")
        _compare(loaded.content, loaded.channels_last, loaded.run, card.input)
    except BaseException:
        if own:
            process.close()
        raise
    return ExportedModel(loaded.content, loaded.origin, digest, loaded.run, loaded.defaults)


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"the package{'s' if len(missing) > 1 else ''} {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} not "
            "installed; run: pip install 'sightline[keras]'"
        )


def _path_of(card: ModelCard) -> Path:
    path = Path(card.source.partition(":")[2] if card.scheme == "keras" else card.source)
    if card.weights is not None:
        raise CardError("weights belong to sources that name an architecture; a Keras file has its own")
    if not path.exists():
        raise ModelFileError(f"model file {path} does not exist; check the path or the card's 'source'")
    if not path.is_dir() and not path.is_file():
        raise ModelFileError(
            f"{path} is a pipe, device or socket; a Keras source is a file or a SavedModel's folder"
        )
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise ModelFileError(f"{path} is a folder without saved_model.pb; name the SavedModel's own folder")
    return path.resolve()


def _signature_of(card: ModelCard) -> str:
    unknown = sorted(set(card.source_args) - {"signature"})
    if unknown:
        raise CardError(
            f"source_args has {unknown[0]!r}; a Keras or TensorFlow source knows 'signature' only"
        )
    return str(card.source_args.get("signature", "serving_default"))


def _digest(path: Path, report: Progress) -> str:
    """SHA-256 of the file, or of all files of the folder with their names. Raises ModelFileError for links in it."""
    report("read the files")
    whole = hashlib.sha256()
    if path.is_file():
        _add(path, whole)
        return whole.hexdigest()
    files = sorted(item for item in path.rglob("*") if not item.is_dir() or item.is_symlink())
    if len(files) > _MAX_FILES:
        raise ModelFileError(f"{path} has more than {_MAX_FILES} files; a SavedModel has a few")
    for item in files:
        if item.is_symlink() or not item.is_file():
            raise ModelFileError(
                f"{item} is a link or special file; a SavedModel's folder must hold plain files"
            )
        whole.update(f"{item.relative_to(path).as_posix()}\0{item.stat().st_size}\0".encode())
        _add(item, whole)
    return whole.hexdigest()


def _add(path: Path, whole: Any) -> None:
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                whole.update(block)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from error


def _compare(content: bytes, channels_last: bool, reference: Any, spec: InputSpec) -> None:
    """Run the export and the original on random pictures. Raises BuildError above MOST_ERROR."""
    images = _pictures(spec)
    wanted = reference(images)
    found = _run_onnx(content, images.transpose(0, 2, 3, 1) if channels_last else images)
    if len(found) != len(wanted):
        raise BuildError(f"the export has {len(found)} outputs, the Keras model {len(wanted)}")
    for number, (have, want) in enumerate(zip(found, wanted, strict=True)):
        if have.shape != want.shape:
            raise BuildError(
                f"output {number} of the export has shape {have.shape}, the Keras model's is {want.shape}"
            )
        if not np.isfinite(want).all():
            raise BuildError(
                f"output {number} of the Keras model has values that are not finite; check its weights"
            )
        largest = float(np.abs(want).max())
        # An untrained classifier gives nearly the same everywhere: below this its spread is float32's own rounding.
        spread = max(float(want.max() - want.min()), _LEAST_SPREAD * largest) or 1.0
        error = float(np.abs(have - want).max()) / spread
        if not error <= MOST_ERROR:
            raise BuildError(
                f"output {number} of the export (opset {OPSET}) differs by {error:.2g} of its spread from the Keras model's; "
                f"at most {MOST_ERROR} is allowed"
            )


def _pictures(spec: InputSpec) -> Floats:
    width, height = spec.size
    levels = np.random.default_rng(0).integers(0, 256, (_PICTURES, 3, height, width))
    mean, std = (np.asarray(values, np.float32).reshape(3, 1, 1) for values in (spec.mean, spec.std))
    return np.ascontiguousarray((levels - mean) / std, np.float32)


def _run_onnx(content: bytes, images: Floats) -> list[NDArray[Any]]:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "the package 'onnxruntime' is not installed; run: pip install 'sightline[keras]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    answers = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(images)})
    return [np.asarray(answer) for answer in answers]

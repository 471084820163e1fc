# SPDX-License-Identifier: Apache-2.0
"""What a model file is, by its first bytes and its contents, never by its name's ending."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Literal

from sightline.errors import ModelFileError

FileKind = Literal[
    "onnx", "torchscript", "torch_archive", "torch_program", "pickle", "safetensors", "keras", "hdf5",
    "saved_model", "tflite", "huggingface", "unknown",
]  # fmt: skip
MAX_ARCHIVE_BYTES = 8 << 30
MAX_ENTRIES = 200_000
MAX_SAFETENSORS_HEADER = 100_000_000
_START_BYTES = 64


def file_kind(path: Path) -> FileKind:
    """The kind of a file or folder. "unknown" may still be ONNX, which has no mark of its own.

    Raises ModelFileError for a path that is missing, cannot be read, or is a damaged archive.
    """
    try:
        if path.is_dir():
            return _folder_kind(path)
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except OSError as error:
        raise ModelFileError(
            f"model file {path} cannot be read: {error.strerror}; check the path or the card's 'source'"
        ) from error
    if start.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    return _kind_by_start(start, path)


def _folder_kind(path: Path) -> FileKind:
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    if (path / "config.json").is_file():
        return "huggingface"
    raise ModelFileError(
        f"{path} is a folder without saved_model.pb (TensorFlow) or config.json (Hugging Face); "
        "name the model file itself in the card's 'source'"
    )


def _kind_by_start(start: bytes, path: Path) -> FileKind:
    if start.startswith(b"\x89HDF"):
        return "hdf5"
    if start[4:8] == b"TFL3":
        return "tflite"
    if start.startswith(b"\x80") and len(start) > 1 and start[1] <= 5:
        return "pickle"
    if _is_safetensors(start, path):
        return "safetensors"
    return "onnx" if start.startswith(b"\x08") else "unknown"


def _is_safetensors(start: bytes, path: Path) -> bool:
    """Eight bytes of length, then that much JSON."""
    length = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 2 <= length <= MAX_SAFETENSORS_HEADER and length + 8 <= path.stat().st_size


def _archive_kind(path: Path) -> FileKind:
    with checked_archive(path) as archive:
        names = archive.namelist()
    endings = {name.partition("/")[2] if "/" in name else name for name in names}
    if "constants.pkl" in endings and any(ending.startswith("code/") for ending in endings):
        return "torchscript"
    if "archive_format" in endings or "serialized_exported_program.json" in endings:
        return "torch_program"
    if "data.pkl" in endings:
        return "torch_archive"
    if "config.json" in names and any(name.endswith(".weights.h5") for name in names):
        return "keras"
    return "unknown"


def checked_archive(path: Path) -> zipfile.ZipFile:
    """An open zip archive whose contents, unpacked, stay below MAX_ARCHIVE_BYTES. Raises ModelFileError."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelFileError(
            f"{path} is a damaged or cut off archive ({error}); copy or save it again"
        ) from error
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if total > MAX_ARCHIVE_BYTES or len(entries) > MAX_ENTRIES:
        archive.close()
        raise ModelFileError(
            f"{path} unpacks to {total} bytes in {len(entries)} entries; "
            f"at most {MAX_ARCHIVE_BYTES} bytes and {MAX_ENTRIES} entries are opened"
        )
    return archive


def read_json(path: Path, most_bytes: int = 16 << 20) -> dict[str, object]:
    """A JSON object from a file of at most `most_bytes`. Raises ModelFileError."""
    try:
        if path.stat().st_size > most_bytes:
            raise ModelFileError(f"{path} has more than {most_bytes} bytes; it should be a short text")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"{path} must hold a JSON object")
    return values

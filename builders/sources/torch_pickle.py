# SPDX-License-Identifier: Apache-2.0
"""Reads what torch.save wrote of whole modules, without importing or calling anything that the pickle names.

Every class and function of the pickle becomes an inert record that only remembers its name and what it was given;
only tensors, storages and plain containers become themselves. So a pickle that asks for os.system gives a record of
that name, and nothing runs. Tensors are read from the archive with their bounds checked.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from sightline.builders.sources.files import checked_archive
from sightline.builders.sources.torch_network import import_torch
from sightline.errors import ModelFileError

_MAX_PICKLE_BYTES = 256 << 20
_MAX_DEPTH = 64
_MAX_DIMS = 16
_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip


class Record:
    """An object of the pickle, as far as it was described: `name` of its class, arguments, state and items."""

    name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.arguments = args
        self.state: Any = None
        self.entries: dict[Any, Any] = {}
        self.values: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__.setdefault("entries", {})[key] = value

    def append(self, value: Any) -> None:
        """As the pickle does with lists."""
        self.__dict__.setdefault("values", []).append(value)

    def extend(self, values: Any) -> None:
        """As the pickle does with lists."""
        self.__dict__.setdefault("values", []).extend(values)

    def add(self, value: Any) -> None:
        """As the pickle does with sets."""
        self.append(value)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The attributes of the object."""
        state = self.__dict__.get("state")
        return state if isinstance(state, Mapping) else {}


@dataclass(frozen=True)
class _Storage:
    dtype: Any
    key: str
    count: int


def read_archive(path: Path) -> Any:
    """The object that torch.save wrote, made of records, tensors and plain containers. Raises ModelFileError."""
    with checked_archive(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(names) != 1 or archive.getinfo(names[0]).file_size > _MAX_PICKLE_BYTES:
            raise ModelFileError(f"{path} is no archive of torch.save: it has {len(names)} data.pkl")
        reader = _Reader(archive, names[0].removesuffix("data.pkl"))
        try:
            return reader.load()
        except ModelFileError:
            raise
        except Exception as error:  # a damaged pickle gives all sorts
            raise ModelFileError(f"{path} is damaged or cut off ({type(error).__name__}: {error})") from error


def module_of(value: Any) -> Record | None:
    """The pickled module of a checkpoint's dictionary, the averaged weights first, or the object itself."""
    parts = [value.get("ema"), value.get("model")] if isinstance(value, Mapping) else [value]
    return next((part for part in parts if isinstance(part, Record) and "_modules" in part.fields), None)


def named_tensors(module: Record) -> dict[str, Any]:
    """The state_dict of a pickled torch.nn.Module. Raises ModelFileError where it is nested too deep."""
    return dict(_tensors(module, "", 0))


def class_names(value: Any) -> list[str]:
    """Names of the classes of records in a checkpoint's dictionary, or of the object itself."""
    parts = list(value.values()) if isinstance(value, Mapping) else [value]
    return sorted({part.name for part in parts if isinstance(part, Record)})


def plain(value: Any, depth: int = 0) -> Any:
    """A copy made of dict, list, str, numbers and None; anything else becomes None."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {key: plain(item, depth + 1) for key, item in value.items() if isinstance(key, (str, int))}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    return value if isinstance(value, (str, bool, int, float)) else None


def _tensors(module: Record, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    torch = import_torch()
    if depth > _MAX_DEPTH:
        raise ModelFileError(f"the checkpoint's modules are nested more than {_MAX_DEPTH} deep")
    transient = module.fields.get("_non_persistent_buffers_set") or ()
    for group in ("_parameters", "_buffers"):
        for name, value in _items(module.fields.get(group)):
            if isinstance(value, torch.Tensor) and not (group == "_buffers" and name in transient):
                yield f"{prefix}{name}", value
    for name, child in _items(module.fields.get("_modules")):
        if isinstance(child, Record):
            yield from _tensors(child, f"{prefix}{name}.", depth + 1)


def _items(value: Any) -> list[tuple[str, Any]]:
    return (
        [(name, item) for name, item in value.items() if isinstance(name, str)]
        if isinstance(value, Mapping)
        else []
    )


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self.archive, self.root, self.torch = archive, root, import_torch()
        self.classes: dict[str, Any] = {}
        self.bytes: dict[str, Any] = {}

    def load(self) -> Any:
        order = f"{self.root}byteorder"
        if order in self.archive.namelist() and self.archive.read(order) != b"little":
            raise ModelFileError("the checkpoint was written on a big-endian machine; save it as safetensors")
        outer = self

        class Unpickler(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                return outer.global_of(module, name)

            def persistent_load(self, pid: Any) -> Any:
                return outer.storage(pid)

        return Unpickler(io.BytesIO(self.archive.read(f"{self.root}data.pkl"))).load()

    def global_of(self, module: str, name: str) -> Any:
        """What stands for a name of the pickle: a stand-in of ours, never the thing itself."""
        own: dict[str, Callable[..., Any]] = {
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
            "collections.OrderedDict": collections.OrderedDict,
            "builtins.set": set,
            "__builtin__.set": set,
            "torch.Size": tuple,
        }
        full = f"{module}.{name}"
        if full in own:
            return own[full]
        if full not in self.classes:
            self.classes[full] = type("Record", (Record,), {"name": full})
        return self.classes[full]

    def storage(self, pid: Any) -> Any:
        """("storage", type, key, device, count) as torch.save writes it."""
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise ModelFileError("the checkpoint refers to something that is no storage")
        _, kind, key, _, count = pid
        name = getattr(kind, "name", "").rpartition(".")[2]
        if name not in _STORAGES or not isinstance(key, str) or type(count) is not int:
            raise ModelFileError(f"the checkpoint has a storage of the kind {name!r}, which is not read")
        return _Storage(getattr(self.torch, _STORAGES[name]), key, count)

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
        """A copy of the described part of a storage."""
        numbers = [offset, *size, *stride]
        if not isinstance(storage, _Storage) or any(type(n) is not int or n < 0 for n in numbers):
            raise ModelFileError("the checkpoint has a tensor that is described wrongly")
        last = (
            offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
            if 0 not in size
            else -1
        )
        if len(size) > _MAX_DIMS or last >= storage.count or prod(size) > storage.count:
            raise ModelFileError(f"the checkpoint has a tensor of shape {tuple(size)} outside its storage")
        if storage.key not in self.bytes:
            self.bytes[storage.key] = self._content(storage)
        flat = self.bytes[storage.key]
        if not flat.numel():
            return self.torch.zeros(tuple(size), dtype=storage.dtype)
        return flat.as_strided(tuple(size), tuple(stride), offset).clone()

    def _content(self, storage: _Storage) -> Any:
        content = bytearray(self.archive.read(f"{self.root}data/{storage.key}"))
        width = self.torch.empty(0, dtype=storage.dtype).element_size()
        if len(content) != storage.count * width:
            raise ModelFileError(
                f"the checkpoint's storage {storage.key} has {len(content)} bytes; it needs {storage.count * width}"
            )
        if not content:
            return self.torch.empty(0, dtype=storage.dtype)
        return self.torch.frombuffer(content, dtype=storage.dtype)

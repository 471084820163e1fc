# SPDX-License-Identifier: Apache-2.0
"""TorchScript archives (torch.jit.save), which are programs: what they may do is read before they run.

A TorchScript operator can write files (aten::save, aten::from_file with shared=True), and `__setstate__` methods and
custom classes run while the archive is loaded. So an archive whose text has either is not loaded, and one whose graph
has operators outside plain tensor arithmetic is not run.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sightline.builders.sources.files import checked_archive
from sightline.builders.sources.torch_network import TorchNetwork, import_torch
from sightline.builders.sources.torch_python import branch_of
from sightline.card import ModelCard
from sightline.errors import ModelFileError

_MAX_CODE_BYTES = 64 << 20
_AT_LOADING = {
    "__setstate__": re.compile(rb"\bdef\s+__setstate__\b"),
    "a custom class": re.compile(rb"__torch__\.torch\.classes\b"),
}
_NAMESPACES = ("aten", "prim", "torchvision")
_FORBIDDEN = frozenset(
    {
        "aten::save", "aten::from_file", "aten::set_data", "aten::set_", "aten::_print", "aten::as_strided_",
        "prim::PythonOp", "prim::IgnoredPythonOp", "prim::rpc_async", "prim::rpc_sync", "prim::rpc_remote",
        "prim::Print", "prim::fork", "prim::CreateObject", "prim::CallMethod", "prim::SetAttr",
    }
)  # fmt: skip
_EXPORT_HINT = "Export it to ONNX where it was trained: torch.onnx.export(model, example, 'model.onnx')"


def load(card: ModelCard) -> TorchNetwork:
    """The archive's module. Raises ModelFileError for damage and for what a vision network does not need."""
    torch = import_torch()
    path = card.source_path
    _check_code(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch announces that torch.jit is old
        try:
            module = torch.jit.load(str(path), map_location="cpu")
        except Exception as error:  # RuntimeError and kin of the C++ reader
            raise ModelFileError(
                f"{path} is no TorchScript that PyTorch {torch.__version__} reads: {error}"
            ) from error
    module = branch_of(module.eval(), card.branch)
    check_operators(module, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = f"TorchScript {path.name} (SHA-256 {sha256[:12]}), PyTorch {torch.__version__}"
    return TorchNetwork(module, origin, script=True)


def check_operators(module: Any, path: Path) -> None:
    """Raises ModelFileError naming the first operator that could reach beyond tensors."""
    try:
        nodes = list(_nodes(module.inlined_graph))
    except Exception as error:  # no forward method, or one that cannot be inlined
        raise ModelFileError(f"{path} has no forward method that can be read. {_EXPORT_HINT}") from error
    for node in nodes:
        kind = node.kind()
        if kind.partition("::")[0] not in _NAMESPACES or kind in _FORBIDDEN:
            raise ModelFileError(
                f"{path} uses the operator {kind}, which Sightline does not run: only tensor arithmetic. {_EXPORT_HINT}"
            )


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _check_code(path: Path) -> None:
    with checked_archive(path) as archive:
        for entry in archive.infolist():
            if "/code/" not in f"/{entry.filename}" or not entry.filename.endswith(".py"):
                continue
            if entry.file_size > _MAX_CODE_BYTES:
                raise ModelFileError(
                    f"{path} has {entry.file_size} bytes of code; at most {_MAX_CODE_BYTES} are read"
                )
            text = archive.read(entry)
            for what, pattern in _AT_LOADING.items():
                if pattern.search(text):
                    raise ModelFileError(
                        f"{path} has {what}, which runs while the file is loaded (as in quantised models), so it was "
                        f"not opened. {_EXPORT_HINT}"
                    )

# SPDX-License-Identifier: Apache-2.0
"""Weights from a user's file into a module, without running anything that the file says."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.builders.sources.files import checked_archive, file_kind
from sightline.builders.sources.torch_network import import_torch
from sightline.errors import BuildError, MissingDependencyError, ModelFileError

_CONTAINERS = ("state_dict", "model_state_dict", "model_ema", "ema", "model", "net", "network", "weights")
_PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "encoder.", "backbone.")
_SAFE_TORCH = (2, 10)  # weights_only before it can corrupt memory (CVE-2025-32434, CVE-2026-24747)
_NAMES_SHOWN = 5
_SAVE_HINT = (
    "Save the weights alone where the model was trained: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)


def read_weights(path: Path) -> dict[str, Any]:
    """Named tensors of a safetensors file or of a state_dict that torch.save wrote.

    A pickle is read by torch.load(weights_only=True), which makes tensors and plain containers and nothing else; of a
    pickled module (torch.save(model), Ultralytics' checkpoints) the tensors are taken and its classes never imported.
    Raises ModelFileError for every other file, and for one whose pickle asks for more.
    """
    kind = file_kind(path)
    if kind == "safetensors":
        return _from_safetensors(path)
    if kind == "torch_archive" and (tensors := _of_pickled_module(path)):
        return tensors
    if kind in ("torch_archive", "pickle"):
        return _state_of(_from_torch(path), path)
    found = {
        "torchscript": "a TorchScript archive: name it as 'source'",
        "onnx": "an ONNX model: name it as 'source'",
    }
    raise ModelFileError(
        f"weights {path} are no safetensors and no state_dict file; it is {found.get(kind, 'another kind of file')}. "
        f"{_SAVE_HINT}"
    )


def load_weights(module: Any, path: Path) -> None:
    """Put a file's weights into the module; all names and shapes must fit.

    A prefix that all names of one side have (such as "module." of DataParallel) is taken off or put on.
    Raises ModelFileError, and BuildError naming what does not fit.
    """
    put_weights(module, read_weights(path), str(path))


def put_weights(module: Any, state: Mapping[str, Any], where: str) -> None:
    """As load_weights, for named tensors; `where` they come from is named in errors."""
    torch = import_torch()
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    state = _with_prefix_of(own, state)
    # Frozen batch normalisation has no counter, and evaluation does not read it
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in own and not name.endswith("num_batches_tracked")]
    shapes = [
        f"{name} {tuple(state[name].shape)} against {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or extra or shapes:
        parts = [("missing", missing), ("not in the network", extra), ("of another shape", shapes)]
        text = "; ".join(f"{len(names)} {what} ({_shown(names)})" for what, names in parts if names)
        raise BuildError(
            f"{where} does not fit the network that 'source' names: {text}. "
            "Check the architecture and source_args (such as num_classes)"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if name in state:
                tensor.copy_(state[name])


def _shown(names: list[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")


def _with_prefix_of(own: Mapping[str, Any], state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state with its common prefix changed where that makes more names fit."""
    candidates: list[Mapping[str, Any]] = [state]
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            candidates.append({name.removeprefix(prefix): value for name, value in state.items()})
        if all(name.startswith(prefix) for name in own):
            candidates.append({prefix + name: value for name, value in state.items()})
    return max(candidates, key=lambda names: sum(name in own for name in names))


def _from_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError("safetensors files need: pip install 'sightline[torch]'") from error
    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, ValueError, OSError) as error:
        raise ModelFileError(f"weights {path} are damaged or cut off: {error}") from error


def _from_torch(path: Path) -> Any:
    torch = import_torch()
    release = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if release < _SAFE_TORCH:
        raise ModelFileError(
            f"PyTorch {torch.__version__} does not read {path} safely; install PyTorch 2.10 or later. {_SAVE_HINT}"
        )
    if file_kind(path) == "torch_archive":
        checked_archive(path).close()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path} holds more than weights{_asked_for(str(error))}; a pickle can run code, so it was not opened "
            f"further. {_SAVE_HINT}"
        ) from error
    except Exception as error:  # damaged files give all sorts
        raise ModelFileError(f"weights {path} are damaged or cut off ({type(error).__name__})") from error


def _of_pickled_module(path: Path) -> dict[str, Any]:
    """Tensors of a whole module that was pickled, taken without its code; empty for a plain state_dict."""
    from sightline.builders.sources.torch_pickle import module_of, named_tensors, read_archive

    record = module_of(read_archive(path))
    return {name: tensor.float() for name, tensor in named_tensors(record).items()} if record else {}


def _asked_for(message: str) -> str:
    found = re.search(
        r"GLOBAL ([\w.]+) was not an allowed global|(?:global|class|function) ([\w.]+\.[\w.]+)", message
    )
    return f" (it asks for {found.group(1) or found.group(2)})" if found else ""


def _state_of(value: Any, path: Path) -> dict[str, Any]:
    """The mapping of names to tensors in a checkpoint's dictionary."""
    torch = import_torch()
    if isinstance(value, Mapping):
        tensors = {name: item for name, item in value.items() if isinstance(item, torch.Tensor)}
        if tensors and all(isinstance(name, str) for name in tensors):
            return dict(tensors)
        for name in _CONTAINERS:
            if isinstance(value.get(name), Mapping):
                return _state_of(value[name], path)
    found = (
        ", ".join(str(name) for name in list(value)[:8])
        if isinstance(value, Mapping)
        else type(value).__name__
    )
    raise ModelFileError(f"{path} has no named tensors; it holds: {found}. {_SAVE_HINT}")

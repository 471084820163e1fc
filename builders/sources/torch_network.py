# SPDX-License-Identifier: Apache-2.0
"""A PyTorch module ready to be exported, and what all PyTorch sources share: seeds, pictures, outputs, hashes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.card import InputSpec
from sightline.errors import BuildError, MissingDependencyError

if TYPE_CHECKING:
    import torch

Progress = Callable[[str], None]
SEED = 20240229
_SETTLE_PICTURES = 9


@dataclass(frozen=True)
class TorchNetwork:
    """A module in evaluation mode on the CPU.

    module: takes float32 (N, 3, height, width) and gives a tensor or tensors, in the order in which the head reads
    them. origin: framework, version and architecture, for people. original: the framework's own module where `module`
    is a rewritten form of it; it gives the same outputs and is what the export is compared with. single: only batches
    of one. rows: outputs are rows of objects, best first; two of nearly the same score may change places. defaults: as
    in ExportedModel. script: made by TorchScript.
    """

    module: torch.nn.Module
    origin: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    original: torch.nn.Module | None = None
    single: bool = False
    rows: bool = False
    script: bool = False


def import_torch() -> Any:
    """PyTorch, or MissingDependencyError."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "PyTorch sources need PyTorch; install it with: pip install 'sightline[torch]'"
        ) from error
    return torch


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Random weights made inside are the same in every build; the caller's generator is left as it was."""
    torch = import_torch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield


def pictures(spec: InputSpec, count: int, seed: int = SEED) -> Any:
    """Noise of large and small patches and of single pixels, normalised as the card says.

    A float32 tensor (count, 3, height, width).
    """
    torch = import_torch()
    width, height = spec.size
    generator = np.random.default_rng(seed)
    levels = np.zeros((count, 3, height, width))
    for index in range(count):  # in turn large patches, small ones, and single pixels
        side = (16, 4, 1)[index % 3]
        coarse = generator.uniform(0, 255, (3, -(-height // side), -(-width // side)))
        levels[index] = coarse.repeat(side, axis=1).repeat(side, axis=2)[:, :height, :width]
    levels = np.clip(levels + generator.normal(0, 16, levels.shape), 0, 255)
    mean, std = (np.asarray(values).reshape(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return torch.from_numpy(((levels - mean) / std).astype(np.float32))


def settle(module: Any, spec: InputSpec) -> None:
    """Give batch normalisation the statistics of the card's input, so that random weights neither vanish nor blow up."""
    torch = import_torch()
    norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    norms = [m for m in norms if m.track_running_stats]
    if not norms:
        return
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with contextlib.suppress(Exception), torch.no_grad():  # what does not run is told when it is compared
        module(pictures(spec, _SETTLE_PICTURES))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def outputs_of(value: Any) -> list[Any]:
    """The tensors that a module gives, in order; of a dictionary with "out" or "logits" only that one.

    Raises BuildError for anything that is not a tensor.
    """
    torch = import_torch()
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        for name in ("out", "logits"):
            if isinstance(value.get(name), torch.Tensor):
                return [value[name]]
        value = tuple(value.values())
    if isinstance(value, (list, tuple)) and value:
        return [tensor for part in value for tensor in outputs_of(part)]
    raise BuildError(
        f"the network gives a {type(value).__name__}; it must give a tensor, or a tuple or dictionary of tensors. "
        "Wrap it in a module that does, and name that module's factory in the card's 'source'"
    )


def digest(module: Any, origin: str) -> str:
    """SHA-256 over the architecture's name and all weights."""
    torch = import_torch()
    sha256 = hashlib.sha256(origin.encode())
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            tensor = tensor.detach().cpu().contiguous()
            sha256.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            sha256.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()


def architecture(framework: str, name: str, source_args: Mapping[str, Any], weights: Any) -> str:
    """An origin such as "torchvision 0.29.1 resnet18 (num_classes=7), weights from best.safetensors"."""
    arguments = ", ".join(f"{key}={value!r}" for key, value in source_args.items())
    trained = f"weights from {weights.name}" if weights else "RANDOM WEIGHTS: not trained, only for trials"
    return f"{framework} {name}{f' ({arguments})' if arguments else ''}, {trained}"


def unique_labels(names: tuple[str, ...]) -> tuple[str, ...]:
    """Repeated names (two of ImageNet's are "crane") get their number."""
    return tuple(
        name if names.index(name) == index else f"{name}_{index}" for index, name in enumerate(names)
    )

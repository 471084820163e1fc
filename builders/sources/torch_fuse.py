# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation worked into the convolution before it while a module is exported: less for torch.export to trace.

Imports PyTorch: use import_torch() before.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_MARK = "_sightline_convolution"  # on a tensor: the convolution that gave it

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


@contextlib.contextmanager
def fused(module: nn.Module, images: Tensor) -> Iterator[None]:
    """Meanwhile the convolutions do their batch normalisation's work; afterwards the module is as it was."""
    pairs: list[Pair] = []
    with contextlib.suppress(Exception):  # the user's own module: without, it only takes longer
        pairs = _pairs(module, images)
    kept = [(convolution, convolution.weight, convolution.bias) for convolution, _ in pairs]
    try:
        for convolution, norm in pairs:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps,
                norm.weight, norm.bias,
            )  # fmt: skip
            vars(norm)["forward"] = _unchanged
        yield
    finally:
        for convolution, weight, bias in kept:
            convolution.weight, convolution.bias = weight, bias
        for _, norm in pairs:
            vars(norm).pop("forward", None)


def _unchanged(images: Tensor) -> Tensor:
    return images


class _Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that read each convolution's output."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[nn.Module] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.add((args, kwargs))
        return func(*args, **(kwargs or {}))

    def add(self, values: Any) -> None:
        self.count.update(
            vars(leaf)[_MARK] for leaf in tree_leaves(values) if _MARK in getattr(leaf, "__dict__", ())
        )


def _pairs(module: nn.Module, images: Tensor) -> list[Pair]:
    """Convolutions that run once and whose output nothing reads but one batch normalisation, which runs once as well."""
    uses, runs, found = _Uses(), Counter[nn.Module](), list[Pair]()

    def after(convolution: nn.Module, _: Any, output: Tensor) -> None:
        runs[convolution] += 1
        vars(output)[_MARK] = convolution

    def before(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        runs[norm] += 1
        if inputs and (convolution := vars(inputs[0]).get(_MARK)):
            found.append((convolution, norm))  # type: ignore[arg-type]

    handles = []
    for part in module.modules():  # subclasses may do more
        if type(part) is nn.Conv2d:
            handles.append(part.register_forward_hook(after))
        elif type(part) is nn.BatchNorm2d and part.track_running_stats and not part.training:
            handles.append(part.register_forward_pre_hook(before))
    try:
        with torch.no_grad(), uses:
            uses.add(module(images))
    finally:
        for handle in handles:
            handle.remove()
    return [
        (convolution, norm)
        for convolution, norm in found
        if uses.count[convolution] == runs[convolution] == runs[norm] == 1
    ]

# SPDX-License-Identifier: Apache-2.0
"""`source: python:package.module:factory`: a network that the user's own code builds."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sightline.builders.sources.torch_network import (
    TorchNetwork,
    architecture,
    import_torch,
    seeded,
    settle,
)
from sightline.builders.sources.torch_weights import load_weights
from sightline.card import ModelCard
from sightline.errors import CardError


def load(card: ModelCard) -> TorchNetwork:
    """The factory's module with the card's weights, or its branch.

    The module is imported, that is run, because the user names it in the card. Raises CardError and BuildError.
    """
    torch = import_torch()
    target = card.source.partition(":")[2]
    factory = _factory(target)
    with seeded():
        try:
            module = factory(**card.source_args)
        except Exception as error:  # the user's own code
            raise CardError(
                f"source {card.source!r} with source_args {card.source_args} raised "
                f"{type(error).__name__}: {error}"
            ) from error
    if not isinstance(module, torch.nn.Module):
        raise CardError(
            f"source {card.source!r} gives a {type(module).__name__}; it must give a torch.nn.Module"
        )
    if card.weights:
        load_weights(module, card.weights)
    module = branch_of(module.eval(), card.branch).eval()
    if not card.weights:
        settle(module, card.input)
    name = f"{target}{f' branch {card.branch}' if card.branch else ''}"
    return TorchNetwork(
        module, architecture(f"PyTorch {torch.__version__}", name, card.source_args, card.weights)
    )


def branch_of(module: Any, branch: str | None) -> Any:
    """The named submodule, or the module itself. Raises CardError that lists the children."""
    if not branch:
        return module
    try:
        return module.get_submodule(branch)
    except AttributeError as error:
        children = ", ".join(name for name, _ in module.named_children()) or "none"
        raise CardError(f"branch is {branch!r}; the network's submodules are {children}") from error


def _factory(target: str) -> Any:
    name, colon, attribute = target.partition(":")
    if not colon or not name or not attribute:
        raise CardError(
            f"source is 'python:{target}'; write python:package.module:factory, where factory is a function or class "
            "that gives the network"
        )
    with _current_folder_importable():
        try:
            value: Any = importlib.import_module(name)
        except Exception as error:  # whatever the user's module raises
            raise CardError(
                f"module {name!r} of the card's source cannot be imported ({type(error).__name__}: {error}); "
                "run in its folder, or install it"
            ) from error
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if not callable(value):
        raise CardError(f"{name!r} has no function or class {attribute!r}; check the card's source")
    return value


@contextlib.contextmanager
def _current_folder_importable() -> Iterator[None]:
    """As `python -m` does, but after everything that is installed."""
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)

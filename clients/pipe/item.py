# SPDX-License-Identifier: Apache-2.0
"""What travels through a pipe: an image on its way, and what became of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_NAME_BYTES = 255  # of a file, on the file systems of Linux
LONGEST_SUFFIX_BYTES = 16


class NotWholeError(Exception):
    """The image is still being written, or changed while it was read. is_half: its file ends in the middle."""

    def __init__(self, text: str, is_half: bool = False) -> None:
        super().__init__(text)
        self.is_half = is_half


class GoneError(Exception):
    """The image is not there any more, or is not a file any more."""


@dataclass(frozen=True)
class Item:
    """One image on its way.

    name: as its source calls it. identity: tells it from a later image of the same name. load: reads it; raises
    NotWholeError, GoneError or BadInputError. number, out: set by the journal; `out` names its result.
    receipt: what its source needs to have done with it.
    """

    name: bytes
    identity: str
    load: Callable[[], bytes] = field(repr=False)
    receipt: Any = field(default=None, repr=False)
    number: int = 0
    out: bytes = b""


@dataclass(frozen=True)
class Answered:
    """payload: the result as it is written. coco: image and annotations for one COCO file of all, where that is wanted."""

    item: Item
    payload: bytes
    coco: tuple[str, str] | None = None


@dataclass(frozen=True)
class Poisoned:
    """An image that cannot be used. reason: plain values for JSON. data: the image, where it was read."""

    item: Item
    reason: dict[str, Any]
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Later:
    """An image that is not whole yet. is_half: nobody writes to it, and still it ends in the middle."""

    item: Item
    is_half: bool


@dataclass(frozen=True)
class Gone:
    """An image that went away, or that was not begun before the pipe was stopped."""

    item: Item


@dataclass(frozen=True)
class Broken:
    """A failure that is not the image's."""

    item: Item
    error: BaseException


Outcome = Answered | Poisoned | Later | Gone | Broken


def text_of(name: bytes) -> str:
    """A name for JSON and people: what is not UTF-8 as \\xNN."""
    return name.decode("utf-8", "backslashreplace")


def shown(name: bytes) -> str:
    """A name on one line of a terminal: no control characters."""
    text = text_of(name)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def file_name(name: bytes) -> bytes:
    """A name from outside as that of a file inside a folder: no separators, not hidden, not empty."""
    safe = name.replace(b"/", b"_").replace(b"\0", b"_")
    return b"_" + safe if safe.startswith(b".") or not safe else safe


def out_name(name: bytes, number: int, digest: str) -> bytes:
    """Name of what is written for an image: its own; from the second of this name on numbered; shortened where a suffix
    would make it too long for a file."""
    stem, suffix = os.path.splitext(name)
    if len(suffix) > LONGEST_SUFFIX_BYTES:
        stem, suffix = name, b""
    mark = b"" if number < 2 else b"-%d" % number
    room = MAX_NAME_BYTES - LONGEST_SUFFIX_BYTES - len(suffix) - len(mark)
    if len(stem) > room:
        mark = b"-" + digest[:12].encode() + mark
        stem = stem[: MAX_NAME_BYTES - LONGEST_SUFFIX_BYTES - len(suffix) - len(mark)]
    return stem + mark + suffix

# SPDX-License-Identifier: Apache-2.0
"""Messages between the builder and the process in which TensorFlow works: a JSON head and blocks of bytes."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_HEAD = struct.Struct("<II")  # bytes of the JSON, number of blocks
_BLOCK = struct.Struct("<Q")
_MAX_JSON = 1 << 24
_MAX_BLOCKS = 64
_MAX_BLOCK = 1 << 32


def send(stream: BinaryIO, head: dict[str, Any], blocks: Sequence[bytes] = ()) -> None:
    """Write one message."""
    text = json.dumps(head).encode()
    stream.write(_HEAD.pack(len(text), len(blocks)) + text)
    for block in blocks:
        stream.write(_BLOCK.pack(len(block)))
        stream.write(block)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    """Read one message. Raises EOFError where the other side has ended, ValueError for what is no message."""
    length, count = _HEAD.unpack(_exactly(stream, _HEAD.size))
    if length > _MAX_JSON or count > _MAX_BLOCKS:
        raise ValueError(f"a message of {length} bytes and {count} blocks")
    head = json.loads(_exactly(stream, length))
    blocks = []
    for _ in range(count):
        (size,) = _BLOCK.unpack(_exactly(stream, _BLOCK.size))
        if size > _MAX_BLOCK:
            raise ValueError(f"a block of {size} bytes")
        blocks.append(_exactly(stream, size))
    return head, blocks


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content


def block_of(array: NDArray[Any]) -> bytes:
    """An array as a block."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def array_of(block: bytes) -> NDArray[Any]:
    """The array of a block."""
    return np.asarray(np.load(io.BytesIO(block), allow_pickle=False))

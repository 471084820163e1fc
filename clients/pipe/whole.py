# SPDX-License-Identifier: Apache-2.0
"""Whether the bytes of an image file are all there, and how large its picture is: read from its structure, nothing decoded.

JPEG: markers from SOI to EOI (ITU-T T.81, annex B); PNG: chunks up to IEND (W3C PNG, section 5);
WebP: the length of its RIFF container (RFC 9649).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

MAX_PARTS = 100_000  # segments or chunks; a file with more is made to be slow

_PNG = b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")  # not stuffed bytes, not restarts
_EOI, _SOS = 0xD9, 0xDA
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn


@dataclass(frozen=True)
class Structure:
    """What an image file says of itself. width, height: pixels as stored; 0 where it does not say."""

    kind: str
    width: int
    height: int
    is_whole: bool


def structure_of(data: bytes) -> Structure | None:
    """Structure of a JPEG, PNG or WebP file; None for anything else. A file cut short is not whole."""
    if data[:3] == b"\xff\xd8\xff" or (data and b"\xff\xd8\xff".startswith(data)):
        return _jpeg(data)
    if data[:8] == _PNG or (data and _PNG.startswith(data)):
        return _png(data)
    if data[:4] == b"RIFF" and (data[8:12] == b"WEBP" or (len(data) < 12 and b"WEBP".startswith(data[8:12]))):
        return _webp(data)
    return None


def _jpeg(data: bytes) -> Structure:
    width = height = 0
    position = 2
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, position)
        if found is None:
            break
        marker, position = found[1][0], found.end()
        if marker == _EOI:
            return Structure("JPEG", width, height, width > 0)
        if len(data) < position + 2:
            break
        length = int.from_bytes(data[position : position + 2], "big")
        if marker in _SIZES and len(data) >= position + 7:
            height, width = struct.unpack_from(">HH", data, position + 3)
        position += max(2, length)
    return Structure("JPEG", width, height, False)


def _png(data: bytes) -> Structure:
    width, height = struct.unpack_from(">II", data, 16) if len(data) >= 24 else (0, 0)
    position = 8
    for _ in range(MAX_PARTS):
        if len(data) < position + 12:
            break
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] == b"IEND":
            return Structure("PNG", width, height, len(data) >= position + 12 + length)
        position += 12 + length
    return Structure("PNG", width, height, False)


def _webp(data: bytes) -> Structure:
    is_whole = len(data) >= 20 and len(data) >= 8 + struct.unpack_from("<I", data, 4)[0]
    width = height = 0
    if len(data) >= 30:
        kind = data[12:16]
        if kind == b"VP8X":
            width = 1 + int.from_bytes(data[24:27], "little")
            height = 1 + int.from_bytes(data[27:30], "little")
        elif kind == b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind == b"VP8 ":
            width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    return Structure("WEBP", width, height, is_whole)

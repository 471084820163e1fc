# SPDX-License-Identifier: Apache-2.0
"""Rewrites an ordinary JPEG so that any decoder takes it, without decoding it.

DALI fails a whole batch over one file that it cannot read. So each segment of a file is checked here (ITU-T T.81), and only
what a decoder needs is kept: tables, frame, scans, and the orientation. Whatever is not ordinary (four components, 12 bits,
odd tables or sampling, a missing end) is left to our own decoder, which answers it or says what is wrong.
What is not seen: wrong bits inside a scan. Decoders pass over those with a damaged picture.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_START, _END = b"\xff\xd8", b"\xff\xd9"
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_EXIF = b"\xff\xe1\x00\x22Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01"
_EXIF_END = b"\x00\x00\x00\x00"  # no further directory
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_HUFFMAN, _QUANTISATION, _INTERVAL, _SCAN = 0xC4, 0xDB, 0xDD, 0xDA
_COMMENT, _ADOBE, _FIRST_APPLICATION, _LAST_APPLICATION = 0xFE, 0xEE, 0xE0, 0xEF
_SAMPLINGS = {(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)}
_IDS = {(1, 2, 3), (0, 1, 2)}
_MOST_SEGMENTS = 4096
_COEFFICIENTS, _MOST_SHIFT = 63, 13


class _OddError(Exception):
    """The file is not ordinary."""


@dataclass(frozen=True)
class PlainJpeg:
    """A JPEG of 8 bits in one or three components. width, height: as stored, before it is turned upright."""

    content: bytes
    width: int
    height: int
    orientation: int
    progressive: bool


@dataclass
class _Frame:
    kind: int = 0
    width: int = 0
    height: int = 0
    components: dict[int, int] = field(default_factory=dict)  # quantisation table of each, by its id
    tables: set[tuple[int, int]] = field(default_factory=set)  # Huffman: class and number
    quantisers: set[int] = field(default_factory=set)
    interval: int = 0
    begun: set[int] = field(default_factory=set)  # components whose DC came


def plain_jpeg(data: bytes, orientation: int) -> PlainJpeg | None:
    """The file with nothing but what decoders need, turned as `orientation` (1..8) says; None where it is not ordinary.

    What stands behind the end of the picture is cut away.
    """
    try:
        frame, parts = _walk(data)
    except (_OddError, IndexError, struct.error):
        return None
    turned = [_EXIF, struct.pack(">HH", orientation, 0), _EXIF_END] if orientation != 1 else []
    content = b"".join((_START, _JFIF, *turned, *parts, _END))
    return PlainJpeg(content, frame.width, frame.height, orientation, frame.kind == _PROGRESSIVE)


def has_exif(data: bytes) -> bool:
    """Whether there may be EXIF data before the picture begins."""
    return data.find(b"Exif\0", 0, 1 << 16) >= 0


def _walk(data: bytes) -> tuple[_Frame, list[bytes]]:
    """What the file holds, and its segments that are kept."""
    frame, position = _Frame(), 2
    parts: list[bytes] = []
    _need(data[:2] == _START)
    for _ in range(_MOST_SEGMENTS):
        _need(data[position] == 0xFF)
        marker = data[position + 1]
        if marker == _END[1]:
            _need(frame.begun == set(frame.components) and bool(frame.components))
            return frame, parts
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        body = data[position + 4 : end]
        _need(len(body) == length - 2)
        keep = _segment(frame, marker, body)
        if marker == _SCAN:
            found = _SCAN_END.search(data, end)
            _need(found is not None)
            end = found.start() if found else end
            _need(frame.interval > 0 or _RESTART.search(data, position, end) is None)
        if keep:
            parts.append(data[position:end])
        position = end
    raise _OddError


def _segment(frame: _Frame, marker: int, body: bytes) -> bool:
    """Check one segment and note what it brings; whether it is kept."""
    if marker == _ADOBE and body[:5] == b"Adobe":
        _need(len(body) >= 12 and body[11] == 1)
    if marker == _COMMENT or _FIRST_APPLICATION <= marker <= _LAST_APPLICATION:
        return False
    if marker == _QUANTISATION:
        _quantisers(frame, body)
    elif marker == _HUFFMAN:
        _huffman(frame, body)
    elif marker == _INTERVAL:
        _need(len(body) == 2)
        frame.interval = int.from_bytes(body, "big")
    elif marker in (_BASELINE, _EXTENDED, _PROGRESSIVE):
        _start_of_frame(frame, marker, body)
    elif marker == _SCAN:
        _start_of_scan(frame, body)
    else:
        raise _OddError
    return True


def _quantisers(frame: _Frame, body: bytes) -> None:
    _need(len(body) > 0 and len(body) % 65 == 0)
    for start in range(0, len(body), 65):
        _need(body[start] <= 3 and 0 not in body[start + 1 : start + 65])
        frame.quantisers.add(body[start])


def _huffman(frame: _Frame, body: bytes) -> None:
    position = 0
    _need(len(body) > 0)
    while position < len(body):
        kind, number = body[position] >> 4, body[position] & 15
        counts = body[position + 1 : position + 17]
        symbols = body[position + 17 : position + 17 + sum(counts)]
        _need(kind <= 1 and number <= 3 and len(counts) == 16)
        _need(1 <= len(symbols) == sum(counts) <= 256 and len(set(symbols)) == len(symbols))
        _need(kind == 1 or max(symbols) <= 11)
        room = 1
        for count in counts:  # codes of a length that are left; one, all ones, is never used
            room = 2 * room - count
            _need(room >= 1)
        frame.tables.add((kind, number))
        position += 17 + len(symbols)


def _start_of_frame(frame: _Frame, marker: int, body: bytes) -> None:
    _need(not frame.components)
    precision, height, width, count = struct.unpack_from(">BHHB", body)
    _need(precision == 8 and height >= 1 and width >= 1 and count in (1, 3) and len(body) == 6 + 3 * count)
    rows = [body[6 + 3 * i : 9 + 3 * i] for i in range(count)]
    samplings = [(row[1] >> 4, row[1] & 15) for row in rows]
    if count == 3:
        _need(tuple(row[0] for row in rows) in _IDS)
        _need(samplings[0] in _SAMPLINGS and samplings[1] == samplings[2] == (1, 1))
    else:
        _need(samplings[0] == (1, 1))
    _need(all(row[2] <= 3 for row in rows))
    frame.kind, frame.width, frame.height = marker, width, height
    frame.components = {row[0]: row[2] for row in rows}


def _start_of_scan(frame: _Frame, body: bytes) -> None:
    count = body[0]
    _need(1 <= count <= len(frame.components) and len(body) == 4 + 2 * count)
    ids = [body[1 + 2 * i] for i in range(count)]
    numbers = [(body[2 + 2 * i] >> 4, body[2 + 2 * i] & 15) for i in range(count)]
    _need(len(set(ids)) == count and ids == [one for one in frame.components if one in ids])
    _need(all(frame.components[one] in frame.quantisers for one in ids))
    first, last, high, low = body[-3], body[-2], body[-1] >> 4, body[-1] & 15
    if frame.kind != _PROGRESSIVE:
        _need(count == len(frame.components) and not frame.begun)
        _need((first, last, high, low) == (0, _COEFFICIENTS, 0, 0))
        _need(all({(0, dc), (1, ac)} <= frame.tables for dc, ac in numbers))
        frame.begun.update(ids)
        return
    _need(low <= _MOST_SHIFT and (high == 0 or high == low + 1))
    if first == 0:
        _need(last == 0 and all(high > 0 or (0, dc) in frame.tables for dc, _ in numbers))
        _need(all((one in frame.begun) == (high > 0) for one in ids))
        frame.begun.update(ids)
    else:
        _need(count == 1 and first <= last <= _COEFFICIENTS and ids[0] in frame.begun)
        _need((1, numbers[0][1]) in frame.tables)


def _need(condition: bool) -> None:
    if not condition:
        raise _OddError

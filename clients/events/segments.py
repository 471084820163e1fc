# SPDX-License-Identifier: Apache-2.0
"""Records of the spool's files: length, checksum, sequence number and time before each payload; no I/O.

A record begins with bytes that UTF-8 text never holds, so that after a damaged one the next is found again.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

MAGIC = b"\xf5\xffSL"
MAX_PAYLOAD_BYTES = 1 << 20
_HEADER = struct.Struct(">4sIIQd")
_CHECKED = struct.Struct(">IQd")
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True)
class Record:
    """One record. sequence: rises by one from record to record. unix: wall-clock seconds when it was put.

    end: offset behind it, in the bytes that were parsed.
    """

    sequence: int
    unix: float
    payload: bytes
    end: int


def packed(sequence: int, unix: float, payload: bytes) -> bytes:
    """The bytes of a record."""
    return _HEADER.pack(MAGIC, len(payload), _checksum(sequence, unix, payload), sequence, unix) + payload


def packed_all(first: int, unix: float, payloads: Iterable[bytes]) -> bytes:
    """The bytes of records that follow each other."""
    return b"".join(packed(first + i, unix, payload) for i, payload in enumerate(payloads))


def parsed(data: bytes, *, final: bool) -> tuple[list[Record], int]:
    """(whole records, offset up to which the bytes were used); damaged ones are passed over.

    final: nothing follows these bytes, so that a record that is cut off is damaged; else it is left for the next call.
    """
    found: list[Record] = []
    at = 0
    while True:
        begin = data.find(MAGIC, at)
        if begin < 0:
            return found, len(data) if final else max(at, len(data) - len(MAGIC) + 1)
        record = _record_at(data, begin)
        if isinstance(record, Record):
            found.append(record)
            at = record.end
        elif record and not final:
            return found, begin
        else:
            at = begin + 1


def _record_at(data: bytes, begin: int) -> Record | bool:
    """The record; True where it may only be cut off, False where it is damaged."""
    if begin + HEADER_BYTES > len(data):
        return True
    _, length, checksum, sequence, unix = _HEADER.unpack_from(data, begin)
    if length > MAX_PAYLOAD_BYTES:
        return False
    end = begin + HEADER_BYTES + length
    if end > len(data):
        return True
    payload = data[begin + HEADER_BYTES : end]
    if _checksum(sequence, unix, payload) != checksum:
        return False
    return Record(sequence, unix, payload, end)


def _checksum(sequence: int, unix: float, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), sequence, unix)))

# SPDX-License-Identifier: Apache-2.0
"""Just enough of H.264's byte stream (ITU-T H.264 Annex B, ISO/IEC 14496-15) to pass it through unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

NAL_IDR = 5
NAL_SPS = 7
NAL_PPS = 8
NAL_AUD = 9
_START_CODE = re.compile(rb"\x00\x00\x01")


def nal_units_of_annex_b(data: bytes) -> Iterator[bytes]:
    """NAL units between start codes, without trailing zero bytes."""
    starts = [m.end() for m in _START_CODE.finditer(data)]
    stops = [*(start - 3 for start in starts[1:]), len(data)]
    for start, stop in zip(starts, stops, strict=False):  # no start, no unit
        unit = data[start:stop].rstrip(b"\x00")
        if unit:
            yield unit


def nal_units_of_avcc(data: bytes, length_bytes: int = 4) -> Iterator[bytes]:
    """NAL units behind big-endian lengths; ends at the first length that does not fit."""
    position = 0
    while position + length_bytes <= len(data):
        length = int.from_bytes(data[position : position + length_bytes], "big")
        position += length_bytes
        if not 0 < length <= len(data) - position:
            return
        yield data[position : position + length]
        position += length


@dataclass(frozen=True)
class ParameterSets:
    """One sequence and one picture parameter set, as NAL units."""

    sps: bytes
    pps: bytes

    @property
    def codec(self) -> str:
        """The codec's name as MediaSource wants it (RFC 6381): profile, constraints and level of the SPS."""
        return f"avc1.{self.sps[1:4].hex()}"

    def decoder_configuration(self) -> bytes:
        """AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1) with lengths of four bytes."""
        record = bytes([1, *self.sps[1:4], 0xFF, 0xE1])
        record += len(self.sps).to_bytes(2, "big") + self.sps
        record += b"\x01" + len(self.pps).to_bytes(2, "big") + self.pps
        if self.sps[1] in (100, 110, 122, 144):  # 4:2:0, 8 bits: what the decoder needs is in the SPS as well
            record += b"\xfd\xf8\xf8\x00"
        return record


def is_avcc(extradata: bytes) -> bool:
    """True when the codec header is an AVCDecoderConfigurationRecord (files), False for Annex B (RTSP)."""
    return len(extradata) > 6 and extradata[0] == 1


def length_bytes_of(extradata: bytes) -> int:
    """Size of the lengths in front of NAL units, from the decoder configuration."""
    return (extradata[4] & 3) + 1 if is_avcc(extradata) else 4


def parameter_units(extradata: bytes) -> list[bytes]:
    """SPS and PPS in a codec header of either kind."""
    if not is_avcc(extradata):
        return list(nal_units_of_annex_b(extradata))
    units, position = [], 5
    for mask in (0x1F, 0xFF):
        if position >= len(extradata):
            break
        count = extradata[position] & mask
        position += 1
        for _ in range(count):
            length = int.from_bytes(extradata[position : position + 2], "big")
            unit = extradata[position + 2 : position + 2 + length]
            units += [unit] if unit else []
            position += 2 + length
    return units


class Bits:
    """Reads an RBSP bit by bit (ITU-T H.264, 7.2 and 9.1)."""

    def __init__(self, unit: bytes) -> None:
        rbsp = unit[1:].replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(rbsp, "big")
        self._left = len(rbsp) * 8

    def read(self, count: int) -> int:
        """The next bits as a number. Raises ValueError past the end."""
        if count > self._left:
            raise ValueError("parameter set ends early")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def unsigned(self) -> int:
        """ue(v)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("number too long")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """se(v)."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)


_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


def picture_size(sps: bytes) -> tuple[int, int] | None:
    """Width and height after cropping, from a sequence parameter set (7.3.2.1.1); None if unreadable."""
    try:
        bits = Bits(sps)
        profile = bits.read(8)
        bits.read(16)
        bits.unsigned()
        chroma = _read_chroma(bits) if profile in _HIGH_PROFILES else 1
        bits.unsigned()
        _skip_order_count(bits)
        bits.unsigned()
        bits.read(1)
        columns, rows = bits.unsigned() + 1, bits.unsigned() + 1
        frames_only = bits.read(1)
        if not frames_only:
            bits.read(1)
        bits.read(1)
        left, right, top, bottom = (bits.unsigned() for _ in range(4)) if bits.read(1) else (0, 0, 0, 0)
    except ValueError:
        return None
    unit_x = 2 if chroma in (1, 2) else 1
    unit_y = (2 if chroma == 1 else 1) * (2 - frames_only)
    width = columns * 16 - (left + right) * unit_x
    height = rows * 16 * (2 - frames_only) - (top + bottom) * unit_y
    return (width, height) if 0 < width <= 16384 and 0 < height <= 16384 else None


def _read_chroma(bits: Bits) -> int:
    chroma = bits.unsigned()
    if chroma == 3:
        bits.read(1)
    bits.unsigned()
    bits.unsigned()
    bits.read(1)
    if bits.read(1):
        for index in range(8 if chroma != 3 else 12):
            if bits.read(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_order_count(bits: Bits) -> None:
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()
    elif kind == 1:
        bits.read(1)
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()

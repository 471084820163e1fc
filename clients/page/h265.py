# SPDX-License-Identifier: Apache-2.0
"""Just enough of H.265 (ITU-T H.265 Annex B, ISO/IEC 14496-15) to pass it through unchanged."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.clients.page.h264 import Bits

NAL_VPS, NAL_SPS, NAL_PPS, NAL_AUD = 32, 33, 34, 35
_FIRST_RANDOM_ACCESS, _LAST_RANDOM_ACCESS = 16, 21


def nal_type(unit: bytes) -> int:
    """Type of a NAL unit (7.3.1.2)."""
    return (unit[0] >> 1) & 0x3F


def starts_group(kind: int) -> bool:
    """True for a picture with which decoding can begin."""
    return _FIRST_RANDOM_ACCESS <= kind <= _LAST_RANDOM_ACCESS


def is_hvcc(extradata: bytes) -> bool:
    """True when the codec header is an HEVCDecoderConfigurationRecord (files), False for Annex B (RTSP)."""
    return len(extradata) > 23 and extradata[0] == 1


def length_bytes_of(extradata: bytes) -> int:
    """Size of the lengths in front of NAL units, from the decoder configuration."""
    return (extradata[21] & 3) + 1 if is_hvcc(extradata) else 4


def units_of_hvcc(extradata: bytes) -> list[bytes]:
    """Parameter sets in an HEVCDecoderConfigurationRecord (8.3.3.1); ends where it is cut off."""
    units: list[bytes] = []
    position = 23
    for _ in range(extradata[22]):
        count = int.from_bytes(extradata[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            length = int.from_bytes(extradata[position : position + 2], "big")
            unit = extradata[position + 2 : position + 2 + length]
            if len(unit) < length or not unit:
                return units
            units.append(unit)
            position += 2 + length
    return units


@dataclass(frozen=True)
class SequenceParameters:
    """What a decoder configuration needs of a sequence parameter set.

    profile: general_profile_space … general_level_idc as they stand in the unit, 12 bytes.
    """

    profile: bytes
    chroma: int
    luma_bits: int
    chroma_bits: int
    width: int
    height: int


def read_sps(unit: bytes) -> SequenceParameters | None:
    """The fields of a sequence parameter set (7.3.2.2.1) up to its size and depth; None if unreadable."""
    try:
        bits = Bits(unit[1:])  # the second byte of the header goes with the first
        bits.read(4)
        layers = bits.read(3)
        bits.read(1)
        profile = bytes(bits.read(8) for _ in range(12))
        _skip_sub_layers(bits, layers)
        bits.unsigned()
        chroma = bits.unsigned()
        if chroma == 3:
            bits.read(1)
        width, height = bits.unsigned(), bits.unsigned()
        left, right, top, bottom = (bits.unsigned() for _ in range(4)) if bits.read(1) else (0, 0, 0, 0)
        luma, chroma_bits = bits.unsigned() + 8, bits.unsigned() + 8
    except ValueError:
        return None
    unit_x, unit_y = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1)
    wide, high = width - unit_x * (left + right), height - unit_y * (top + bottom)
    if not (0 < wide < 1 << 16 and 0 < high < 1 << 16 and chroma <= 3 and luma <= 16 and chroma_bits <= 16):
        return None
    return SequenceParameters(profile, chroma, luma, chroma_bits, wide, high)


def _skip_sub_layers(bits: Bits, layers: int) -> None:
    """Profile and level of the lower layers (7.3.3)."""
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.read(2 * (8 - layers))
    for profile, level in present:
        bits.read(88 * profile + 8 * level)


@dataclass(frozen=True)
class ParameterSets:
    """One video, sequence and picture parameter set, as NAL units."""

    vps: bytes
    sps: bytes
    pps: bytes
    fields: SequenceParameters

    @property
    def codec(self) -> str:
        """The codec's name as MediaSource wants it (ISO/IEC 14496-15, E.3)."""
        head = self.fields.profile
        space = ("", "A", "B", "C")[head[0] >> 6]
        flags = int(f"{int.from_bytes(head[1:5], 'big'):032b}"[::-1], 2)
        tier = "H" if head[0] & 0x20 else "L"
        constraints = "".join(f".{byte:X}" for byte in head[5:11].rstrip(b"\x00"))
        return f"hvc1.{space}{head[0] & 0x1F}.{flags:X}.{tier}{head[11]}{constraints}"

    def decoder_configuration(self) -> bytes:
        """HEVCDecoderConfigurationRecord (8.3.3.1) with lengths of four bytes."""
        fields = self.fields
        record = b"\x01" + fields.profile + b"\xf0\x00\xfc" + bytes([0xFC | fields.chroma])
        record += bytes([0xF8 | (fields.luma_bits - 8), 0xF8 | (fields.chroma_bits - 8), 0, 0, 0x0F, 3])
        for kind, unit in ((NAL_VPS, self.vps), (NAL_SPS, self.sps), (NAL_PPS, self.pps)):
            record += bytes([0x80 | kind, 0, 1]) + len(unit).to_bytes(2, "big") + unit
        return record

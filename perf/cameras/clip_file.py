# SPDX-License-Identifier: Apache-2.0
"""A clip on disk: H.264 access units ready to be sent.

Standard library only, because the GStreamer server runs this under the system's Python.
Layout: MAGIC, length of the header (4 bytes, big endian), header (JSON), access units one after the other.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"SLCLIP1\n"
START_CODE = b"\x00\x00\x00\x01"
NAL_IDR, NAL_SEI, NAL_SPS, NAL_PPS = 5, 6, 7, 8
_LIMIT_HEADER_BYTES = 16 << 20


@dataclass(frozen=True)
class Clip:
    """Encoded pictures in display order; the first is a keyframe and each group of pictures is closed.

    access_units: Annex B bytes of one picture each, with SPS and PPS in front of each keyframe.
    keyframes: indices of the access units that hold an IDR picture.
    """

    width: int
    height: int
    frames_per_second: int
    access_units: tuple[bytes, ...]
    keyframes: tuple[int, ...]
    sps: bytes
    pps: bytes

    def __len__(self) -> int:
        return len(self.access_units)

    @property
    def profile_level_id(self) -> str:
        """Profile, constraints and level as SDP writes them (RFC 6184, 8.1)."""
        return self.sps[1:4].hex()


def split_nals(access_unit: bytes) -> list[bytes]:
    """NAL units of an Annex B byte stream, without start codes (ITU-T H.264, annex B)."""
    parts = access_unit.split(b"\x00\x00\x01")[1:]
    # A NAL unit never ends with a zero byte: those that do stand there begin the next start code.
    return [nal for nal in (part.rstrip(b"\x00") for part in parts) if nal]


def nal_type(nal: bytes) -> int:
    """nal_unit_type of a NAL unit."""
    return nal[0] & 0x1F


def write_clip(clip: Clip, path: Path) -> None:
    """Write the clip through a partial file, so that a reader sees all of it or nothing."""
    header = {
        "width": clip.width,
        "height": clip.height,
        "frames_per_second": clip.frames_per_second,
        "sizes": [len(unit) for unit in clip.access_units],
        "keyframes": list(clip.keyframes),
        "sps": base64.b64encode(clip.sps).decode(),
        "pps": base64.b64encode(clip.pps).decode(),
    }
    text = json.dumps(header).encode()
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(MAGIC + struct.pack(">I", len(text)) + text)
            file.writelines(clip.access_units)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_clip(path: Path) -> Clip:
    """Read a clip; ValueError where the file is no clip or was cut off."""
    data = Path(path).read_bytes()
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + 4:
        raise ValueError(f"{path} is not a Sightline clip")
    start = len(MAGIC) + 4
    (length,) = struct.unpack_from(">I", data, len(MAGIC))
    if length > min(_LIMIT_HEADER_BYTES, len(data) - start):
        raise ValueError(f"{path} is damaged: its header is cut off")
    header = json.loads(data[start : start + length])
    position = start + length
    units = []
    for size in header["sizes"]:
        units.append(data[position : position + size])
        position += size
    if position != len(data) or not units:
        raise ValueError(f"{path} is damaged: {len(data)} bytes, {position} expected")
    return Clip(
        header["width"],
        header["height"],
        header["frames_per_second"],
        tuple(units),
        tuple(header["keyframes"]),
        base64.b64decode(header["sps"]),
        base64.b64decode(header["pps"]),
    )

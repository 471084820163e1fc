# SPDX-License-Identifier: Apache-2.0
"""Fragmented MP4 (ISO/IEC 14496-12) from compressed H.264 or H.265, one fragment a picture, nothing re-encoded.

Written here and not by libavformat, because its muxer cannot be asked for a new header when the camera
changes its parameter sets, and because the times must be exactly those of the results.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sightline.clients.page.units import UNITS, Configuration, UnitKind
from sightline.clients.streams.results import Packet, VideoFormat

TIMESCALE = 90_000
_SYNC_SAMPLE = 0x02000000
_OTHER_SAMPLE = 0x01010000
_MAX_DURATION_SECONDS = 10.0


def box(kind: bytes, *parts: bytes) -> bytes:
    """One MP4 box."""
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """One MP4 box with version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def initialization_segment(configuration: Configuration) -> bytes:
    """ftyp and moov of one video track without samples."""
    width, height = configuration.size
    entry = box(
        configuration.entry,
        struct.pack(">6xH16xHHIII H32xHh", 1, width, height, 0x480000, 0x480000, 0, 1, 24, -1),
        box(configuration.box, configuration.record),
    )
    tables = b"".join(full_box(kind, 0, 0, struct.pack(">I", 0)) for kind in (b"stts", b"stsc", b"stco"))
    stbl = box(
        b"stbl",
        full_box(b"stsd", 0, 0, struct.pack(">I", 1), entry),
        tables,
        full_box(b"stsz", 0, 0, struct.pack(">II", 0, 0)),
    )
    dinf = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    minf = box(b"minf", full_box(b"vmhd", 0, 1, bytes(8)), dinf, stbl)
    mdhd = full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, TIMESCALE, 0, 0x55C4, 0))
    hdlr = full_box(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, b"vide"), b"Video\x00")
    tkhd = full_box(
        b"tkhd",
        0,
        3,
        struct.pack(">IIII4x8xHHHH", 0, 0, 1, 0, 0, 0, 0, 0),
        _MATRIX,
        struct.pack(">II", width << 16, height << 16),
    )
    mvhd = full_box(
        b"mvhd",
        0,
        0,
        struct.pack(">IIIIIH10x", 0, 0, 1000, 0, 0x10000, 0x100),
        _MATRIX,
        bytes(24),
        struct.pack(">I", 2),
    )
    mvex = box(b"mvex", full_box(b"trex", 0, 0, struct.pack(">IIIII", 1, 1, 0, 0, 0)))
    moov = box(b"moov", mvhd, box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, minf)), mvex)
    return box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso5mp41") + moov


def media_segment(
    sequence: int, sample: bytes, dts: int, duration: int, offset: int, *, keyframe: bool
) -> bytes:
    """moof and mdat of one picture. Times are in TIMESCALE; `offset` is presentation minus decoding time."""
    flags = _SYNC_SAMPLE if keyframe else _OTHER_SAMPLE
    mfhd = full_box(b"mfhd", 0, 0, struct.pack(">I", sequence & 0xFFFFFFFF))
    tfhd = full_box(b"tfhd", 0, 0x020000, struct.pack(">I", 1))
    tfdt = full_box(b"tfdt", 1, 0, struct.pack(">Q", dts))

    def moof(data_offset: int) -> bytes:
        trun = full_box(
            b"trun", 1, 0x000F01, struct.pack(">IiIIIi", 1, data_offset, duration, len(sample), flags, offset)
        )
        return box(b"moof", mfhd, box(b"traf", tfhd, tfdt, trun))

    return moof(len(moof(0)) + 8) + box(b"mdat", sample)


@dataclass(frozen=True)
class Header:
    """What a browser needs before the first fragment; it changes with the camera's format."""

    codec: str
    segment: bytes


@dataclass(frozen=True)
class Fragment:
    """One picture as fragmented MP4."""

    data: bytes
    keyframe: bool
    header: Header


class FragmentMuxer:
    """Turns one connection's packets into fragments. video.codec must be one of UNITS.

    A picture is held until the next one tells how long it is shown: with exact durations the browser's buffer
    has no holes, whatever the camera's rate does. That costs one picture of delay.
    """

    def __init__(self, video: VideoFormat) -> None:
        self._units = UNITS[video.codec](video.extradata, (video.width, video.height))
        self._held: tuple[Packet, bytes, bool] | None = None
        self._sequence = 0
        self.header: Header | None = None

    def add(self, packet: Packet) -> Fragment | None:
        """The fragment of the picture before this one; None while there is none, or no keyframe was seen."""
        sample, keyframe = [], False
        for unit in self._units.split(packet.data):
            kind = self._units.kind(unit)
            if kind is UnitKind.PARAMETERS:
                self._units.keep(unit)
            elif kind is not UnitKind.DELIMITER:
                keyframe = keyframe or kind is UnitKind.KEY
                sample.append(len(unit).to_bytes(4, "big") + unit)
        if not sample or (self._held is None and not keyframe):
            return None
        fragment = self._fragment(*self._held, packet.dts_seconds) if self._held else None
        if keyframe:
            self._renew_header()
        self._held = (packet, b"".join(sample), keyframe)
        return fragment

    def _renew_header(self) -> None:
        configuration = self._units.configuration()
        if configuration is None:
            return
        segment = initialization_segment(configuration)
        if self.header is None or self.header.segment != segment:
            self.header = Header(configuration.codec, segment)

    def _fragment(
        self, packet: Packet, sample: bytes, keyframe: bool, next_dts_seconds: float
    ) -> Fragment | None:
        header = self.header
        if header is None:
            return None
        dts, next_dts = round(packet.dts_seconds * TIMESCALE), round(next_dts_seconds * TIMESCALE)
        duration = max(1, min(next_dts - dts, round(_MAX_DURATION_SECONDS * TIMESCALE)))
        offset = round(packet.pts_seconds * TIMESCALE) - dts
        self._sequence += 1
        return Fragment(
            media_segment(self._sequence, sample, dts, duration, offset, keyframe=keyframe), keyframe, header
        )

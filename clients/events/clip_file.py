# SPDX-License-Identifier: Apache-2.0
"""MP4 files from compressed packets, not encoded anew, and from JPEG pictures, which are.

A raw stream of the packets is opened in memory only to learn what the muxer must know (size, profile, parameter sets);
the packets then go into the file with their own times.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from sightline.clients.streams.results import Packet, VideoFormat
from sightline.errors import StreamError

TIMESCALE = 90_000
_RAW_FORMAT = {"h264": "h264", "hevc": "hevc", "mjpeg": "mjpeg"}
_START = b"\x00\x00\x00\x01"
_H264_SETS = (7, 8)
_HEVC_SETS = (32, 33, 34)
_HEADER_BYTES = 4096  # parameter sets stand at the beginning of an access unit
_PROBED_PACKETS = 3
_OPTIONS = {"movflags": "faststart"}


def write_clip(path: Path, video: VideoFormat, packets: Sequence[Packet]) -> None:
    """Write packets, the first of which is a key frame, in decoding order. Raises OSError, StreamError, libav's errors."""
    import av

    units = _raw_units(video, packets)
    header = _raw_header(video)
    probe = io.BytesIO(header + b"".join(units[:_PROBED_PACKETS]))
    start = packets[0].pts_seconds  # players begin with it; what is decoded before has negative times
    with (
        av.open(probe, format=_RAW_FORMAT[video.codec]) as raw,
        av.open(str(path), "w", format="mp4", options=_OPTIONS) as container,
    ):
        stream = container.add_stream_from_template(raw.streams.video[0])
        if video.codec == "hevc":
            stream.codec_context.codec_tag = "hvc1"  # which players of Apple want
        base, last = Fraction(1, TIMESCALE), None
        for packet, unit in _shown(packets, units):
            muxed: Any = av.Packet(unit)
            dts = round((packet.dts_seconds - start) * TIMESCALE)
            last = dts if last is None else max(last + 1, dts)
            muxed.dts = last
            muxed.pts = max(last, round((packet.pts_seconds - start) * TIMESCALE))
            muxed.time_base, muxed.stream = base, stream
            muxed.is_keyframe = packet.keyframe
            container.mux(muxed)
    _sync(path)


def _shown(packets: Sequence[Packet], units: Sequence[bytes]) -> list[tuple[Packet, bytes]]:
    """Without the pictures that are shown before the first key frame: they need some that are not there."""
    first = packets[0].pts_seconds
    return [(p, u) for p, u in zip(packets, units, strict=True) if p.pts_seconds >= first]


def write_pictures(path: Path, packets: Sequence[Packet]) -> None:
    """Encode JPEG pictures to H.264. Raises OSError, libav's errors."""
    import av
    import numpy as np
    from PIL import Image

    start, last = packets[0].pts_seconds, -1
    with av.open(str(path), "w", format="mp4", options=_OPTIONS) as container:
        stream: Any = None
        for packet in packets:
            with Image.open(io.BytesIO(packet.data)) as image:
                size = image.width // 2 * 2, image.height // 2 * 2  # H.264 in 4:2:0 wants even ones
                rgb = np.asarray(image.crop((0, 0, *size)).convert("RGB"))
            picture = av.VideoFrame.from_ndarray(rgb, "rgb24")
            if stream is None:
                stream = container.add_stream("libx264", rate=5)
                stream.width, stream.height = size
                stream.pix_fmt = "yuv420p"
                stream.options = {"preset": "veryfast", "crf": "23", "threads": "1"}
                stream.codec_context.time_base = Fraction(1, 1000)
            if size != (stream.width, stream.height):
                break
            last = max(last + 1, round((packet.pts_seconds - start) * 1000))
            picture.pts, picture.time_base = last, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    _sync(path)


def parameter_sets(codec: str, unit: bytes) -> bytes:
    """The parameter sets at the beginning of an access unit with start codes; empty where there are none."""
    if codec not in ("h264", "hevc"):
        return b""
    found = []
    for nal in unit[:_HEADER_BYTES].split(b"\x00\x00\x01")[1:]:
        if not nal:
            continue
        kind = nal[0] & 31 if codec == "h264" else nal[0] >> 1 & 63
        if kind in (_H264_SETS if codec == "h264" else _HEVC_SETS):
            found.append(nal.rstrip(b"\x00"))
    return _START.join([b"", *found]) if found else b""


def _raw_units(video: VideoFormat, packets: Sequence[Packet]) -> list[bytes]:
    """The packets with start codes, as the raw formats have them; files have lengths instead."""
    size = _length_size(video)
    return [_with_start_codes(packet.data, size) if size else packet.data for packet in packets]


def _length_size(video: VideoFormat) -> int:
    """Bytes of the lengths before the NAL units; 0 where there are start codes."""
    extra = video.extradata
    if video.codec == "h264" and len(extra) > 6 and extra[0] == 1:
        return (extra[4] & 3) + 1
    if video.codec == "hevc" and len(extra) > 22 and extra[0] == 1:
        return (extra[21] & 3) + 1
    return 0


def _with_start_codes(data: bytes, size: int) -> bytes:
    out, at = [], 0
    while at + size <= len(data):
        end = at + size + int.from_bytes(data[at : at + size], "big")
        out += [_START, data[at + size : end]]
        at = end
    return b"".join(out)


def _raw_header(video: VideoFormat) -> bytes:
    """The connection's parameter sets with start codes; empty for MJPEG and where only the packets have them."""
    if video.codec == "mjpeg" or not video.extradata:
        return b""
    if not _length_size(video):
        return video.extradata
    sets = _avc_sets(video.extradata) if video.codec == "h264" else _hevc_sets(video.extradata)
    return b"".join(_START + nal for nal in sets)


def _avc_sets(extra: bytes) -> list[bytes]:
    """SPS and PPS of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
    sets, at = [], 6
    for count in (extra[5] & 31, -1):
        if count < 0:
            if at >= len(extra):
                break
            count, at = extra[at], at + 1
        for _ in range(count):
            length = int.from_bytes(extra[at : at + 2], "big")
            sets.append(extra[at + 2 : at + 2 + length])
            at += 2 + length
    if not all(sets):
        raise StreamError("the video's parameter sets are cut off")
    return sets


def _hevc_sets(extra: bytes) -> list[bytes]:
    """VPS, SPS and PPS of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1)."""
    sets, at = [], 23
    for _ in range(extra[22]):
        count, at = int.from_bytes(extra[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            length = int.from_bytes(extra[at : at + 2], "big")
            sets.append(extra[at + 2 : at + 2 + length])
            at += 2 + length
    if not all(sets):
        raise StreamError("the video's parameter sets are cut off")
    return sets


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

# SPDX-License-Identifier: Apache-2.0
"""H.264 of drawn pictures: one encoder for one size of picture."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from sightline.clients.page.h264 import nal_units_of_annex_b
from sightline.clients.rtsp.rtp import CLOCK_HERTZ
from sightline.errors import MissingDependencyError, OutputError

if TYPE_CHECKING:
    import numpy as np
    from av.video.codeccontext import VideoCodecContext
    from numpy.typing import NDArray

KEYFRAME_SECONDS = 2.0
_SPS, _PPS = 7, 8
_BT709, _LIMITED = 1, 1
_TICKS = Fraction(1, CLOCK_HERTZ)
_OPTIONS = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "profile": "baseline",
    "crf": "23",
    "g": "1000000",  # key frames are asked for, by time
    "forced-idr": "1",
    "sc_threshold": "0",
}


@dataclass(frozen=True)
class Encoded:
    """One picture. nals: its NAL units without start codes. seconds: when it was decoded, monotonic."""

    nals: tuple[bytes, ...]
    keyframe: bool
    seconds: float

    @property
    def size_bytes(self) -> int:
        """Of all NAL units."""
        return sum(map(len, self.nals))


class Encoder:
    """Encodes pictures of one size, even width and height, each as it comes; none waits for the next.

    The first picture is a key frame, and one every KEYFRAME_SECONDS. Raises MissingDependencyError and OutputError.
    """

    def __init__(self, width: int, height: int, frames_per_second: float) -> None:
        self.size = width, height
        self._context = _context(width, height, frames_per_second)
        self._last_ticks = -1
        self._last_keyframe = -KEYFRAME_SECONDS

    def encode(self, picture: NDArray[np.uint8], seconds: float, *, keyframe: bool = False) -> Encoded | None:
        """RGB of shape (height, width, 3), scaled where it has another size; `seconds` rises from one to the next.

        None where the encoder gave nothing.
        """
        from av import VideoFrame
        from av.video.frame import PictureType

        width, height = self.size
        frame = VideoFrame.from_ndarray(picture, "rgb24").reformat(
            width, height, "yuv420p", dst_colorspace="ITU709", src_color_range="JPEG", dst_color_range="MPEG"
        )
        keyframe = keyframe or seconds - self._last_keyframe >= KEYFRAME_SECONDS
        self._last_ticks = max(round(seconds * CLOCK_HERTZ), self._last_ticks + 1)
        frame.pts, frame.time_base = self._last_ticks, _TICKS
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        packets = self._context.encode(frame)
        if not packets:
            return None
        is_keyframe = any(packet.is_keyframe for packet in packets)
        if is_keyframe:
            self._last_keyframe = seconds
        nals = tuple(nal for packet in packets for nal in nal_units_of_annex_b(bytes(packet)))
        return Encoded(nals, is_keyframe, seconds)


@lru_cache(64)
def parameter_sets(width: int, height: int, frames_per_second: float) -> tuple[bytes, bytes]:
    """SPS and PPS of such an encoder, NAL units without start codes. Raises MissingDependencyError and OutputError."""
    context = _context(width, height, frames_per_second, header=True)
    units = {nal[0] & 0x1F: nal for nal in nal_units_of_annex_b(bytes(context.extradata or b""))}
    return units[_SPS], units[_PPS]


def _context(width: int, height: int, frames_per_second: float, header: bool = False) -> VideoCodecContext:
    try:
        import av
        from av.codec.context import Flags
    except ImportError as error:
        raise MissingDependencyError(
            f"the annotated stream needs {error.name}; pip install 'sightline[watch]'"
        ) from None
    try:
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = _TICKS
        context.framerate = Fraction(frames_per_second).limit_denominator(1000)
        context.thread_count = 1
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        context.options = dict(_OPTIONS)
        if header:
            context.flags |= Flags.global_header
        context.open()
    except (av.FFmpegError, ValueError) as error:
        raise OutputError(
            f"pictures of {width}x{height} cannot be encoded as H.264 ({error}); PyAV needs libx264"
        ) from None
    return context

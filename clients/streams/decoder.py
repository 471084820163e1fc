# SPDX-License-Identifier: Apache-2.0
"""Decodes one connection's pictures, and only those that may be used; counts each access unit that went in.

What is left out is never needed by another picture: single pictures that no other refers to (H.264 nal_ref_idc = 0,
ITU-T H.264 7.4.1; H.265's sub-layer non-reference pictures, ITU-T H.265 table 7-1), or, where the rate is lower than the
key frames', all but key frames. Key frames alone are decoded each for itself, so that going back to all pictures, at a key
frame, meets no missing reference.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sightline.clients.streams.counters import CameraCounters, DropReason
from sightline.clients.streams.schedule import Picker

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MOST_INSIDE = 24
"""Pictures that a decoder may hold back (H.264 and H.265: at most 16); what is missing beyond is counted as damaged."""
_LOOK_BYTES = 4096
_START = b"\x00\x00\x01"
_INTRA_CODECS = ("mjpeg", "rawvideo", "png", "prores", "dnxhd", "jpeg2000")


class Decoder:
    """One connection's decoder. Only the camera's thread touches it.

    decode: 'auto', 'all' or 'keyframes'; may be changed at any time, as the picker's rate may.
    """

    def __init__(
        self,
        stream: VideoStream,
        picker: Picker,
        counters: CameraCounters,
        *,
        decode: str = "auto",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.decode = decode
        self._picker = picker
        self._counters = counters
        self._now = now
        self._context = stream.codec_context
        self._context.thread_type = "SLICE"  # frame threads would hold pictures back
        self._context.thread_count = 1
        self._codec = self._context.name
        self._is_intra = self._codec in _INTRA_CODECS
        self._prefix_bytes = _prefix_bytes(self._codec, bytes(self._context.extradata or b""))
        self._keyframe_times: deque[float] = deque(maxlen=4)
        self._only_keyframes = False
        self._inside = 0
        self.awaits_keyframe_since: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height that the newest key frame spoke of."""
        return self._context.width, self._context.height

    def feeds(self, packet: Packet[VideoStream], pts_seconds: float) -> bool:
        """Whether the access unit has to be decoded; one that need not is counted as skipped."""
        if self.awaits_keyframe_since is not None and not packet.is_keyframe:
            self.leave_out(packet, pts_seconds)
            return False
        self.awaits_keyframe_since = None
        if packet.is_keyframe:
            self._note_keyframe(pts_seconds)
        is_fed = self._needs(packet, pts_seconds)
        if not is_fed:
            self._picker.skipped(pts_seconds)
            self._counters.dropped(DropReason.SKIPPED)
        return is_fed

    def leave_out(self, packet: Packet[VideoStream], pts_seconds: float) -> None:
        """The access unit is not decoded though others may need it; decoding goes on at the next key frame."""
        if self.awaits_keyframe_since is None:
            self.awaits_keyframe_since = self._now()
            self._context.flush_buffers()
            self.end(DropReason.BEHIND)
        elif packet.is_keyframe:
            self.awaits_keyframe_since = self._now()
        if packet.is_keyframe:
            self._note_keyframe(pts_seconds)
        self._picker.skipped(pts_seconds)
        self._counters.dropped(DropReason.BEHIND)

    def _needs(self, packet: Packet[VideoStream], pts_seconds: float) -> bool:
        if self._only_keyframes and not packet.is_keyframe:
            return False
        if self.decode == "all" or not self._picker.may_skip(pts_seconds):
            return True
        alone = self._only_keyframes or self._is_intra
        return not (alone or is_disposable(self._codec, packet, self._prefix_bytes))

    def pictures(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """What comes out after this access unit; an empty one drains the decoder at a file's end."""
        import av.error

        self._inside += 1 if packet.size else 0
        try:
            pictures = packet.decode()
            if self._only_keyframes and packet.size:
                pictures = [*pictures, *self._context.decode(None)]
                self._context.flush_buffers()
        except av.error.InvalidDataError:  # the stall check ends a stream that has only those
            pictures = []
            self._lost(1)
        self._came_out(len(pictures))
        if self._only_keyframes or not packet.size:
            self._lost(self._inside)
        elif self._inside > MOST_INSIDE:
            self._lost(self._inside - MOST_INSIDE)
        return pictures  # type: ignore[return-value]

    def restart(self) -> None:
        """The file begins again."""
        self._context.flush_buffers()
        self._keyframe_times.clear()

    def end(self, reason: DropReason) -> None:
        """Nothing more comes of what is still inside, which is counted."""
        self._counters.dropped(reason, self._inside)
        self._inside = 0

    def _came_out(self, count: int) -> None:
        extra = max(0, count - self._inside)  # packets with two pictures in them
        for _ in range(extra):
            self._counters.received(self._now())
        self._inside -= count - extra

    def _lost(self, count: int) -> None:
        count = min(count, self._inside)
        self._counters.dropped(DropReason.DAMAGED, count)
        self._inside -= count

    def _note_keyframe(self, pts_seconds: float) -> None:
        if self._keyframe_times and pts_seconds <= self._keyframe_times[-1]:
            self._keyframe_times.clear()
        self._keyframe_times.append(pts_seconds)
        only = self._wants_keyframes_only()
        if only and not self._only_keyframes:
            self._context.flush_buffers()
            self._lost(self._inside)
        self._only_keyframes = only

    def _wants_keyframes_only(self) -> bool:
        if self.decode == "keyframes":
            return True
        rate, times = self._picker.rate, self._keyframe_times
        if self.decode == "all" or rate is None or self._is_intra or len(times) < 2:
            return False
        longest = max(later - earlier for earlier, later in zip(times, list(times)[1:], strict=False))
        return longest <= 1.0 / rate + 1e-3


def _prefix_bytes(codec: str, extradata: bytes) -> int:
    """Bytes of the length before each NAL unit, of MP4's form; 0 where start codes are between them."""
    if not extradata.startswith(b"\x01"):
        return 0
    if codec == "h264" and len(extradata) > 4:
        return (extradata[4] & 3) + 1
    if codec == "hevc" and len(extradata) > 21:
        return (extradata[21] & 3) + 1
    return 0


def is_disposable(codec: str, packet: Any, prefix_bytes: int) -> bool:
    """Whether no other picture refers to this one, by the header of its first slice; False where that is not seen.

    packet: a PyAV Packet or bytes. prefix_bytes: of the length before each NAL unit; 0: start codes.
    """
    if codec not in ("h264", "hevc"):
        return False
    data = bytes(memoryview(packet)[:_LOOK_BYTES])
    at = _next_nal(data, 0, prefix_bytes)
    while 0 <= at < len(data):
        head = data[at]
        if codec == "h264":
            kind = head & 31
            if 1 <= kind <= 5:
                return kind == 1 and not head >> 5 & 3
        else:
            kind = head >> 1 & 63
            if kind < 32:
                return kind < 16 and kind % 2 == 0
        at = _next_nal(data, at, prefix_bytes)
    return False


def _next_nal(data: bytes, at: int, prefix_bytes: int) -> int:
    """Position of the first NAL unit (at 0), or of the one after that at `at`; -1 where there is none."""
    if not prefix_bytes:
        found = data.find(_START, at)
        return found + 3 if found >= 0 else -1
    if at == 0:
        return prefix_bytes
    length = int.from_bytes(data[at - prefix_bytes : at], "big")
    return at + length + prefix_bytes

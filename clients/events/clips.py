# SPDX-License-Identifier: Apache-2.0
"""Video of the moments before and after an event, as the camera sent it.

Of each camera the last seconds of compressed packets are kept, from a key frame on. A clip takes them and what comes
until its end, and is written on a thread of its own without being encoded anew. Cameras whose packets are withheld for
privacy (codec "private") get clips from the pictures of their results, which have been cleaned.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.clients.events.clip_file import parameter_sets, write_clip, write_pictures
from sightline.clients.events.pictures import copied, jpeg_from_frame
from sightline.clients.events.workers import Worker
from sightline.clients.streams.results import Packet, StreamFrame, VideoFormat

if TYPE_CHECKING:
    from sightline.clients.events.media import MediaStore

PRIVATE = "private"
CODECS = ("h264", "hevc", "mjpeg")
PICTURES_PER_SECOND = 5.0
PICTURE_QUALITY = 85
MAX_RING_BYTES = 12 << 20  # of one camera
MAX_CLIP_BYTES = 96 << 20
SAME_CLIP_SECONDS = 1.0  # events of a camera within this time share a clip
LATE_SECONDS = 10.0  # a clip ends so long after its time at the latest, when nothing comes any more
CLIPS_WAITING = 32
PICTURES_WAITING = 16
CLOSE_SECONDS = 10.0


@dataclass(eq=False)
class Clip:
    """One that is being recorded. Times are seconds within the epoch, but `deadline`, which is monotonic."""

    name: str
    event_seconds: float
    end_seconds: float
    deadline: float
    packets: list[Packet]
    bytes: int = 0


@dataclass(eq=False)
class Camera:
    """What is kept of one camera."""

    name: str
    epoch: int = -1
    video: VideoFormat | None = None
    connected: bool = False
    groups: deque[list[Packet]] = field(default_factory=deque)  # each from a key frame on
    group_bytes: deque[int] = field(default_factory=deque)
    sets: bytes = b""
    newest_seconds: float = 0.0
    clips: list[Clip] = field(default_factory=list)
    next_picture: float = 0.0

    def clear(self) -> None:
        """Forget the packets."""
        self.groups.clear()
        self.group_bytes.clear()
        self.newest_seconds = self.next_picture = 0.0

    def add(self, packet: Packet, keep_seconds: float) -> None:
        """Keep a packet; whole groups that are not needed any more go."""
        if packet.keyframe:
            self.groups.append([])
            self.group_bytes.append(0)
        if not self.groups:
            return  # until the first key frame nothing can be shown
        self.groups[-1].append(packet)
        self.group_bytes[-1] += len(packet.data)
        self.newest_seconds = max(self.newest_seconds, packet.pts_seconds)
        start = self.newest_seconds - keep_seconds
        while (len(self.groups) > 1 and self.groups[1][0].pts_seconds <= start) or (
            self.groups and sum(self.group_bytes) > MAX_RING_BYTES
        ):
            self.groups.popleft()
            self.group_bytes.popleft()

    def since(self, seconds: float) -> list[Packet]:
        """The packets from the last key frame before this time on, or from the oldest one."""
        starts = [i for i, group in enumerate(self.groups) if group[0].pts_seconds <= seconds]
        first = starts[-1] if starts else 0
        return [packet for group in list(self.groups)[first:] for packet in group]


class Clips:
    """Records clips. The on_…() methods return at once."""

    def __init__(self, media: MediaStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._media, self._clock = media, clock
        self._pre, self._post = media.settings.pre_seconds, media.settings.post_seconds
        # An event comes later than its packets: by the time the network takes, and its clip must reach back from it.
        self._keep_seconds = self._pre + 3.0
        self._lock = threading.Lock()
        self._cameras: dict[int, Camera] = {}
        self._writer = Worker("media-clips", CLIPS_WAITING, idle=self._sweep)
        self._pictures = Worker("media-pictures", PICTURES_WAITING)

    def on_added(self, camera: int, name: str) -> None:
        """A camera is watched from now on."""
        with self._lock:
            self._cameras[camera] = Camera(name)

    def on_removed(self, camera: int) -> None:
        """Its clips end here."""
        with self._lock:
            gone = self._cameras.pop(camera, None)
            if gone is not None:
                self._end_all(gone)

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """A connection was made: clips of the former one end."""
        with self._lock:
            kept = self._cameras.setdefault(camera, Camera(str(camera)))
            self._end_all(kept)
            kept.clear()
            kept.epoch, kept.video, kept.connected, kept.sets = epoch, video, True, b""

    def on_disconnected(self, camera: int) -> None:
        """Its clips end here; what is kept may still be asked for."""
        with self._lock:
            kept = self._cameras.get(camera)
            if kept is not None:
                kept.connected = False
                self._end_all(kept)

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """A compressed picture arrived."""
        with self._lock:
            kept = self._cameras.get(camera)
            if kept is None or kept.video is None or kept.epoch != epoch or kept.video.codec not in CODECS:
                return
            if packet.keyframe:
                sets = parameter_sets(kept.video.codec, packet.data)
                if (
                    sets and kept.sets and sets != kept.sets
                ):  # other pictures than before, within a connection
                    self._end_all(kept)
                    kept.clear()
                kept.sets = sets or kept.sets
            self._take(kept, packet)

    def on_result(self, source: StreamFrame) -> None:
        """A picture that may be shown: of private cameras a few a second are kept."""
        with self._lock:
            kept = self._cameras.get(source.camera)
            if kept is None or kept.video is None or kept.video.codec != PRIVATE:
                return
            if kept.epoch != source.epoch or source.pts_seconds < kept.next_picture:
                return
            kept.next_picture = source.pts_seconds + 1.0 / PICTURES_PER_SECOND
        frame = copied(source.frame)

        def work() -> None:
            seconds = source.pts_seconds
            packet = Packet(jpeg_from_frame(frame, PICTURE_QUALITY), True, seconds, seconds)
            with self._lock:
                if self._cameras.get(source.camera) is kept and kept.epoch == source.epoch:
                    self._take(kept, packet)

        self._pictures.offer(work)

    def request(self, camera: str, source: StreamFrame | None, name: str) -> tuple[str | None, str]:
        """Record a clip around a frame, or around this moment; (its path, "") or (None, why there is none).

        The path is that of another clip where one of the same moment is being recorded.
        """
        with self._lock:
            kept = self._camera(camera, source)
            if kept is None or kept.video is None:
                return self._none("no video of this camera")
            if kept.video.codec not in (*CODECS, PRIVATE):
                return self._none(f"{kept.video.codec} video is not kept")
            if source is not None and source.epoch != kept.epoch:
                return self._none("the connection of that moment has ended")
            moment = kept.newest_seconds if source is None else source.pts_seconds
            for clip in kept.clips:
                if 0 <= moment - clip.event_seconds <= SAME_CLIP_SECONDS:
                    clip.end_seconds = max(clip.end_seconds, moment + self._post)
                    return clip.name, ""
            packets = kept.since(moment - self._pre)
            if not packets and kept.video.codec != PRIVATE:
                return self._none("no key frame yet")
            late = self._clock() + self._post + LATE_SECONDS
            clip = Clip(name, moment, moment + self._post, late, packets, sum(len(p.data) for p in packets))
            if not kept.connected or kept.newest_seconds >= clip.end_seconds:
                return (name, "") if self._write(kept, clip) else self._none("too many clips wait")
            kept.clips.append(clip)
            return name, ""

    def close(self) -> None:
        """Write what is being recorded, as far as it is."""
        with self._lock:
            for kept in self._cameras.values():
                self._end_all(kept)
            self._cameras.clear()
        self._pictures.close(1.0)
        self._writer.close(CLOSE_SECONDS)

    # ---- inside, with the lock

    def _camera(self, name: str, source: StreamFrame | None) -> Camera | None:
        if source is not None:
            return self._cameras.get(source.camera)
        return next((kept for kept in self._cameras.values() if kept.name == name), None)

    def _none(self, reason: str) -> tuple[None, str]:
        self._media.refused()
        return None, reason

    def _take(self, kept: Camera, packet: Packet) -> None:
        kept.add(packet, self._keep_seconds)
        for clip in list(kept.clips):
            if clip.packets or packet.keyframe:
                clip.packets.append(packet)
                clip.bytes += len(packet.data)
            if packet.dts_seconds >= clip.end_seconds or clip.bytes > MAX_CLIP_BYTES:
                kept.clips.remove(clip)
                self._write(kept, clip)

    def _end_all(self, kept: Camera) -> None:
        clips, kept.clips = kept.clips, []
        for clip in clips:
            self._write(kept, clip)

    def _sweep(self) -> None:
        """End the clips of cameras that send nothing any more."""
        now = self._clock()
        with self._lock:
            for kept in self._cameras.values():
                for clip in [clip for clip in kept.clips if clip.deadline <= now]:
                    kept.clips.remove(clip)
                    self._write(kept, clip)

    def _write(self, kept: Camera, clip: Clip) -> bool:
        video = kept.video
        packets = [packet for packet in clip.packets if packet.dts_seconds <= clip.end_seconds]
        if video is None or not packets:
            return self._media.refused()

        def write(path: Path) -> None:
            if video.codec == PRIVATE:
                write_pictures(path, packets)
            else:
                write_clip(path, video, packets)

        return (
            self._writer.offer(lambda: _none_of(self._media.keep(clip.name, write))) or self._media.refused()
        )


def _none_of(_: bool) -> None:
    """A result that nobody asks for: the media store has counted it."""

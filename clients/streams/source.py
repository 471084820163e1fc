# SPDX-License-Identifier: Apache-2.0
"""One camera on one thread: connect, read, decode, hand on, and connect again when it breaks.

Only this thread touches the container: closing one during a read of another thread crashes libavformat, so
stopping is a flag that is looked at between packets, and reads have a short timeout.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.clients.events.event import Event
from sightline.clients.streams.backlog import Backlog
from sightline.clients.streams.counters import DropReason
from sightline.clients.streams.decoder import Decoder
from sightline.clients.streams.device import grabbed, opened_device
from sightline.clients.streams.fan import VideoFan
from sightline.clients.streams.folder import images_of, picture_of
from sightline.clients.streams.lane import Lane
from sightline.clients.streams.life import CameraLife, Trouble
from sightline.clients.streams.names import FOLDER_RATE, Source
from sightline.clients.streams.opening import (
    NO_DATA,
    OPEN_TIMEOUT_SECONDS,
    open_container,
    reason_of,
    require_av,
    stream_error,
)
from sightline.clients.streams.pictures import NewFrame, frame_from_picture, plain_frame
from sightline.clients.streams.reconnect import KEYFRAME_SECONDS, HostPacer, LinkState, Reconnect
from sightline.clients.streams.results import Packet, StreamFrame, VideoFormat
from sightline.clients.streams.schedule import Picker
from sightline.clients.streams.timeline import Timeline, TimestampJump
from sightline.errors import StreamAuthError, StreamError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["OPEN_TIMEOUT_SECONDS", "CameraReader", "require_av"]

BEAT_SECONDS = 1.0
"""A reader that is well shows it at least so often, but for a blocking call of FFmpeg's."""


class CameraReader(threading.Thread):
    """Reads one source until stopped; its state may be looked at from any thread.

    lane: takes the frames that are to be sent. emit: takes the events of the camera's life, None included.
    new_frame: makes the frames into which pictures are unpacked, for instance slots of a client's shared memory.
    before: the reader in whose place this one comes.
    """

    def __init__(
        self,
        number: int,
        source: Source,
        lane: Lane,
        *,
        videos: VideoFan | None = None,
        pacer: HostPacer | None = None,
        new_frame: NewFrame = plain_frame,
        every: int = 1,
        emit: Callable[[Event | None], None] = lambda event: None,
        before: CameraReader | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name=f"camera-{source.name}", daemon=True)
        self.source = source
        self.link: Reconnect = Reconnect(connections=before.link.connections if before else 0)
        self.life: CameraLife = before.life if before else CameraLife(source.name)
        self.last_error: StreamError | None = None
        self.last_reason: str | None = None
        self.beat = now()
        self.epoch: int = before.epoch if before else 0
        self._number = number
        self._lane = lane
        self._counters = lane.counters
        self._videos = videos or VideoFan((), lambda name, error: None)
        self._pacer = pacer or HostPacer()
        self._new_frame = new_frame
        self._picker = Picker(source.rate, every)
        self._emit = emit
        self._now = now
        self._wake = threading.Event()
        self._live_epoch = 0
        self._is_stopping = False
        self._reconnects = False
        self._format = VideoFormat("", 0, 0, 0.0, b"")
        self._backlog = Backlog()

    @property
    def behind_seconds(self) -> float:
        """How much longer than at best the newest picture waited to be read: its age when it is decoded."""
        return self._backlog.seconds

    @property
    def video(self) -> dict[str, Any] | None:
        """What the newest connection delivers, as plain values; None before the first."""
        video = self._format
        if not video.codec:
            return None
        return {
            "codec": video.codec,
            "width": video.width,
            "height": video.height,
            "frames_per_second": round(video.frames_per_second, 2),
        }

    def stop(self) -> None:
        """Ask the thread to end; it does within OPEN_TIMEOUT_SECONDS."""
        self._is_stopping = True
        self._wake.set()

    def abandon(self) -> None:
        """Stop a thread that hangs: should its call ever come back, nobody hears of it."""
        self._videos = VideoFan((), lambda name, error: None)
        self.stop()

    def change(self, source: Source) -> None:
        """Read it this way from now on; connects anew only where that is needed."""
        reconnects = source.connects_differently(self.source)
        self.source = source
        self._picker.schedule.change(source.rate)
        if reconnects:
            self._reconnects = True
            self._wake.set()

    def run(self) -> None:
        """Thread body."""
        first = True
        while not self._is_stopping:
            self._wait_for_turn(first)
            first = False
            if self._is_stopping:
                break
            self.link.connecting(self._now())
            try:
                self._session()
            except Exception as error:  # a camera must never take its thread down
                if not self._is_over:
                    self._broke(error)
            finally:
                self._videos.on_disconnected(self._number)
            while self.link.state is LinkState.ENDED and not self._is_over:
                self._pause(BEAT_SECONDS)
        self.link.stop()

    @property
    def _is_over(self) -> bool:
        """The session is to be ended: the camera is stopped, or to be connected differently."""
        return self._is_stopping or self._reconnects

    def _pause(self, seconds: float) -> None:
        """Wait, showing now and then that the thread is well, until somebody wants something of it."""
        until = self._now() + seconds
        self.beat = self._now()
        while not self._is_over and (left := until - self._now()) > 0:
            self._wake.wait(min(left, BEAT_SECONDS))
            self.beat = self._now()

    def _broke(self, error: Exception) -> None:
        was_live = self.link.state is LinkState.LIVE
        self.last_error = stream_error(self.source, error)
        self.last_reason = reason_of(error)[1]
        is_auth = isinstance(self.last_error, StreamAuthError)
        self.link.failed(self._now(), auth=is_auth)
        trouble: Trouble = "auth_refused" if is_auth else "lost"
        if was_live and self.last_reason == NO_DATA:
            trouble = "stalled"
        self._live_epoch = 0
        self._emit(self.life.broken(trouble, self.last_reason, time.time()))

    def _wait_for_turn(self, first: bool) -> None:
        if self._reconnects:  # from here on nothing is left of how it was read before
            self._reconnects = False
            self._wake.clear()
            self.link = Reconnect(connections=self.link.connections)
            first = True
        now = self._now()
        earliest = max(now, self.link.retry_at)
        if self.source.is_network:
            earliest = self._pacer.reserve(self.source.host, earliest, first=first)
            self.link.postponed(earliest)
        self._pause(earliest - now)

    def _session(self) -> None:
        if self.source.kind == "folder":
            self._play_folder(self.source)
            return
        if self.source.kind == "v4l2":
            self._play_device(self.source)
            return
        source = self.source
        container = open_container(source)
        try:
            if not container.streams.video:
                raise StreamError("sends no video")
            self._play_container(source, container, container.streams.video[0])
        finally:
            container.close()

    def _play_container(self, source: Source, container: InputContainer, stream: VideoStream) -> None:
        decoder = Decoder(stream, self._picker, self._counters, decode=source.decode, now=self._now)
        ends = not source.is_live or (source.kind in ("http", "https") and bool(container.duration))
        try:
            while True:
                self._play(container, stream, decoder, ends=ends)
                if self._is_over:
                    return
                if not ends:
                    raise EOFError
                if not source.loop:
                    self.link.ended()
                    return
                container.seek(0)
                decoder.restart()
        finally:
            decoder.end(DropReason.STOPPED if self._is_over else DropReason.DAMAGED)

    def _play(self, container: InputContainer, stream: VideoStream, decoder: Decoder, *, ends: bool) -> None:
        started = self._now()
        timeline, number, is_live = self._new_epoch(stream), 0, self.source.is_live
        has_keyframe, paced, newest_only = (
            False,
            ends and self.source.paced,
            not ends and not self._lane.lossless,
        )
        asked = started
        for packet in container.demux(stream):
            self.beat = self._now()
            if self._is_over:
                return
            if not packet.size:
                number = self._hand_on_all(decoder.pictures(packet), timeline, number)
                continue
            self._counters.received(self.beat)
            try:
                pts, dts = timeline.packet(packet.pts, packet.dts)
            except TimestampJump:
                timeline, number = self._new_epoch(stream), 0
                started = self._now()
                pts, dts = timeline.packet(packet.pts, packet.dts)
            if paced:
                self._pause(started + dts - self._now())
            if newest_only:
                self._backlog.packet(asked, self.beat, dts)
            pictures = self._pictures(packet, pts, decoder)
            if packet.is_keyframe and decoder.size != (self._format.width, self._format.height):
                timeline, number = self._new_epoch(stream), 0
                started = self._now()
                pts, dts = timeline.packet(packet.pts, packet.dts)
            self._hand_packet_on(packet, pts, dts)
            number = self._hand_on_all(pictures, timeline, number)
            has_keyframe |= packet.is_keyframe
            if not has_keyframe:
                self.link.awaits_keyframe(self._now())
            if is_live and self.link.stalled(self._now()):  # data comes, but no picture
                raise TimeoutError
            asked = self._now()

    def _pictures(self, packet: Any, pts: float, decoder: Decoder) -> list[VideoFrame]:
        """What is decoded of it; nothing where it is not needed, or newer ones wait."""
        decoder.decode = self.source.decode
        if self._backlog.leaves_out:
            decoder.leave_out(packet, pts)
        elif decoder.feeds(packet, pts):
            return decoder.pictures(packet)
        now, since = self._now(), decoder.awaits_keyframe_since
        if since is not None and now - since > KEYFRAME_SECONDS:
            raise StreamError(
                f"sent no key frame for {KEYFRAME_SECONDS:.0f} s, at which it could be followed again"
            )
        self.link.data(now)
        return []

    def _hand_packet_on(self, packet: Any, pts: float, dts: float) -> None:
        if self._videos:
            compressed = Packet(bytes(packet), bool(packet.is_keyframe), pts, dts)
            self._videos.on_packet(self._number, self.epoch, compressed)

    def _new_epoch(self, stream: VideoStream) -> Timeline:
        self._backlog = Backlog()
        context = stream.codec_context
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        extradata = context.extradata
        self._begin(
            VideoFormat(
                context.name, context.width, context.height, rate, bytes(extradata) if extradata else b""
            )
        )
        return Timeline(stream.time_base or context.time_base, rate)  # type: ignore[arg-type]

    def _begin(self, video: VideoFormat) -> None:
        self.epoch = max(time.time_ns() // 1_000_000, self.epoch + 1)
        self._format = video
        self._picker.restart()
        self._videos.on_connected(self._number, self.epoch, video)

    def _hand_on_all(self, pictures: Sequence[VideoFrame], timeline: Timeline, number: int) -> int:
        for position, picture in enumerate(pictures):
            try:
                self._hand_on(picture, timeline.frame(picture.pts), number)
            except Exception:
                self._counters.dropped(DropReason.DAMAGED, len(pictures) - position - 1)
                raise
            number += 1
        return number

    def _hand_on(self, picture: Any, pts_seconds: float, number: int) -> None:
        now = self._now()
        if self._is_stopping:
            self._counters.dropped(DropReason.STOPPED)
            return
        if picture.is_corrupt:  # no sign of life either
            self._counters.dropped(DropReason.DAMAGED)
            return
        self.link.frame(now)
        self.last_error = None
        if self._live_epoch != self.epoch:
            self._live_epoch = self.epoch
            self._emit(self.life.live(self.epoch, time.time()))
        refusal = self._picker.refusal(pts_seconds)
        if refusal is not None:
            self._counters.dropped(refusal)
            return
        if self._lane.lossless:
            self._lane.wait_for_room(self._is_waiting_over)
            now = self._now()
        try:
            unpacked = frame_from_picture(picture, self._new_frame)
        except Exception:  # too large, or of a format that cannot be read
            self._counters.dropped(DropReason.DAMAGED)
            raise
        name, epoch = self.source.name, self.epoch
        frame = StreamFrame(self._number, name, epoch, number, pts_seconds, now, time.time(), unpacked)
        self._videos.on_frame(frame)
        self._lane.admit(frame)

    def _is_waiting_over(self) -> bool:
        self.beat = self._now()
        return self._is_over

    def _play_device(self, source: Source) -> None:
        with opened_device(source.device) as capture:
            started, number = self._now(), 0
            width, height = int(capture.get(3)), int(capture.get(4))  # CAP_PROP_FRAME_WIDTH, _HEIGHT
            self._begin(VideoFormat("raw", width, height, 0.0, b""))
            while not self._is_over:
                picture = grabbed(capture)
                self.beat = self._now()
                self._counters.received(self.beat)
                pts = self.beat - started
                if self._picker.may_skip(pts):
                    self._picker.skipped(pts)
                    self._counters.dropped(DropReason.SKIPPED)
                    self.link.data(self.beat)
                else:
                    self._hand_on(self._retrieved(picture), pts, number)
                number += 1

    def _retrieved(self, picture: Callable[[], Any]) -> Any:
        try:
            return picture()
        except Exception:  # the device broke between announcing the picture and giving it
            self._counters.dropped(DropReason.DAMAGED)
            raise

    def _play_folder(self, source: Source) -> None:
        """The images of a folder as the pictures of a camera."""
        while not self._is_over:
            period = 1.0 / (self.source.rate or FOLDER_RATE)
            images, started = images_of(source.url), self._now()
            if not images:
                raise StreamError("has no image in it (JPEG, PNG or WebP)")
            self._begin(VideoFormat("images", 0, 0, 1.0 / period, b""))
            for number, path in enumerate(images):
                if source.paced:
                    self._pause(started + number * period - self._now())
                if self._is_over:
                    return
                self._hand_image_on(path, number, number * period)
            if not source.loop:
                self.link.ended()
                return

    def _hand_image_on(self, path: Path, number: int, pts_seconds: float) -> None:
        self.beat = self._now()
        self._counters.received(self.beat)
        picture = picture_of(path)
        if picture is None:
            self._counters.dropped(DropReason.DAMAGED)
        else:
            self._hand_on(picture, pts_seconds, number)

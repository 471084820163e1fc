# SPDX-License-Identifier: Apache-2.0
"""One camera on one thread: connect, read, decode, hand on, and connect again when it breaks.

Only this thread touches the container: closing one during a read of another thread crashes libavformat, so
stopping is a flag that is looked at between packets, and reads have a short timeout.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sightline.clients.streams.names import Source
from sightline.clients.streams.pictures import NewFrame, frame_from_picture, plain_frame
from sightline.clients.streams.reconnect import HostPacer, LinkState, Reconnect
from sightline.clients.streams.results import Packet, StreamFrame, VideoFormat, VideoSink
from sightline.clients.streams.timeline import Timeline, TimestampJump
from sightline.errors import MissingDependencyError, StreamAuthError, StreamError
from sightline.redact import redact

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

OPEN_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 2.0
RTSP_SCHEMES = ("rtsp", "rtsps")
# A playlist may name other files and hosts; these keep FFmpeg at what the person named.
_RTSP_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto"
_HTTP_PROTOCOLS = "http,https,httpproxy,tcp,tls,crypto"
_FILE_FORMATS = "mov,matroska,webm,avi,flv,asf,ogg,mpeg,mpegts,mpegvideo,h264,hevc,mjpeg,ivf,av1,obu,gif"


def require_av() -> None:
    """Raises MissingDependencyError where PyAV is not installed; to be called before a thread needs it."""
    try:
        import av.error  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"cameras and video files need {error.name or 'av'}; pip install 'sightline[watch]'"
        ) from None


def open_address(source: Source) -> str:
    """What FFmpeg opens; the prefix keeps it from reading a file's name with ':' in it as a protocol."""
    return source.url if source.is_network else f"file:{source.url}"


def open_options(source: Source, transport: str) -> dict[str, str]:
    """FFmpeg options for a quick first picture; not `fflags=nobuffer`, which loses the first keyframe."""
    if not source.is_network:
        return {"protocol_whitelist": "file", "format_whitelist": _FILE_FORMATS}
    options = {"analyzeduration": "0", "probesize": "32768"}
    if source.url.partition("://")[0].lower() in RTSP_SCHEMES:
        return options | {"rtsp_transport": transport, "protocol_whitelist": _RTSP_PROTOCOLS}
    return options | {"protocol_whitelist": _HTTP_PROTOCOLS}


def reason_of(error: Exception) -> tuple[type[StreamError], str]:
    """Kind and plain words of a foreign error; PyAV's own texts hold the URL with its password."""
    import av.error

    if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        return StreamAuthError, "refuses the user name or password; correct them in its URL"
    if isinstance(error, av.error.HTTPNotFoundError):
        return StreamError, "has no stream of that path; correct the part after the host"
    if isinstance(error, ConnectionRefusedError):
        return StreamError, "cannot be reached: nobody listens at its host and port"
    if isinstance(error, (TimeoutError, av.error.ExitError)):
        return StreamError, "gave no data in time"
    if isinstance(error, EOFError):
        return StreamError, "ended the stream"
    if isinstance(error, StreamError):
        return type(error), str(error)
    return StreamError, redact(str(getattr(error, "strerror", None) or type(error).__name__))


def stream_error(source: Source, error: Exception) -> StreamError:
    """Our error for a foreign one; its text names the camera and never holds its credentials."""
    kind, reason = reason_of(error)
    return kind(f"camera {source.name!r} ({source.shown}) {reason}")


class CameraReader(threading.Thread):
    """Reads one source until stopped; its state may be looked at from any thread.

    new_frame: makes the frames into which pictures are unpacked, for instance slots of a client's shared memory.
    """

    def __init__(
        self,
        index: int,
        source: Source,
        on_frame: Callable[[StreamFrame], None],
        *,
        videos: Sequence[VideoSink] = (),
        transport: str = "tcp",
        pacer: HostPacer | None = None,
        new_frame: NewFrame = plain_frame,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name=f"camera-{source.name}", daemon=True)
        self.source = source
        self.link = Reconnect()
        self.last_error: StreamError | None = None
        self.last_reason: str | None = None
        self._index = index
        self._on_frame = on_frame
        self._videos = tuple(videos)
        self._transport = transport
        self._pacer = pacer or HostPacer()
        self._new_frame = new_frame
        self._now = now
        self._stopping = threading.Event()
        self._epoch = 0

    def stop(self) -> None:
        """Ask the thread to end; it does within OPEN_TIMEOUT_SECONDS."""
        self._stopping.set()

    def run(self) -> None:
        """Thread body."""
        first = True
        while not self._stopping.is_set():
            self._wait_for_turn(first)
            first = False
            if self._stopping.is_set():
                break
            self.link.connecting(self._now())
            try:
                self._session()
            except Exception as error:  # a camera must never take its thread down
                self._broke(error)
            finally:
                for video in self._videos:
                    video.on_disconnected(self._index)
            if self.link.state is LinkState.ENDED:
                return
        self.link.stop()

    def _broke(self, error: Exception) -> None:
        self.last_error = stream_error(self.source, error)
        self.last_reason = reason_of(error)[1]
        self.link.failed(self._now(), auth=isinstance(self.last_error, StreamAuthError))

    def _wait_for_turn(self, first: bool) -> None:
        now = self._now()
        earliest = max(now, self.link.retry_at)
        if self.source.is_network:
            earliest = self._pacer.reserve(self.source.host, earliest, first=first)
            self.link.postponed(earliest)
        self._stopping.wait(max(0.0, earliest - now))

    def _session(self) -> None:
        import av

        network = self.source.is_network
        container = av.open(
            open_address(self.source),
            options=open_options(self.source, self._transport),
            timeout=(OPEN_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS) if network else None,
        )
        try:
            if not container.streams.video:
                raise StreamError("sends no video")
            stream = container.streams.video[0]
            stream.codec_context.thread_type = "SLICE"  # frame threads would hold pictures back
            stream.codec_context.thread_count = 1
            while True:
                self._play(container, stream)
                if self._stopping.is_set():
                    return
                if network:
                    raise EOFError
                if not self.source.loop:
                    self.link.ended()
                    return
                container.seek(0)
                stream.codec_context.flush_buffers()
        finally:
            container.close()

    def _play(self, container: InputContainer, stream: VideoStream) -> None:
        started = self._now()
        timeline, number = self._new_epoch(stream), 0
        for packet in container.demux(stream):
            if self._stopping.is_set():
                return
            if packet.size:
                try:
                    pts, dts = timeline.packet(packet.pts, packet.dts)
                except TimestampJump:
                    timeline, number = self._new_epoch(stream), 0
                    started = self._now()
                    pts, dts = timeline.packet(packet.pts, packet.dts)
                if not self.source.is_network:
                    self._stopping.wait(max(0.0, started + dts - self._now()))
                compressed = Packet(bytes(packet), bool(packet.is_keyframe), pts, dts)
                for video in self._videos:
                    video.on_packet(self._index, self._epoch, compressed)
            number = self._decode(packet, timeline, number)
            if self.source.is_network and self.link.stalled(self._now()):
                raise TimeoutError

    def _new_epoch(self, stream: VideoStream) -> Timeline:
        self._epoch = max(time.time_ns() // 1_000_000, self._epoch + 1)
        context = stream.codec_context
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        extradata = context.extradata
        video = VideoFormat(
            context.name, context.width, context.height, rate, bytes(extradata) if extradata else b""
        )
        for sink in self._videos:
            sink.on_connected(self._index, self._epoch, video)
        return Timeline(stream.time_base or context.time_base, rate)  # type: ignore[arg-type]

    def _decode(self, packet: Any, timeline: Timeline, number: int) -> int:
        import av.error

        try:
            pictures = packet.decode()
        except av.error.InvalidDataError:
            return number  # a damaged access unit; the stall check ends a stream that has only those
        for picture in pictures:
            now = self._now()
            if not picture.is_corrupt:  # damaged ones are no sign of life
                self.link.frame(now)
                self.last_error = None
            self._hand_on(picture, timeline.frame(picture.pts), number, now)
            number += 1
        return number

    def _hand_on(self, picture: Any, pts_seconds: float, number: int, now: float) -> None:
        frame = StreamFrame(
            self._index,
            self.source.name,
            self._epoch,
            number,
            pts_seconds,
            now,
            time.time(),
            frame_from_picture(picture, self._new_frame),
            picture.is_corrupt,
        )
        for video in self._videos:
            video.on_frame(frame)
        self._on_frame(frame)

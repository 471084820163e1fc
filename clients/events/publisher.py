# SPDX-License-Identifier: Apache-2.0
"""From the stream engine to the outbox: gives events their pictures and clips, and keeps them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sightline.clients.events.clips import Clips
from sightline.clients.events.event import Event
from sightline.clients.events.media import MediaStore
from sightline.clients.events.outbox import Outbox
from sightline.clients.events.store_reader import unix_of
from sightline.clients.streams.results import Packet, StreamFrame, StreamResult, VideoFormat
from sightline.errors import OutputError

KEEP = "keep"


class Publisher:
    """A StreamSink and a VideoSink. write() returns when the result's events are on the disk.

    A rule writes what it wants into data["keep"], of "snapshot" and "clip"; it is replaced by data["snapshot"] and
    data["clip"], paths below the media folder. What is not made stands in data["not_kept"], with the reason.
    Pictures are those of results, which privacy has cleaned; they have no boxes drawn in.
    An event that cannot be kept is counted and told once; the streams go on.
    show: gets each event as it is kept, with the paths, for people to see at once.
    """

    def __init__(
        self,
        outbox: Outbox,
        media: MediaStore | None = None,
        *,
        notice: Callable[[str], None] = lambda text: None,
        show: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._show = show
        self._outbox, self._media, self._notice = outbox, media, notice
        self._clips = Clips(media) if media is not None else None
        self._lock = threading.Lock()
        self._put = self._lost = 0
        self._broken = False
        self._last_error: str | None = None

    def write(self, result: StreamResult) -> None:
        """Keep the events of a result. Never raises for a full disk: that is counted."""
        if self._clips is not None:
            self._clips.on_result(result.source)
        if result.events:
            shared: dict[str, str] = {}  # one picture for all events of a frame
            self._keep([self._with_media(event, result.source, shared) for event in result.events])

    def emit(self, event: Event) -> None:
        """Keep an event without a picture: of a camera's life, or of time passing. A clip is of this moment."""
        self._keep([self._with_media(event, None)])

    def state(self) -> dict[str, Any]:
        """put, lost, last_error; "media": the media folder's figures."""
        with self._lock:
            figures = {"put": self._put, "lost": self._lost, "last_error": self._last_error}
        media = self._media.state() if self._media is not None else None
        return {**figures, "media": media}

    def close(self) -> None:
        """Finish the clips that are being recorded; outbox and media are closed by who made them."""
        if self._clips is not None:
            self._clips.close()

    # ---- video, on the cameras' threads

    def on_added(self, camera: int, name: str) -> None:
        """A camera is watched from now on."""
        if self._clips is not None:
            self._clips.on_added(camera, name)

    def on_removed(self, camera: int) -> None:
        """A camera is not watched any more."""
        if self._clips is not None:
            self._clips.on_removed(camera)

    def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
        """A connection was made; what was recorded of the former one ends."""
        if self._clips is not None:
            self._clips.on_connected(camera, epoch, video)

    def on_packet(self, camera: int, epoch: int, packet: Packet) -> None:
        """A compressed picture arrived."""
        if self._clips is not None:
            self._clips.on_packet(camera, epoch, packet)

    def on_frame(self, frame: StreamFrame) -> None:
        """Nothing: pictures are taken from results only."""

    def on_disconnected(self, camera: int) -> None:
        """The connection ended."""
        if self._clips is not None:
            self._clips.on_disconnected(camera)

    # ---- inside

    def _with_media(
        self, event: Event, source: StreamFrame | None, shared: dict[str, str] | None = None
    ) -> Event:
        wishes = event.data.get(KEEP)
        if wishes is None:
            return event
        data: dict[str, Any] = {name: value for name, value in event.data.items() if name != KEEP}
        missing: dict[str, str] = {}
        for wish in wishes if isinstance(wishes, (list, tuple)) else ():
            name, reason = self._kept(wish, event, source, {} if shared is None else shared)
            if name is not None:
                data[wish] = name
            else:
                missing[str(wish)] = reason
        if missing:
            data["not_kept"] = missing
        return replace(event, data=data)

    def _kept(
        self, wish: Any, event: Event, source: StreamFrame | None, shared: dict[str, str]
    ) -> tuple[str | None, str]:
        """(path, "") or (None, why there is none)."""
        if self._media is None or self._clips is None:
            return None, "no media folder"
        unix = unix_of(event.time, 0.0) if source is None else source.captured_unix
        camera = event.camera or (source.name if source is not None else "")
        if wish == "snapshot":
            if source is None:
                return None, "no picture belongs to it"
            name = shared.get(wish) or self._media.name(camera, event.id, unix, ".jpg")
            if wish not in shared and not self._media.snapshot(source.frame, name):
                return None, "too many pictures wait"
            shared[wish] = name
            return name, ""
        if wish == "clip":
            return self._clips.request(camera, source, self._media.name(camera, event.id, unix, ".mp4"))
        return None, "unknown"

    def _keep(self, events: list[Event]) -> None:
        try:
            kept, reason = self._outbox.put(*events), "the spool is full"
        except OutputError as error:
            kept, reason = False, str(error)
        for event in events:
            self._show(event)
        with self._lock:
            self._put += len(events) if kept else 0
            self._lost += 0 if kept else len(events)
            self._last_error = self._last_error if kept else reason
            was_broken, self._broken = self._broken, not kept
        if was_broken and kept:
            self._notice("events are kept again")
        elif not kept and not was_broken:
            self._notice(f"events are being lost: {reason}")

# SPDX-License-Identifier: Apache-2.0
"""What the page's tests feed it with: cameras out of a clip, a watch that is a dictionary, a small HTTP client."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from sightline.clients.analytics.privacy_video import clean_frame
from sightline.clients.analytics.settings import Analytics
from sightline.clients.events.event import Event, utc_text
from sightline.clients.page.control import EventQuery
from sightline.clients.page.recent import RecentEvents
from sightline.clients.page.server import PageServer
from sightline.clients.streams.pictures import frame_from_picture
from sightline.clients.streams.results import ObjectInfo, Packet, StreamFrame, StreamResult, VideoFormat
from sightline.clients.streams.timeline import Timeline
from sightline.errors import StreamError
from sightline.frame import Frame
from sightline.results import Detections
from tests.streams_parts import find_object

FIGURES = {
    "received": 100, "answered": 98, "dropped": {"superseded": 2}, "dropped_total": 2, "pending": 0, "adds_up": True,
    "received_per_second": 5.0, "answered_per_second": 5.0, "age_ms": 80.0, "p50_ms": 21.0, "p99_ms": 44.0,
}  # fmt: skip


def wait_for(check: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first true value of `check`; fails after a generous time."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds:.0f} s"
        time.sleep(0.05)
    return value


def event_of(number: int, camera: str = "gate", rule: str = "fence", **data: Any) -> Event:
    """The event that object `number` crossed a line."""
    return Event(
        id=f"{camera}:1:{number}:{rule}",
        type="sightline.line.crossed",
        source=f"/cameras/{camera}",
        time=utc_text(time.time()),
        data={
            "camera": camera,
            "rule": rule,
            "kind": "line",
            "label": "person",
            "score": 0.9,
            "track_id": number,
        }
        | data,
    )


class DictControl:
    """A watch that keeps cameras and events in memory and files in a folder."""

    def __init__(self, names: Sequence[str], media: Path | None = None) -> None:
        self.settings: dict[str, dict[str, Any]] = {
            name: {"url": f"rtsp://***@10.0.0.7/{name}", "rules": []} for name in names
        }
        self.recent = RecentEvents()
        self.states: dict[str, str] = {}
        self.ids = {name: number for number, name in enumerate(names)}
        self.changes: list[tuple[str, str]] = []
        self._media = media

    def state(self) -> dict[str, Any]:
        """All cameras live."""
        return {
            "model": "street_detect",
            "server": "up",
            "uptime_seconds": 12.5,
            "cameras": [
                {
                    "id": self.ids.get(name, 0), "name": name, "state": self.states.get(name, "live"), "objects": {},
                    "retry_in_seconds": None, "reason": None, "connections": 1, **FIGURES,
                }
                for name in self.settings
            ],
            "sinks": [{"name": "jsonl", "kind": "jsonl", "state": "up", "delivered": 7, "waiting": 0, "failed": 0}],
            "spool": {"bytes": 4096, "max_bytes": 1 << 30, "waiting": 0, "dropped": 0},
            "transport": {"shared_memory": 98, "grpc": 2},
        }  # fmt: skip

    def cameras(self) -> dict[str, dict[str, Any]]:
        """As they stand in the file."""
        return dict(self.settings)

    def put_camera(self, name: str, document: Mapping[str, Any]) -> None:
        """Keep it."""
        if not document.get("url") and name not in self.settings:
            raise StreamError(f"camera {name!r} has no url; give one")
        self.settings[name] = {"rules": [], **self.settings.get(name, {}), **document}
        self.changes.append(("camera", name))

    def remove_camera(self, name: str) -> None:
        """Forget it."""
        del self.settings[name]
        self.changes.append(("removed", name))

    def put_rules(self, name: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """Keep them."""
        Analytics.model_validate({"rules": rules})
        self.settings[name]["rules"] = [dict(rule) for rule in rules]
        self.changes.append(("rules", name))

    def events(self, query: EventQuery) -> list[dict[str, Any]]:
        """Out of memory."""
        return self.recent.query(query)

    def counts(self, name: str, hours: float) -> list[dict[str, Any]]:
        """Out of memory."""
        return self.recent.counts(name, hours)

    def media(self, path: str) -> Path | None:
        """A file of the folder."""
        file = self._media / path if self._media else None
        return file if file is not None and file.is_file() else None


class Feeder(threading.Thread):
    """Plays a clip's pictures into a page as the engine does, again and again, at their own pace."""

    def __init__(
        self,
        page: PageServer,
        camera: int,
        name: str,
        clip: Path,
        *,
        find: Callable[[Frame], Detections] = find_object,
        describe: Callable[[Detections, int], tuple[ObjectInfo, ...]] = lambda found, number: (),
        codec: str | None = None,
    ) -> None:
        super().__init__(name=f"feed-{name}", daemon=True)
        self._page, self._camera, self._camera_name, self._clip = page, camera, name, clip
        self._find, self._describe, self._codec = find, describe, codec
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self.join(10)

    def run(self) -> None:
        """Play."""
        self._page.on_added(self._camera, self._camera_name)
        while not self._stopping.is_set():
            self._play(round(time.time() * 1000))
            self._page.on_disconnected(self._camera)

    def _play(self, epoch: int) -> None:
        begun, number = time.monotonic(), 0
        with av.open(str(self._clip)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 15)
            timeline = Timeline(stream.time_base, rate)  # type: ignore[arg-type]
            context = stream.codec_context
            video = VideoFormat(
                self._codec or context.name,
                stream.width,
                stream.height,
                rate,
                bytes(context.extradata or b""),
            )
            self._page.on_connected(self._camera, epoch, video)
            for packet in container.demux(stream):
                if packet.size:
                    times = timeline.packet(packet.pts, packet.dts)
                    if self._stopping.wait(max(0.0, begun + times[1] - time.monotonic())):
                        return
                    if self._codec != "private":
                        self._page.on_packet(
                            self._camera, epoch, Packet(bytes(packet), packet.is_keyframe, *times)
                        )
                for picture in packet.decode():
                    self._show(picture, epoch, number, timeline.frame(picture.pts))
                    number += 1

    def _show(self, picture: Any, epoch: int, number: int, pts: float) -> None:
        frame = frame_from_picture(picture)
        now = time.monotonic()
        shown = StreamFrame(self._camera, self._camera_name, epoch, number, pts, now, time.time(), frame)
        shown = clean_frame(shown) if self._codec == "private" else shown
        self._page.on_frame(shown)
        found = self._find(frame)
        self._page.write(StreamResult(shown, found, 0.02, self._describe(found, number)))


class Browserless:
    """HTTP as programs speak it, with the cookie of a login."""

    def __init__(self, page: PageServer) -> None:
        self.port, self.cookie = page.port, ""

    def ask(
        self, path: str, method: str = "GET", document: Any = None, raw: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = raw if raw is not None else (None if document is None else json.dumps(document).encode())
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent |= {"Cookie": self.cookie} if self.cookie else {}
        connection.request(method, path, body, sent | {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        data = answer.read()
        found = {k.lower(): v for k, v in answer.getheaders()}
        connection.close()
        return answer.status, found, data

    def json(self, path: str, method: str = "GET", document: Any = None) -> tuple[int, Any]:
        """Status and JSON."""
        status, _, data = self.ask(path, method, document)
        return status, json.loads(data)

    def login(self, user: str, password: str) -> int:
        """Log in and keep the cookie."""
        status, headers, _ = self.ask("/login", "POST", {"user": user, "password": password})
        self.cookie = headers.get("set-cookie", "").partition(";")[0]
        return status


def grey_frame(width: int = 320, height: int = 180) -> Frame:
    """A grey I420 picture."""
    return Frame.from_rgb(np.full((height, width, 3), 90, np.uint8))

# SPDX-License-Identifier: Apache-2.0
"""Viewers of the live page that read one byte a second, beside one that reads at once."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import threading
import time
from contextlib import ExitStack

from sightline.clients.streams.names import Source
from sightline.errors import StreamError
from sightline.perf.cameras.process import CameraProcess
from sightline.perf.faults.figure import Figure, Limit, exactly
from sightline.perf.faults.world import RATE, Scene, adds_up, small_clips
from sightline.perf.streams.footprint import footprint

CAMERAS = 4
SLOW_WEBSOCKETS, SLOW_MJPEG = 4, 2
GROWTH_MB = 60.0


class SlowViewer:
    """Asks for a path and then reads one byte a second."""

    def __init__(self, port: int, path: str, *, websocket: bool) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", port))
        self._ending = threading.Event()
        self.bytes = 0
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}"]
        if websocket:
            key = base64.b64encode(os.urandom(16)).decode()
            lines += [
                "Connection: Upgrade",
                "Upgrade: websocket",
                f"Sec-WebSocket-Key: {key}",
                "Sec-WebSocket-Version: 13",
            ]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._socket.settimeout(30.0)
        status = self._socket.recv(12, socket.MSG_WAITALL).decode("ascii", "replace")
        if not status.endswith((" 200", " 101")):
            raise StreamError(f"{path} of the page answers {status!r}")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave without a word."""
        self._ending.set()
        self._thread.join(3.0)
        self._socket.close()

    def _read(self) -> None:
        self._socket.settimeout(2.0)
        with contextlib.suppress(OSError):
            while not self._ending.wait(1.0):
                if not (found := self._socket.recv(1)):
                    return
                self.bytes += len(found)


class QuickViewer:
    """A page that reads what comes, and counts the pictures."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.pictures = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave."""
        self._ending.set()
        self._thread.join(5.0)

    def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect
        from websockets.typing import Origin

        address, origin = f"ws://127.0.0.1:{self._port}/ws", f"http://127.0.0.1:{self._port}"
        with (
            contextlib.suppress(ConnectionClosed),
            connect(address, origin=Origin(origin), max_size=None) as link,
        ):
            while not self._ending.is_set():
                with contextlib.suppress(TimeoutError):
                    self.pictures += isinstance(link.recv(timeout=0.5), bytes)


def slow_viewers(full: bool) -> Figure:
    """The engine and the quick viewer must not notice them."""
    from sightline.clients.page import PageServer

    began, seconds = time.monotonic(), 120.0 if full else 3.0
    alone_seconds = min(3.0, seconds / 2)
    with ExitStack() as opened:
        cameras = opened.enter_context(CameraProcess([small_clips()[0]] * CAMERAS))
        page = PageServer(0)
        names = [f"camera-{i}" for i in range(CAMERAS)]
        scene = Scene([Source(n, u) for n, u in zip(names, cameras.urls, strict=True)], page=page)
        opened.enter_context(scene)
        opened.callback(page.close)
        scene.live(names)
        quick = QuickViewer(page.port)
        opened.callback(quick.close)
        time.sleep(1.0)
        before, pictures = footprint(), quick.pictures
        time.sleep(alone_seconds)
        alone = (quick.pictures - pictures) / alone_seconds
        viewers = [SlowViewer(page.port, "/ws", websocket=True) for _ in range(SLOW_WEBSOCKETS)]
        viewers += [SlowViewer(page.port, f"/mjpeg/{names[0]}", websocket=False) for _ in range(SLOW_MJPEG)]
        for viewer in viewers:
            opened.callback(viewer.close)
        at, pictures = time.monotonic(), quick.pictures
        answered = sum(scene.camera(name)["answered"] for name in names)
        time.sleep(seconds)
        passed = time.monotonic() - at
        share = (quick.pictures - pictures) / passed / max(alone, 1e-9)
        answered = sum(scene.camera(name)["answered"] for name in names) - answered
        after = footprint()
        lost = sum(scene.record.lost(name) for name in names)
        dropped = sum(scene.camera(name)["dropped_total"] for name in names)
        asked = time.monotonic()
        wrong = adds_up(scene.watch)
        closing = time.monotonic() - asked
    limits = (
        Limit("pictures that the quick viewer got, of those it got alone", round(share, 3), at_least=0.9),
        exactly("pictures that cameras lost", lost),
        Limit("growth of memory, MB", round(after.rss_mb - before.rss_mb, 1), GROWTH_MB),
        exactly("cameras whose counts do not add up", wrong),
        Limit("seconds to stop", round(closing, 2), 20.0),
    )
    done = (
        f"{SLOW_WEBSOCKETS} WebSockets and {SLOW_MJPEG} MJPEG viewers that read one byte a second of {CAMERAS} cameras, "
        f"{seconds:.0f} s"
    )
    more = {
        "answered_share": round(answered / passed / RATE / CAMERAS, 3),
        "frames_dropped": dropped,
        "bytes_read_by_slow_viewers": sum(viewer.bytes for viewer in viewers),
    }
    return Figure(
        "page viewer at 1 byte/s", done, len(viewers), limits, more, round(time.monotonic() - began, 1)
    )

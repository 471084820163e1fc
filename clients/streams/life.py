# SPDX-License-Identifier: Apache-2.0
"""What happens in the life of a camera and of the server, as events; no I/O, every call is told the time.

An event's id is made of what it is about, so that the same event has the same id whatever is sent twice.
"""

from __future__ import annotations

import threading
from typing import Any, Literal

from sightline.clients.events.event import Event, utc_text

Trouble = Literal["lost", "stalled", "auth_refused"]


def camera_event(name: str, kind: str, key: str, unix_seconds: float, **data: Any) -> Event:
    """An event of the type sightline.camera.KIND."""
    return Event(
        id=f"{name}:{key}:{kind}",
        type=f"sightline.camera.{kind}",
        source=f"/cameras/{name}",
        time=utc_text(unix_seconds),
        data={"camera": name, **data},
    )


class CameraLife:
    """One camera: is it live? An outage is told when it begins and when it ends, not at each attempt between."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._live_epoch = 0
        self._trouble_since: float | None = None
        self._told: set[str] = set()

    def live(self, epoch: int, unix_seconds: float) -> Event | None:
        """A picture came on the connection that began at `epoch` (milliseconds since 1970)."""
        if self._live_epoch == epoch:
            return None
        if self._live_epoch and self._trouble_since is None:  # the camera's clock jumped: no outage
            self._live_epoch = epoch
            return None
        since, self._trouble_since = self._trouble_since, None
        self._live_epoch = epoch
        self._told.clear()
        away = None if since is None else round(unix_seconds - since, 1)
        return camera_event(self._name, "live", str(epoch), unix_seconds, away_seconds=away)

    def broken(self, trouble: Trouble, reason: str, unix_seconds: float) -> Event | None:
        """The connection, or an attempt to make one, failed; None where the outage has been told."""
        if self._trouble_since is None:
            self._trouble_since = unix_seconds
        elif trouble != "auth_refused" or trouble in self._told:
            return None
        self._told.add(trouble)
        key = str(self._live_epoch or f"0-{round(self._trouble_since * 1000)}")
        return camera_event(self._name, trouble, key, unix_seconds, reason=reason)


class ServerLife:
    """Whether the server answers. Safe for threads."""

    def __init__(self) -> None:
        self._down_since: float | None = None
        self._lock = threading.Lock()

    def told(self, is_up: bool, unix_seconds: float) -> Event | None:
        """What the gate says now; an event where it is news."""
        with self._lock:
            if is_up == (self._down_since is None):
                return None
            since = unix_seconds if self._down_since is None else self._down_since
            self._down_since = None if is_up else since
        kind = "up" if is_up else "down"
        data = {"away_seconds": round(unix_seconds - since, 1)} if is_up else {}
        return Event(
            id=f"server:{round(since * 1000)}:{kind}",
            type=f"sightline.server.{kind}",
            source="/server",
            time=utc_text(unix_seconds),
            data=data,
        )

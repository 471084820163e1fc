# SPDX-License-Identifier: Apache-2.0
"""What a watch keeps on the disk: spool, event store, pictures and clips, below one folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from sightline.clients.config.watch_file import WatchFile
from sightline.clients.events.event import Event
from sightline.clients.events.media import MediaStore
from sightline.clients.events.outbox import Outbox
from sightline.clients.events.publisher import Publisher
from sightline.clients.events.settings import Sink
from sightline.clients.events.store import EventStore

DRAIN_SECONDS = 3.0


class Keeping:
    """Opens all of it, in the file's folder. Raises OutputError where it cannot be used.

    show: gets each event as it is kept, for people to see at once.
    """

    def __init__(
        self, document: WatchFile, notice: Callable[[str], None], show: Callable[[Event], None]
    ) -> None:
        folder = document.folder
        with contextlib.ExitStack() as opened:
            self.store = EventStore(folder / "events.sqlite", notice=notice)
            opened.callback(self.store.close)
            self.media = MediaStore(folder / "media", document.media, notice=notice)
            opened.callback(self.media.close)
            self.outbox = Outbox(
                folder / "spool", document.spool, document.sinks, store=self.store, notice=notice
            )
            opened.pop_all()
        self.publisher = Publisher(self.outbox, self.media, notice=notice, show=show)

    def reconfigure(self, sinks: Sequence[Sink]) -> None:
        """Other sinks from now on."""
        self.outbox.reconfigure(sinks)

    def state(self) -> dict[str, Any]:
        """Figures of spool, sinks, media and what was kept of events."""
        return self.outbox.state() | {"media": self.media.state(), "events": self.publisher.state()}

    def close(self) -> None:
        """Deliver for a short while what waits; the rest stays in the spool for the next time."""
        self.publisher.close()
        self.outbox.close(DRAIN_SECONDS)
        self.media.close()
        self.store.close()

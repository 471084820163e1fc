# SPDX-License-Identifier: Apache-2.0
"""Events that are not lost: what they are, the spool on the disk, and where they are delivered.

store = EventStore(folder / "events.db")
outbox = Outbox(folder / "spool", file.spool, file.sinks, store=store)
media = MediaStore(folder / "media", file.media)
publisher = Publisher(outbox, media)        # a sink of the engine's results and of its video
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.lazy import lazy_attributes

if TYPE_CHECKING:
    from sightline.clients.events.delivery import Pace
    from sightline.clients.events.event import Event
    from sightline.clients.events.media import MediaStore
    from sightline.clients.events.outbox import Outbox
    from sightline.clients.events.publisher import Publisher
    from sightline.clients.events.spool import Spool
    from sightline.clients.events.store import EventStore

__all__ = ["Event", "EventStore", "MediaStore", "Outbox", "Pace", "Publisher", "Spool"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Event": "sightline.clients.events.event",
        "EventStore": "sightline.clients.events.store",
        "MediaStore": "sightline.clients.events.media",
        "Outbox": "sightline.clients.events.outbox",
        "Pace": "sightline.clients.events.delivery",
        "Publisher": "sightline.clients.events.publisher",
        "Spool": "sightline.clients.events.spool",
    },
)

# SPDX-License-Identifier: Apache-2.0
"""Images without cameras: from a folder, a Redis channel or stream to a folder or channel, one result for each image.

from sightline.clients.pipe import Pipe, PipeSettings, Plan, address_from

pipe = Pipe(PipeSettings(address_from("in"), address_from("out"), Plan(("street_detect",)), once=True))
print(pipe.run().done)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.lazy import lazy_attributes

if TYPE_CHECKING:
    from sightline.clients.pipe.addresses import address_from
    from sightline.clients.pipe.answers import Plan
    from sightline.clients.pipe.pipe import Pipe, Tally
    from sightline.clients.pipe.settings import PipeSettings

__all__ = ["Pipe", "PipeSettings", "Plan", "Tally", "address_from"]

_HOMES = {
    "Pipe": "sightline.clients.pipe.pipe",
    "PipeSettings": "sightline.clients.pipe.settings",
    "Plan": "sightline.clients.pipe.answers",
    "Tally": "sightline.clients.pipe.pipe",
    "address_from": "sightline.clients.pipe.addresses",
}

__getattr__ = lazy_attributes(__name__, _HOMES)

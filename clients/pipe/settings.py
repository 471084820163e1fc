# SPDX-License-Identifier: Apache-2.0
"""What a pipe is told to do, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from sightline.clients.pipe.addresses import Address, ChannelAddress, FolderAddress, StreamAddress
from sightline.clients.pipe.answers import Plan
from sightline.clients.pipe.formats import FORMATS
from sightline.errors import BadInputError

THEN = ("move", "delete", "keep")


@dataclass(frozen=True)
class PipeSettings:
    """One pipe.

    server: address of the Triton server. then: what becomes of an input when its result is there. done: where moved
    inputs go; the output folder unless given. quarantine: where poison goes; OUT/quarantine unless given. coco_all: one
    COCO file of all results. once: end when nothing is left. score: objects and classes below are left out.
    """

    source: Address
    destination: Address
    plan: Plan
    server: str = "localhost"
    protocol: str = "grpc"
    format: str = "json"
    then: str = ""
    done: Path | None = None
    quarantine: Path | None = None
    coco_all: Path | None = None
    once: bool = False
    score: float = 0.0
    watch_seconds: float = 1.0
    settle_seconds: float = 1.0
    doubt_seconds: float = 30.0
    claim_seconds: float = 60.0
    timeout_seconds: float = 30.0
    in_flight: int = 16

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise BadInputError(f"format is {self.format!r}; it must be one of {', '.join(FORMATS)}")
        if self.then not in ("", *THEN):
            raise BadInputError(f"then is {self.then!r}; it must be one of {', '.join(THEN)}")
        for name in ("watch_seconds", "settle_seconds", "doubt_seconds", "claim_seconds", "timeout_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.01):
                raise BadInputError(f"{name} is {value}; it must be at least 0.01")
        if not 1 <= self.in_flight <= 1024:
            raise BadInputError(f"in_flight is {self.in_flight}; it must lie in 1..1024")
        self._check_ends()

    def _check_ends(self) -> None:
        source, destination = self.source, self.destination
        if isinstance(source, FolderAddress):
            if not source.path.is_dir():
                raise BadInputError(f"folder {source.path} is not there; make it, or name another one")
            if isinstance(destination, FolderAddress) and _same(source.path, destination.path):
                raise BadInputError(f"images and results cannot be in the same folder {source.path}")
            for folder in (self.done, self.quarantine):
                if folder is not None and _same(source.path, folder):
                    raise BadInputError(f"inputs cannot be moved to where they come from, {folder}")
        elif self.then == "move":
            raise BadInputError("then is 'move'; entries of Redis can be kept or deleted, but not moved")
        if isinstance(source, ChannelAddress) and self.once:
            raise BadInputError("once has no end with a channel: nobody knows what will still be published")
        if isinstance(source, StreamAddress) and source == destination:
            raise BadInputError(f"images and results cannot be in the same {source}")
        if self.coco_all is not None and not isinstance(destination, FolderAddress):
            raise BadInputError(
                "coco_all needs a folder as destination, which remembers what has been answered"
            )

    @property
    def then_or_default(self) -> str:
        """Files are moved, entries of Redis kept, unless something else is wanted."""
        return self.then or ("move" if isinstance(self.source, FolderAddress) else "keep")


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()

# SPDX-License-Identifier: Apache-2.0
"""What differs between two cameras files: a pure comparison."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.clients.config.watch_file import WatchFile
from sightline.clients.service.sources import analytics_of, source_of


@dataclass(frozen=True)
class Changes:
    """Names of cameras. reread: its stream is read in another way; rethought: only its analytics differ."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    reread: tuple[str, ...]
    rethought: tuple[str, ...]
    sinks: bool
    restart_needed: tuple[str, ...]


def changes(old: WatchFile, new: WatchFile) -> Changes:
    """From the old file to the new one; cameras that are not enabled are as if they were not there."""
    before = {name: camera for name, camera in old.cameras.items() if camera.enabled}
    after = {name: camera for name, camera in new.cameras.items() if camera.enabled}
    both = [name for name in after if name in before]
    reread = [n for n in both if source_of(n, before[n]) != source_of(n, after[n])]
    rethought = [n for n in both if analytics_of(before[n]) != analytics_of(after[n])]
    return Changes(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        reread=tuple(reread),
        rethought=tuple(rethought),
        sinks=old.sinks != new.sinks,
        restart_needed=tuple(
            field
            for field in ("server", "folder", "spool", "media", "page", "annotated")
            if getattr(old, field) != getattr(new, field)
        ),
    )

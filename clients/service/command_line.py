# SPDX-License-Identifier: Apache-2.0
"""A cameras file for what was named on a command line, alone or beside a file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.clients.config.reading import read_watch_file
from sightline.clients.config.watch_file import Camera, WatchFile
from sightline.clients.streams.names import parse_sources
from sightline.errors import StreamError

DEADLINE_SECONDS = 4.0


def described(
    texts: Sequence[str], path: Path | None, server: str | None, options: Mapping[str, Any]
) -> tuple[WatchFile, Callable[[WatchFile], WatchFile]]:
    """What to watch, and what makes the same of the file when it was read again.

    texts: cameras as parse_sources takes them. options: fields of cameras; of the file's cameras they replace defaults
    only. None in options and `server` means: not given. Raises StreamError and ConfigError.
    """
    given = {field: value for field, value in options.items() if value is not None}
    named = parse_sources(texts) if texts else []
    extra = {
        source.name: Camera.model_validate(
            {"deadline_seconds": DEADLINE_SECONDS} | given | {"url": source.url}
        )
        for source in named
    }
    document = read_watch_file(path) if path else WatchFile(cameras={})
    if not document.cameras and not extra:
        raise StreamError(
            "no camera is named; give at least one, as in sightline watch front=rtsp://host/stream"
        )
    adapt = functools.partial(_combined, extra=extra, server=server, given=given)
    return adapt(document), adapt


def _combined(
    document: WatchFile, extra: Mapping[str, Camera], server: str | None, given: Mapping[str, Any]
) -> WatchFile:
    """The file with what the command line says besides. Raises StreamError where both name a camera."""
    twice = sorted(set(document.cameras) & set(extra))
    if twice:
        raise StreamError(f"the name {twice[0]!r} is given to more than one camera; each needs its own")
    cameras = {
        name: camera.model_copy(update={f: v for f, v in given.items() if f not in camera.model_fields_set})
        for name, camera in document.cameras.items()
    }
    return document.model_copy(
        update={"cameras": {**extra, **cameras}, "server": server if server is not None else document.server}
    )

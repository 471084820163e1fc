# SPDX-License-Identifier: Apache-2.0
"""TensorRT's timing cache on disk: what was measured is not measured again, also after a power cut.

A cache is good for one version of TensorRT on one GPU; both are in its file's name. It is written when a build is done
and, on the way, every `keep_seconds`.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from pathlib import Path
from typing import Any

from sightline.builders.engines.store_files import replace_file
from sightline.errors import OutputError

_LOGGER = logging.getLogger("sightline.tensorrt")
KEEP_SECONDS = 30.0


class TimingCache:
    """One cache file. attach, then keep from the builder's own thread at its steps, then save."""

    def __init__(self, path: Path, *, keep_seconds: float = KEEP_SECONDS) -> None:
        self.path = path
        self._keep_seconds = keep_seconds
        self._kept = time.monotonic()
        self._keeping = threading.Lock()

    def attach(self, config: Any) -> Any:
        """Give the builder's configuration the cache of this file; a missing or refused file is an empty cache."""
        try:
            content = self.path.read_bytes()
        except OSError:
            content = b""
        for data in (content, b""):
            cache = config.create_timing_cache(data)
            if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
                self._kept = time.monotonic()
                return cache
            _LOGGER.warning(
                "the timing cache %s does not fit this TensorRT and GPU; it is begun anew", self.path
            )
        return None

    def keep(self, cache: Any) -> None:
        """Write the cache where the last time is `keep_seconds` ago; a full disk does not end the build."""
        if time.monotonic() - self._kept < self._keep_seconds or not self._keeping.acquire(blocking=False):
            return
        try:
            self.save(cache)
        except OutputError as error:
            _LOGGER.warning("%s", error)
        finally:
            self._kept = time.monotonic()
            self._keeping.release()

    def save(self, cache: Any) -> None:
        """Write the cache now. Raises OutputError; the old file stays then."""
        if cache is not None:
            replace_file(self.path, bytes(memoryview(cache.serialize())))


def timing_cache(folder: Path, version: str, sm: int, device: str) -> TimingCache:
    """The cache for this version of TensorRT and this GPU in `folder`."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-").lower() or "gpu"
    return TimingCache(folder / f"tensorrt-{version}-sm{sm}-{name}.timing")

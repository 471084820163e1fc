# SPDX-License-Identifier: Apache-2.0
"""Clips of drawn street scenes, rendered once by other processes and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sightline.errors import OutputError, SightlineError
from sightline.perf.cameras.render import ClipSpec
from sightline.scenes import SceneTruth

Progress = Callable[[int, int], None]
"""Called with the frames rendered so far and the frames to render; never called when all clips are cached."""


def cache_folder() -> Path:
    """$SIGHTLINE_CACHE_DIR, else $XDG_CACHE_HOME/sightline, else ~/.cache/sightline."""
    chosen = os.environ.get("SIGHTLINE_CACHE_DIR")
    base = (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline"
    )
    folder = base / "clips"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror}); set SIGHTLINE_CACHE_DIR to a folder of yours"
        ) from error
    return folder


def clip_paths(spec: ClipSpec) -> tuple[Path, Path]:
    """Where the clip of this spec and its truth lie in the cache, rendered or not."""
    light = {None: "any", False: "day", True: "night"}[spec.night]
    wet = {None: "", False: "-dry", True: "-rain"}[spec.rain]
    name = (
        f"street-{spec.seed}-{spec.width}x{spec.height}-{spec.frames_per_second}fps-{spec.seconds:g}s"
        f"-{light}{wet}-{_drawing_version()}"
    )
    folder = cache_folder()
    return folder / f"{name}.clip", folder / f"{name}.npz"


def rendered_clips(specs: Sequence[ClipSpec], progress: Progress | None = None) -> list[Path]:
    """Paths of the specs' clips, rendering what the cache lacks with one process a core.

    Raises OutputError where the cache folder is full or may not be written to.
    """
    wanted = {clip_paths(spec): spec for spec in specs}
    missing = {paths: spec for paths, spec in wanted.items() if not all(path.exists() for path in paths)}
    if missing:
        _Rendering(missing, progress).run()
    return [clip_paths(spec)[0] for spec in specs]


def load_truth(path: Path) -> list[SceneTruth]:
    """Truth of each frame from a clip's sidecar (.npz)."""
    with np.load(path, allow_pickle=False) as data:
        ends, ignore_ends = np.cumsum(data["counts"])[:-1], np.cumsum(data["ignore_counts"])[:-1]
        columns = [np.split(data[name], ends) for name in ("boxes", "classes", "visible", "ids")]
        ignored = np.split(data["ignore"], ignore_ends)
    return [SceneTruth(*row) for row in zip(*columns, ignored, strict=True)]


def _drawing_version() -> str:
    """Digest of the code that draws and encodes: a change of it makes the cached clips stale."""
    import sightline.scenes

    digest = hashlib.sha256()
    for path in [
        *sorted(Path(sightline.scenes.__path__[0]).glob("*.py")),
        Path(__file__).with_name("render.py"),
    ]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class _Rendering:
    """Runs one process a clip, as many at a time as there are cores, and adds up their progress."""

    def __init__(self, jobs: dict[tuple[Path, Path], ClipSpec], progress: Progress | None) -> None:
        self._jobs: queue.SimpleQueue[tuple[tuple[Path, Path], ClipSpec]] = queue.SimpleQueue()
        for job in jobs.items():
            self._jobs.put(job)
        self._total = sum(spec.frame_count for spec in jobs.values())
        self._workers = min(len(jobs), len(os.sched_getaffinity(0)))
        self._progress = progress
        self._done: queue.SimpleQueue[int | str | None] = queue.SimpleQueue()
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self) -> None:
        threads = [
            threading.Thread(target=self._work, name="render", daemon=True) for _ in range(self._workers)
        ]
        try:
            for thread in threads:
                thread.start()
            self._count()
        finally:
            self._stopped = True
            for process in list(self._processes):
                process.kill()
            for thread in threads:
                thread.join()

    def _count(self) -> None:
        """Report progress until every worker has ended; the first failure ends all."""
        done, running = 0, self._workers
        while running:
            news = self._done.get()
            if news is None:
                running -= 1
            elif isinstance(news, str):
                raise OutputError(f"a camera's clip could not be rendered in {cache_folder()}: {news}")
            else:
                done += news
                if self._progress:
                    self._progress(done, self._total)

    def _work(self) -> None:
        try:
            while not self._stopped:
                paths, spec = self._jobs.get_nowait()
                self._render(paths, spec)
        except queue.Empty:
            pass
        except (SightlineError, OSError) as error:
            self._done.put(str(error))
        finally:
            self._done.put(None)

    def _render(self, paths: tuple[Path, Path], spec: ClipSpec) -> None:
        command = [
            sys.executable,
            "-m",
            "sightline.perf.cameras.render",
            json.dumps(asdict(spec)),
            *map(str, paths),
        ]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            self._processes.add(process)
            for _ in process.stdout or ():
                self._done.put(1)
            error = process.stderr.read() if process.stderr else ""
        self._processes.discard(process)
        if process.returncode and not self._stopped:
            raise OutputError(
                error.strip().splitlines()[-1] if error.strip() else f"status {process.returncode}"
            )

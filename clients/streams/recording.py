# SPDX-License-Identifier: Apache-2.0
"""An annotated MP4 of all cameras and a contact sheet, made from samples so that little CPU is used."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.clients.streams.mosaic import annotated, blank, captioned, grid_shape, joined, tile_size
from sightline.clients.streams.results import StreamResult
from sightline.errors import OutputError
from sightline.redact import redact

MAX_MOMENTS = 8
MAX_TILES = 64
SHEET_MOMENTS = 3
_SHEET_SIZE = (640, 360)


class Moments:
    """Samples of one camera, spread over a time of unknown length: when full, every second one goes."""

    def __init__(self, interval_seconds: float = 0.5) -> None:
        self.pictures: list[tuple[float, NDArray[np.uint8], str]] = []
        self._interval_seconds = interval_seconds
        self._next = 0.0

    def wants(self, seconds: float) -> bool:
        """True when a sample is due at this time since the start."""
        return seconds >= self._next

    def add(self, seconds: float, picture: NDArray[np.uint8], caption: str) -> None:
        """Keep a sample."""
        self.pictures.append((seconds, picture, caption))
        if len(self.pictures) > MAX_MOMENTS:
            self.pictures = self.pictures[::2]
            self._interval_seconds *= 2
        self._next = seconds + self._interval_seconds

    def spread(self, count: int) -> list[tuple[float, NDArray[np.uint8], str]]:
        """At most `count` samples from all of the time."""
        if len(self.pictures) <= count:
            return list(self.pictures)
        picked = np.linspace(0, len(self.pictures) - 1, count).round().astype(int)
        return [self.pictures[i] for i in picked]


@dataclass
class Tile:
    """One camera's place in the grid, and its samples."""

    moments: Moments = field(default_factory=Moments)
    seen_at: float = -1.0


class Recording:
    """Sink: writes FOLDER/watch.mp4 (all cameras in one grid) and, at the end, FOLDER/contact-sheet.png.

    names: the cameras of the start. A camera of another name gets a tile too, for which the others become smaller; when
    MAX_TILES are taken, in place of the one that was not seen for longest.
    Draws on pictures that were scaled down, at `frames_per_second`, on a thread of its own.
    The MP4 is fragmented: what was written stays playable if the program is killed.
    """

    def __init__(
        self,
        folder: Path | str,
        names: list[str],
        *,
        size: tuple[int, int] = (1280, 720),
        frames_per_second: int = 8,
        failed: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.folder = Path(folder)
        self.video = self.folder / "watch.mp4"
        self.sheet = self.folder / "contact-sheet.png"
        self.error: OutputError | None = None
        self._tiles = {name: Tile() for name in names[:MAX_TILES]}
        self._rate = frames_per_second
        self._failed = failed
        self._newest: dict[str, StreamResult] = {}
        columns, rows = grid_shape(max(1, len(self._tiles)))
        width, height = tile_size(max(1, len(self._tiles)), *size)
        self._tile_size = (width, height)
        self._canvas = blank(columns * width, rows * height)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self.video.open("wb")
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written: {error.strerror}; choose another --output"
            ) from None
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def write(self, result: StreamResult) -> None:
        """Take a result; the newest is drawn at the next tick. Raises OutputError once the video broke."""
        with self._lock:
            if self.error is not None:
                raise self.error
            older = self._newest.get(result.source.name)
            if older is None or older.source.order < result.source.order:
                self._newest[result.source.name] = result

    def close(self) -> None:
        """Finish the video and write the contact sheet. Raises OutputError."""
        self._stopping.set()
        self._thread.join(10)
        try:
            self._write_sheet()
        except OSError as error:
            with contextlib.suppress(OSError):
                self.sheet.unlink()  # half a picture cannot be opened
            raise OutputError(f"{self.sheet}: {error.strerror or error}; free some space") from None
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            self._record()
            self._file.flush()
        except Exception as error:  # libav raises many kinds
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self.error = OutputError(redact(f"{self.video}: {reason}; the video ends here"))
            self._failed(str(self.error))
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            with self._lock:
                self._newest = {}  # frames are not held by a recording that has ended

    def _record(self) -> None:
        import av

        movflags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        started = time.monotonic()
        with av.open(self._file, "w", format="mp4", options=movflags) as container:
            stream: Any = container.add_stream("libx264", rate=self._rate)
            stream.height, stream.width = self._canvas.shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.options = {"preset": "ultrafast", "crf": "26", "threads": "1", "g": str(self._rate * 2)}
            stream.codec_context.time_base = Fraction(1, 1000)
            last_ms = -1
            while not self._stopping.wait(self._until_next(started)):
                now = time.monotonic() - started
                if not self._draw(now):
                    continue
                last_ms = max(last_ms + 1, round(now * 1000))
                picture = av.VideoFrame.from_ndarray(self._canvas, "rgb24")
                picture.pts, picture.time_base = last_ms, Fraction(1, 1000)
                container.mux(stream.encode(picture))
            if last_ms >= 0:
                container.mux(stream.encode(None))

    def _until_next(self, started: float) -> float:
        period = 1.0 / self._rate
        return period - (time.monotonic() - started) % period

    def _draw(self, now: float) -> bool:
        """Draw what is new; True when anything was."""
        with self._lock:
            results, self._newest = self._newest, {}
        for name in results:
            if name not in self._tiles:
                self._make_room(name)
        columns, _ = grid_shape(max(1, len(self._tiles)))
        width, height = self._tile_size
        for position, (name, tile) in enumerate(self._tiles.items()):
            result = results.get(name)
            if result is None:
                continue
            row, column = divmod(position, columns)
            top, left = row * height, column * width
            picture = annotated(result, width, height)
            self._canvas[top : top + height, left : left + width] = picture
            tile.seen_at = now
            if tile.moments.wants(now) and (len(result.detections) or now > 2):
                self._remember(tile, result, picture, now)
        return bool(results)

    def _make_room(self, name: str) -> None:
        """A camera that was not there at the start: all tiles move, and are drawn anew with their next pictures."""
        if len(self._tiles) >= MAX_TILES:
            oldest = min(self._tiles, key=lambda known: self._tiles[known].seen_at)
            del self._tiles[oldest]
        self._tiles[name] = Tile()
        columns, rows = grid_shape(len(self._tiles))
        height, width = self._canvas.shape[:2]
        self._tile_size = (width // columns // 2 * 2, height // rows // 2 * 2)
        self._canvas[:] = blank(width, height)

    def _remember(self, tile: Tile, result: StreamResult, picture: NDArray[np.uint8], now: float) -> None:
        if self._tile_size != _SHEET_SIZE:
            picture = annotated(result, *_SHEET_SIZE)
        source = result.source
        caption = f"{source.name}   {source.time_utc[11:19]} UTC   {len(result.detections)} objects"
        tile.moments.add(now, captioned(picture, caption), caption)

    def _write_sheet(self) -> None:
        from PIL import Image

        empty = captioned(blank(*_SHEET_SIZE), "")
        tiles = []
        for tile in self._tiles.values():
            row = [picture for _, picture, _ in tile.moments.spread(SHEET_MOMENTS)]
            tiles += row + [empty] * (SHEET_MOMENTS - len(row))
        if any(tile.moments.pictures for tile in self._tiles.values()):
            Image.fromarray(joined(tiles, SHEET_MOMENTS, gap=8)).save(self.sheet)

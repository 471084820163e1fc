# SPDX-License-Identifier: Apache-2.0
"""The ways of working that are compared: our engine, bare libavcodec, OpenCV's loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sightline.errors import SightlineError
from sightline.perf.streams.worker import Way

OBJECTS = 12
_STOP_SECONDS = 10.0


class _Threads:
    """One thread a source, each counting its frames; a source that ends is begun anew."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = list(sources)
        self._stopping = threading.Event()
        self._counts: list[int] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._stopping.clear()
        self._counts = [0] * len(self._sources)
        self._threads = [
            threading.Thread(target=self._work, args=(i, source), daemon=True)
            for i, source in enumerate(self._sources)
        ]
        for thread in self._threads:
            thread.start()

    def frames(self) -> int:
        return sum(self._counts)

    def is_running(self) -> bool:
        return all(self._counts)

    def stop(self) -> dict[str, Any]:
        self._stopping.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        return {}

    def _work(self, number: int, source: str) -> None:
        while not self._stopping.is_set():
            self._play(number, source)

    def _play(self, number: int, source: str) -> None:
        raise NotImplementedError


class BareDecoding(_Threads):
    """libavcodec through PyAV, one decoder thread a source; the pictures are not touched."""

    def _play(self, number: int, source: str) -> None:
        import av

        with av.open(
            source, options=_av_options(source), timeout=5.0 if "://" in source else None
        ) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for packet in container.demux(stream):
                if self._stopping.is_set():
                    return
                self._counts[number] += len(packet.decode())


class OpenCvLoop(_Threads):
    """What people write: a VideoCapture a thread, cv2 for the letterbox, the same answers, the same tracker.

    decoder_threads: of each capture; None leaves OpenCV its own choice, which was slower with a capture a core.
    """

    def __init__(
        self,
        sources: Sequence[str],
        network: tuple[int, int],
        size: tuple[int, int],
        decoder_threads: int | None = None,
    ) -> None:
        from sightline.perf.streams.material import drawn_boxes

        super().__init__(sources)
        self._network, self._decoder_threads = tuple(network), decoder_threads
        self._answers = drawn_boxes(OBJECTS, (size[0], size[1]))

    def _play(self, number: int, source: str) -> None:
        import cv2

        from sightline.preprocess_ext import ByteTrack, Tracker

        options = [] if self._decoder_threads is None else [cv2.CAP_PROP_N_THREADS, self._decoder_threads]
        capture, tracker, seen = cv2.VideoCapture(source, cv2.CAP_FFMPEG, options), Tracker(ByteTrack()), 0
        try:
            while not self._stopping.is_set():
                found, picture = capture.read()
                if not found:
                    return
                opencv_letterbox(picture, self._network[0], self._network[1])
                tracker.update(self._answers[seen % len(self._answers)])
                seen += 1
                self._counts[number] += 1
        finally:
            capture.release()


def opencv_letterbox(picture: np.ndarray[Any, Any], width: int, height: int) -> np.ndarray[Any, Any]:
    """BGR picture to float32 of shape (1, 3, height, width), RGB, 0..1, in the usual calls of cv2 and its dnn module."""
    import cv2

    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    small = cv2.resize(picture, inner, interpolation=cv2.INTER_LINEAR)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    padded = cv2.copyMakeBorder(
        small,
        top,
        height - inner[1] - top,
        left,
        width - inner[0] - left,
        cv2.BORDER_CONSTANT,
        value=(114, 114, 114),
    )
    return np.asarray(cv2.dnn.blobFromImage(padded, 1 / 255.0, swapRB=True))


def _av_options(source: str) -> dict[str, str]:
    return {"rtsp_transport": "tcp"} if source.startswith("rtsp") else {}


def _bare(**options: Any) -> Way:
    return BareDecoding(**options)


def _opencv(**options: Any) -> Way:
    return OpenCvLoop(**options)


def _ours(**options: Any) -> Way:
    from sightline.perf.streams.ours import OurEngine

    return OurEngine(**options)


def _ultralytics(**options: Any) -> Way:
    from sightline.perf.streams.ultralytics_track import UltralyticsTrack

    return UltralyticsTrack(**options)


WAYS: dict[str, Callable[..., Way]] = {
    "bare": _bare,
    "opencv": _opencv,
    "ours": _ours,
    "ultralytics": _ultralytics,
}


def open_way(kind: str, **options: Any) -> Way:
    """The way of this kind. Raises SightlineError for another."""
    if kind not in WAYS:
        raise SightlineError(f"there is no way {kind!r}; there are: {', '.join(WAYS)}")
    return WAYS[kind](**options)

# SPDX-License-Identifier: Apache-2.0
"""Ultralytics' `track` as one of the ways: the same network, the same streams, its own ByteTrack.

way "streams": one `track` call on a .streams file, which batches one frame of each camera; way "threads": one model and
one `track` call a camera in a thread of its own. Both are what its documentation shows for several cameras.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_STOP_SECONDS = 20.0


def openvino_folder(onnx: Path, labels: Sequence[str], network: tuple[int, int], folder: Path) -> Path:
    """The ONNX as Ultralytics' OpenVINO export lies on the disk, so that its backend loads it."""
    import openvino
    import yaml

    target = folder / f"{onnx.stem}_openvino_model"
    target.mkdir(exist_ok=True)
    openvino.save_model(openvino.convert_model(onnx), target / f"{onnx.stem}.xml", compress_to_fp16=True)
    about = {
        "task": "detect",
        "stride": 32,
        "batch": 1,
        "imgsz": [network[1], network[0]],
        "names": dict(enumerate(labels)),
        "args": {"dynamic": True, "nms": False, "batch": 1},
        "channels": 3,
    }
    (target / "metadata.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    return target


class UltralyticsTrack:
    """Tracks all sources. network: width and height of the network's input. score, iou: as the card's limits."""

    def __init__(
        self,
        sources: Sequence[str],
        *,
        model: str,
        network: tuple[int, int],
        score: float,
        iou: float,
        way: str,
    ) -> None:
        os.environ.setdefault("YOLO_OFFLINE", "true")
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"
        self._sources, self._model, self._way = list(sources), model, way
        self._options = {
            "imgsz": (network[1], network[0]),
            "conf": score,
            "iou": iou,
            "tracker": "bytetrack.yaml",
            "stream": True,
            "verbose": False,
            "device": "cpu",
            "persist": True,
        }
        self._folder = tempfile.TemporaryDirectory(prefix="sightline-ultralytics-")
        self._count = [0] * max(1, len(self._sources))
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._errors: list[str] = []

    def start(self) -> None:
        self._stopping.clear()
        self._errors.clear()
        self._count = [0] * len(self._sources)
        if self._way == "streams":
            path = Path(self._folder.name) / "cameras.streams"
            path.write_text("\n".join(self._sources) + "\n", encoding="utf-8")
            jobs = [(0, str(path))]
        else:
            jobs = list(enumerate(self._sources))
        self._threads = [threading.Thread(target=self._track, args=job, daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()

    def frames(self) -> int:
        return sum(self._count)

    def is_running(self) -> bool:
        return self.frames() >= len(self._sources) if self._way == "streams" else all(self._count)

    def stop(self) -> dict[str, Any]:
        self._stopping.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        return {"errors": self._errors[:3]}

    def _track(self, number: int, source: str) -> None:
        from sightline.builders.sources.torch_ultralytics import import_ultralytics

        make: Any = import_ultralytics().YOLO
        try:
            model = make(self._model, task="detect")
            for result in model.track(source, **self._options):
                self._count[number] += 1
                if self._stopping.is_set():
                    break
                del result
            if model.predictor and hasattr(model.predictor.dataset, "close"):
                model.predictor.dataset.close()
        except Exception as error:  # what its library raises is told with the figures
            self._errors.append(f"{type(error).__name__}: {error}")

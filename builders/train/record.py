# SPDX-License-Identifier: Apache-2.0
"""What a training run leaves beside its weights: the record of figures, and a picture."""

from __future__ import annotations

import datetime
import os
import platform
import time
from pathlib import Path

import cv2
import numpy as np

from sightline.builders.train.dataset import INPUT_SIZE, PAD_ROWS, RenderedScenes, letterboxed
from sightline.builders.train.evaluate import Evaluation, decode, detections, evaluate
from sightline.scenes import CLASS_NAMES

_SPEED_SECONDS = 6.0
_SHOWN_SCORE = 0.35
Colour = tuple[int, int, int]
_LOSS: Colour = (30, 90, 180)
_MAP: Colour = (190, 50, 40)
_PALETTE: tuple[Colour, ...] = (
    (255, 82, 82), (255, 171, 64), (255, 234, 0), (118, 255, 3), (29, 233, 182), (64, 196, 255),
    (68, 138, 255), (224, 64, 251), (255, 64, 129), (198, 255, 0), (255, 255, 255),
)  # fmt: skip


class OnnxDetector:
    """The exported file in OpenVINO on one core: (B, 3, H, W) float32 0..1 -> (B, 4 + C, A)."""

    def __init__(self, path: Path) -> None:
        import openvino

        options = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.array(self._request.infer({0: images})[0])

    def frames_per_second(self) -> float:
        """Frames a second at batch 1 in the best of several rounds: what a core gives when left alone."""
        image = np.full((1, 3, INPUT_SIZE[1], INPUT_SIZE[0]), 0.5, np.float32)
        for _ in range(5):
            self(image)
        best, end = float("inf"), time.perf_counter() + _SPEED_SECONDS
        while time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(10):
                self._request.infer({0: image})
            best = min(best, (time.perf_counter() - start) / 10)
        return 1.0 / best


def onnx_evaluation(detector: OnnxDetector, held_out: RenderedScenes, picks: np.ndarray) -> Evaluation:
    """AP of the exported file on the held-out frames `picks`."""
    shift = np.array([0, 0, PAD_ROWS, 0, PAD_ROWS], np.float32)
    truth = [held_out.truth(int(i)) for i in picks]
    found = detections(detector, [letterboxed(np.asarray(held_out.images[i])) for i in picks])
    return evaluate(found, [t + shift for t, _ in truth], [h + shift[1:] for _, h in truth], len(CLASS_NAMES))


def processor_name() -> str:
    """The processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def figures(result: Evaluation) -> dict[str, object]:
    """An evaluation as the record holds it."""
    return {
        "map50": round(result.map50, 4),
        "map50_95": round(result.map50_95, 4),
        "frames": result.frames,
        "objects": result.objects,
        "ap50": {CLASS_NAMES[k]: round(v, 4) for k, v in result.ap50.items()},
    }


def now() -> str:
    """UTC date and time, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def draw_detections(picture: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Boxes and names on a letterboxed picture (224, 384, 3) at twice its size."""
    image = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for x0, y0, x1, y1, score, kind in found:
        if score < _SHOWN_SCORE:
            continue
        colour = _PALETTE[int(kind) % len(_PALETTE)]
        cv2.rectangle(image, (int(x0 * 2), int(y0 * 2)), (int(x1 * 2), int(y1 * 2)), colour, 1, cv2.LINE_AA)
        cv2.putText(
            image,
            CLASS_NAMES[int(kind)],
            (int(x0 * 2), int(y0 * 2) - 3),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.36,
            colour,
            1,
            cv2.LINE_AA,
        )
    return image


def _write(image: np.ndarray, text: str, at: tuple[int, int], colour: Colour) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def _curve(
    losses: list[tuple[float, float]], map50: list[tuple[float, float]], size: tuple[int, int]
) -> np.ndarray:
    """Loss and held-out mAP50 over minutes."""
    width, height = size
    image = np.full((height, width, 3), 255, np.uint8)
    left, right, top, bottom = 60, width - 60, 40, height - 40
    end = max([t for t, _ in losses + map50] + [1.0])
    peak = max([v for _, v in losses] + [1e-6])
    for i in range(5):
        x, y = round(left + (right - left) * i / 4), round(bottom - (bottom - top) * i / 4)
        cv2.line(image, (left, y), (right, y), (225, 225, 225), 1)
        _write(image, f"{peak * i / 4:.1f}", (14, y + 4), _LOSS)
        _write(image, f"{i / 4:.2f}", (right + 10, y + 4), _MAP)
        _write(image, f"{end * i / 240:.0f} min", (x - 16, bottom + 18), (60, 60, 60))
    for points, scale, colour in ((losses, peak, _LOSS), (map50, 1.0, _MAP)):
        line = [
            [left + (right - left) * t / end, bottom - (bottom - top) * min(v / scale, 1.0)]
            for t, v in points
        ]
        if line:
            fixed = np.array(line).round().astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(image, [fixed], False, colour, 2, cv2.LINE_AA)
    _write(image, "training loss", (left, 24), _LOSS)
    _write(image, "held-out mAP50", (left + 150, 24), _MAP)
    return image


def write_picture(
    path: Path,
    detector: OnnxDetector,
    held_out: RenderedScenes,
    losses: list[tuple[float, float]],
    map50: list[tuple[float, float]],
    limit_bytes: int = 300_000,
) -> None:
    """Training curve above six held-out frames with detections, as PNG of at most limit_bytes."""
    picks = np.linspace(0, len(held_out) - 1, 6).astype(int)
    sheet = []
    for i in picks:
        image = letterboxed(np.asarray(held_out.images[i]))
        raw = detector(np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) / 255.0))[0]
        sheet.append(draw_detections(image, decode(raw, score=_SHOWN_SCORE)))
    rows = [np.hstack(sheet[i : i + 2]) for i in (0, 2, 4)]
    picture = np.vstack([_curve(losses, map50, (rows[0].shape[1], 300)), *rows])
    for scale in (1.0, 0.8, 0.65, 0.5, 0.4, 0.3):
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        coded = _palette_png(small)
        if len(coded) <= limit_bytes:
            break
    partial = path.with_suffix(".partial")
    partial.write_bytes(coded)
    os.replace(partial, path)


def _palette_png(image: np.ndarray) -> bytes:
    """PNG with colours rounded to 4 bits a channel, which compresses far better."""
    rounded = (image // 16) * 17
    return bytes(
        cv2.imencode(".png", cv2.cvtColor(rounded, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    )

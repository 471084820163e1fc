# SPDX-License-Identifier: Apache-2.0
"""Real inputs for a load test: drawn street frames as perf_analyzer reads them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.stages.wire import letterbox_arguments
from sightline.card import InputSpec
from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.naming import stage_model

INPUTS = ("frames", "encoded", "network")
FRAME_SIZE = (1280, 720)
FRAME_COUNT = 8
FIRST_SEED = 30_000_000
"""Of scenes that were neither trained on nor play in the demo."""
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class Target:
    """The model that one kind of input goes to."""

    model: str
    kind: str


def target(model: str, kind: str, number: int = 1) -> Target:
    """frames -> MODEL_frames, encoded -> MODEL, network -> MODEL_vN_network with N the version that clients get."""
    names = {"frames": f"{model}_frames", "encoded": model, "network": stage_model(model, number, "network")}
    return Target(names[kind], kind)


def drawn_frames(count: int = FRAME_COUNT) -> list[NDArray[np.uint8]]:
    """RGB frames (720, 1280, 3) of different streets, every second one at night."""
    from sightline.scenes import Scene

    frames = []
    for index in range(count):
        scene = Scene(FIRST_SEED + index, size=FRAME_SIZE, night=bool(index % 2))
        frames.append(scene.frame(1.0 + index)[0])
    return frames


def i420(rgb: NDArray[np.uint8]) -> Frame:
    """The frame as a decoder would give it (BT.601, limited range)."""
    import cv2

    height, width = rgb.shape[:2]
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    data = np.ascontiguousarray(planes, np.uint8)
    return Frame(data, width, height, PixelFormat.I420, ColourSpace.BT601_LIMITED)


def network_tensors(frames: list[NDArray[np.uint8]], card_input: dict[str, Any]) -> NDArray[np.float32]:
    """What the letterbox stage makes of the frames: float32 of shape (N, 3, H, W). card_input: from the manifest."""
    from sightline.preprocess_ext import letterbox

    width, height = card_input["size"]
    keywords = letterbox_arguments({**InputSpec().model_dump(), **card_input})
    out = np.empty((len(frames), 3, height, width), np.float32)
    for index, rgb in enumerate(frames):
        letterbox(i420(rgb), out[index], **keywords)
    return out


def write_inputs(
    path: Path, kind: str, frames: list[NDArray[np.uint8]], card_input: dict[str, Any] | None = None
) -> int:
    """Write the frames as JSON for `--input-data`; returns the bytes of the largest request."""
    makers: dict[str, Callable[[], list[dict[str, NDArray[Any]]]]] = {
        "frames": lambda: [_frame_tensors(i420(rgb)) for rgb in frames],
        "encoded": lambda: [{"IMAGE": _jpeg(rgb)} for rgb in frames],
        "network": lambda: [{"TENSOR": tensor} for tensor in network_tensors(frames, card_input or {})],
    }
    requests = makers[kind]()
    data = [{name: _entry(tensor) for name, tensor in request.items()} for request in requests]
    path.write_text(json.dumps({"data": data}), encoding="ascii")
    return max(sum(tensor.nbytes for tensor in request.values()) for request in requests)


def _frame_tensors(frame: Frame) -> dict[str, NDArray[Any]]:
    info = np.array([frame.width, frame.height, frame.pixel_format, frame.colour], np.int32)
    return {"FRAME": frame.data, "FRAME_INFO": info}


def _jpeg(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=_JPEG_QUALITY)
    return np.frombuffer(file.getvalue(), np.uint8)


def _entry(tensor: NDArray[Any]) -> dict[str, Any]:
    return {"b64": base64.b64encode(tensor.tobytes()).decode("ascii"), "shape": list(tensor.shape)}

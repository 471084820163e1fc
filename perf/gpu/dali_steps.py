# SPDX-License-Identifier: Apache-2.0
"""DALI's pipelines on the GPU against the C core on the CPU: the same pixels, and how many pictures a second."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.card import InputSpec
from sightline.errors import MissingDependencyError
from sightline.frame import Frame
from sightline.perf.gpu.measure import rate
from sightline.perf.gpu.step import Context, NotRun

_BATCH = 8
_SOURCE = (1280, 720)
_NETWORK = (640, 640)


def dali_files(context: Context) -> Mapping[str, Any]:
    """JPEG files: mixed decoding, letterbox and normalisation on the GPU."""
    return measure_files(context, device_id=0)


def dali_frames(context: Context) -> Mapping[str, Any]:
    """Raw RGB frames: letterbox and normalisation on the GPU."""
    return measure_frames(context, device_id=0)


def measure_files(context: Context, *, device_id: int | None) -> dict[str, Any]:
    """The same on CPU operators where device_id is None."""
    pipeline = _pipeline("decode", device_id)
    pictures = _pictures()
    files = [_jpeg(picture) for picture in pictures]
    tensors, _ = pipeline.files(files)
    facts = _parity(tensors, [_decoded(file) for file in files])
    return {**facts, "rate": rate(lambda: pipeline.files(files), lambda: None, _BATCH, context.seconds)}


def measure_frames(context: Context, *, device_id: int | None) -> dict[str, Any]:
    """The same on CPU operators where device_id is None."""
    pipeline = _pipeline("letterbox", device_id)
    pictures = _pictures()
    frames = [Frame.from_rgb(picture) for picture in pictures]
    tensors, _ = pipeline.frames(frames)
    facts = _parity(tensors, pictures)
    return {**facts, "rate": rate(lambda: pipeline.frames(frames), lambda: None, _BATCH, context.seconds)}


def _pipeline(kind: Any, device_id: int | None) -> Any:
    try:
        from sightline.preprocess_ext.dali import DaliPictures

        return DaliPictures(
            _spec().model_dump(),
            kind,
            batch=_BATCH,
            threads=4 if device_id is not None else 1,
            device_id=device_id,
        )
    except MissingDependencyError as error:
        raise NotRun(str(error)) from error


def _spec() -> InputSpec:
    return InputSpec(size=_NETWORK)


def _pictures() -> list[NDArray[np.uint8]]:
    """Soft random pictures: JPEG keeps them, and neighbouring pixels differ as in photographs."""
    width, height = _SOURCE
    random = np.random.default_rng(11)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    pictures = []
    for _ in range(_BATCH):
        phases = random.uniform(0, 6.28, (3, 4))
        steps = random.uniform(0.01, 0.12, (3, 4))
        channels = [
            128
            + 32
            * sum(np.sin(across * s + p) + np.sin(down * s - p) for s, p in zip(step, phase, strict=True))
            / 2
            for step, phase in zip(steps, phases, strict=True)
        ]
        pictures.append(np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8))
    return pictures


def _jpeg(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=92)
    return np.frombuffer(file.getvalue(), np.uint8)


def _decoded(file: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(file.tobytes())).convert("RGB"))


def _parity(tensors: NDArray[np.float32], pictures: list[NDArray[np.uint8]]) -> dict[str, Any]:
    """Differences from the C core in levels of 0..255."""
    from sightline.preprocess_ext.pixels import letterbox

    spec, width, height = _spec(), *_NETWORK
    wanted = np.empty((len(pictures), 3, height, width), np.float32)
    for picture, out in zip(pictures, wanted, strict=True):
        letterbox(Frame.from_rgb(picture), out, mean=spec.mean, std=spec.std, pad_value=spec.pad)
    levels = np.abs(tensors - wanted) * 255.0
    return {
        "against": "C core and Pillow on the CPU",
        "batch": len(pictures),
        "source": list(_SOURCE),
        "largest_difference_levels": float(levels.max()),
        "mean_difference_levels": float(levels.mean()),
        "share_within_2_levels": float((levels <= 2.0).mean()),
    }

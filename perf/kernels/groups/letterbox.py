# SPDX-License-Identifier: Apache-2.0
"""I420 frames of a drawn street to a network's float32 input, against OpenCV and DALI's CPU operators, one thread.

What "the same result" means here, checked before anything is timed, in levels of 255:
- ours equals cv2.resize of the three planes as floats, then the BT.601 matrix in float64, within 0.01;
- on the same frame without colour the peers' own path equals ours within 1: two roundings to 8 bits, half a level each.
  DALI gets 1.1: it rounds luma before the matrix multiplies it by 1.16.
In colour OpenCV's path lies further away at edges: it repeats each chroma sample four times before it resizes, we
interpolate chroma as a plane of its own. DALI has no I420 input: either OpenCV converts for it, or it gets planes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.frame import Frame
from sightline.perf.kernels.bench import Bench, Call, peer
from sightline.preprocess_ext import letterbox
from sightline.scenes import Scene

SIDE, PAD_LEVEL = 640, 114
DALI = "nvidia-dali-cuda130 optree"
SIZES = ((1280, 720), (1920, 1080))

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """One frame and where its picture lies in the input. i420: (height * 3 / 2, width); rows: of the resized picture."""

    i420: Bytes
    width: int
    height: int

    @property
    def rows(self) -> int:
        return round(self.height * SIDE / self.width)

    @property
    def top(self) -> int:
        return (SIDE - self.rows) // 2

    @property
    def text(self) -> str:
        return f"I420 {self.width}x{self.height} to {SIDE}x{SIDE} float32"

    @property
    def floor_bytes(self) -> int:
        return self.i420.nbytes + SIDE * SIDE * 12

    def grey(self) -> Task:
        plain = self.i420.copy()
        plain[self.height :] = 128
        return Task(plain, self.width, self.height)


def benches() -> Iterator[Bench]:
    cv2 = peer("cv2", "opencv-python-headless")
    cv2.setNumThreads(1)
    tasks = [draw(*size) for size in SIZES]
    for task in tasks:
        yield _against_opencv(task)
    for task in tasks:
        yield _against_dali(task)


def draw(width: int, height: int) -> Task:
    cv2 = peer("cv2", "opencv-python-headless")
    picture, _ = Scene(3, size=(width, height)).frame(2.0)
    return Task(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), width, height)


def _ours(task: Task) -> Call:
    out = np.empty((3, SIDE, SIDE), np.float32)
    frame = Frame(task.i420.reshape(-1), task.width, task.height)

    def run() -> Floats:
        letterbox(frame, out)
        return out

    return run


def _against_opencv(task: Task) -> Bench:
    paths = {"OpenCV blobFromImage": _opencv_blob, "OpenCV in place": _opencv_in_place}

    def check() -> None:
        _expect("planes by OpenCV", _ours(task)(), _opencv_planes(task), 0.01)
        for name, path in paths.items():
            _expect(name, _ours(task.grey())(), path(task.grey())(), 1.0)

    peers = {name: path(task) for name, path in paths.items()}
    return Bench("letterbox", task.text, _ours(task), peers, check, goal=3.0, floor_bytes=task.floor_bytes)


def _against_dali(task: Task) -> Bench:
    paths = {"OpenCV conversion, DALI": _dali_from_rgb, "DALI planes": _dali_from_planes}

    def check() -> None:
        for name, path in paths.items():
            _expect(name, _ours(task.grey())(), path(task.grey())(), 1.1)

    peers = {name: path(task) for name, path in paths.items()}
    return Bench("letterbox", f"{task.text}, DALI", _ours(task), peers, check, goal=10.0)


def _expect(name: str, ours: Any, theirs: Any, levels: float) -> None:
    most = float(
        np.abs(ours.astype(np.float64) - np.asarray(theirs, np.float64).reshape(ours.shape)).max() * 255
    )
    if most > levels:
        raise ValueError(f"{name} differs by {most:.3f} levels of 255; {levels} are allowed")


def _opencv_planes(task: Task) -> NDArray[np.float64]:
    """The definition once more: planes resized as floats, then the matrix, then the padding."""
    cv2 = peer("cv2", "opencv-python-headless")
    luma, chroma = np.split(task.i420.reshape(-1), [task.width * task.height])
    planes = [luma.reshape(task.height, task.width), *chroma.reshape(2, task.height // 2, task.width // 2)]
    sized = [cv2.resize(plane.astype(np.float32), (SIDE, task.rows)).astype(np.float64) for plane in planes]
    y, u, v = (sized[0] - 16) * (255 / 219), (sized[1] - 128) * (255 / 224), (sized[2] - 128) * (255 / 224)
    green = 1 - 0.299 - 0.114
    rgb = [y + 1.402 * v, y - (0.114 * 1.772 * u + 0.299 * 1.402 * v) / green, y + 1.772 * u]
    out = np.full((3, SIDE, SIDE), float(PAD_LEVEL))
    out[:, task.top : task.top + task.rows] = np.clip(rgb, 0, 255)
    return out / 255


def _opencv_blob(task: Task) -> Call:
    """What most programs do: a new array at each step."""
    cv2 = peer("cv2", "opencv-python-headless")
    border = (task.top, SIDE - task.rows - task.top, 0, 0)

    def run() -> Any:
        rgb = cv2.cvtColor(task.i420, cv2.COLOR_YUV2RGB_I420)
        small = cv2.resize(rgb, (SIDE, task.rows), interpolation=cv2.INTER_LINEAR)
        padded = cv2.copyMakeBorder(small, *border, cv2.BORDER_CONSTANT, value=(PAD_LEVEL,) * 3)
        return cv2.dnn.blobFromImage(padded, 1 / 255)

    return run


def _opencv_in_place(task: Task) -> Call:
    """As fast as OpenCV and numpy get: all arrays are kept, the border is written once."""
    cv2 = peer("cv2", "opencv-python-headless")
    rgb = np.empty((task.height, task.width, 3), np.uint8)
    padded = np.full((SIDE, SIDE, 3), PAD_LEVEL, np.uint8)
    inside = padded[task.top : task.top + task.rows]
    planes = [np.empty((SIDE, SIDE), np.uint8) for _ in range(3)]
    out, scale = np.empty((3, SIDE, SIDE), np.float32), np.float32(1 / 255)

    def run() -> Any:
        cv2.cvtColor(task.i420, cv2.COLOR_YUV2RGB_I420, dst=rgb)
        cv2.resize(rgb, (SIDE, task.rows), dst=inside, interpolation=cv2.INTER_LINEAR)
        cv2.split(padded, planes)
        for plane, target in zip(planes, out, strict=True):
            np.multiply(plane, scale, out=target)
        return out

    return run


def _dali_from_rgb(task: Task) -> Call:
    """OpenCV converts the frame, DALI does the rest."""
    cv2 = peer("cv2", "opencv-python-headless")
    rgb = np.empty((task.height, task.width, 3), np.uint8)

    def converted() -> list[Bytes]:
        return [cv2.cvtColor(task.i420, cv2.COLOR_YUV2RGB_I420, dst=rgb)]

    def graph(fn: Any, types: Any) -> Any:
        frames = fn.external_source(source=converted, no_copy=True, layout="HWC")
        return _dali_resize(fn, types, frames, task)

    return _dali(graph)


def _dali_from_planes(task: Task) -> Call:
    """All in DALI: three planes resized, then converted at the network's resolution."""
    luma, chroma = np.split(task.i420.reshape(-1), [task.width * task.height])
    planes = [
        luma.reshape(task.height, task.width, 1),
        *chroma.reshape(2, task.height // 2, task.width // 2, 1),
    ]

    def graph(fn: Any, types: Any) -> Any:
        sources = fn.external_source(
            source=lambda: [[plane] for plane in planes], num_outputs=3, no_copy=True, layout="HWC"
        )
        small = fn.cat(*[_dali_resize(fn, types, source, task) for source in sources], axis=2)
        return fn.color_space_conversion(small, image_type=types.YCbCr, output_type=types.RGB)

    return _dali(graph)


def _dali_resize(fn: Any, types: Any, frames: Any, task: Task) -> Any:
    return fn.resize(
        frames, resize_x=SIDE, resize_y=task.rows, interp_type=types.INTERP_LINEAR, antialias=False
    )


def _dali(graph: Callable[[Any, Any], Any]) -> Call:
    dali, fn = peer("nvidia.dali", DALI), peer("nvidia.dali.fn", DALI)
    pipeline = dali.Pipeline(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        pipeline.set_outputs(
            fn.crop_mirror_normalize(
                graph(fn, dali.types),
                crop=(SIDE, SIDE),
                mean=[0.0] * 3,
                std=[255.0] * 3,
                out_of_bounds_policy="pad",
                fill_values=[PAD_LEVEL / 255] * 3,
                output_layout="CHW",
            )
        )
    pipeline.build()
    return lambda: np.asarray(pipeline.run()[0].at(0))

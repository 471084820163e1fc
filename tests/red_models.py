# SPDX-License-Identifier: Apache-2.0
"""A real detector of pure red that follows the wire contract, to test clients to the pixel."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LABELS = ("other", "red")
BOX = (300.0, 100.0, 420.0, 180.0)
BUSY_SECONDS = 0.5
HOLD_SECONDS = 120.0  # against a hang only
QUEUE_SIZE = 12

# Boxes all pure red pixels of RGB frames and files; a pure blue first pixel keeps it busy for a while, and longer while
# the file `hold` lies in the repository.
_MODEL = f"""\
import io
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb
from PIL import Image, ImageOps


def value(request, name):
    tensor = pb.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def rgb_from_file(data):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data.tobytes()))).convert("RGB"))


def rgb_from_frame(data, info):
    width, height, pixel_format, _ = info.tolist()
    if data.size < width * height * 3 // 2:
        raise pb.TritonModelException("[bad_frame] the frame is too short")
    if pixel_format != 2:
        return np.zeros((height, width, 3), np.uint8)
    return data[: width * height * 3].reshape(height, width, 3)


def red_box(rgb):
    if (rgb[0, 0] == (0, 0, 255)).all():
        time.sleep({BUSY_SECONDS})
        end = time.monotonic() + {HOLD_SECONDS}
        while (HOLDING / "hold").exists() and time.monotonic() < end:
            time.sleep(0.01)
    rows, columns = np.nonzero((rgb == (255, 0, 0)).all(axis=-1))
    return [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]] if len(rows) else []


class TritonPythonModel:
    def initialize(self, args):
        global HOLDING
        HOLDING = Path(args["model_repository"]).parent

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        try:
            files = value(request, "IMAGE")
            if files is not None:
                boxes = red_box(rgb_from_file(files[0]))
            else:
                boxes = red_box(rgb_from_frame(value(request, "FRAME")[0], value(request, "FRAME_INFO")[0]))
        except Exception as error:
            text = str(error) if "[bad_" in str(error) else "[bad_image] this is no JPEG, PNG or WebP file"
            return pb.InferenceResponse(error=pb.TritonError(text, pb.TritonError.INVALID_ARG))
        n = len(boxes)
        return pb.InferenceResponse([
            pb.Tensor("COUNT", np.full((1, 1), n, np.int32)),
            pb.Tensor("BOXES", np.asarray(boxes, np.float32).reshape(1, n, 4)),
            pb.Tensor("SCORES", np.full((1, n), 0.75, np.float32)),
            pb.Tensor("CLASSES", np.ones((1, n), np.int32)),
            pb.Tensor("ERROR", np.array([[b""]], dtype=object)),
        ])
"""
_OUTPUTS = {
    "COUNT": ("TYPE_INT32", "1"),
    "BOXES": ("TYPE_FP32", "-1, 4"),
    "SCORES": ("TYPE_FP32", "-1"),
    "CLASSES": ("TYPE_INT32", "-1"),
    "ERROR": ("TYPE_STRING", "1"),
}
_FILES = {"IMAGE": ("TYPE_UINT8", "-1")}
_FRAMES = {"FRAME": ("TYPE_UINT8", "-1"), "FRAME_INFO": ("TYPE_INT32", "4")}


def write_repository(folder: Path, instances: int = 1) -> Path:
    """Ensembles `red` and `red_frames`, each over one Python model; at most QUEUE_SIZE requests wait."""
    for name, stage, inputs in (("red", "red_decode", _FILES), ("red_frames", "red_letterbox", _FRAMES)):
        (folder / stage / "1").mkdir(parents=True)
        (folder / stage / "1" / "model.py").write_text(_MODEL, encoding="utf-8")
        (folder / stage / "config.pbtxt").write_text(
            f'name: "{stage}"\nbackend: "python"\nmax_batch_size: 1\n'
            f"{_tensors('input', inputs)}{_tensors('output', _OUTPUTS)}"
            f"instance_group {{ kind: KIND_CPU count: {instances} }}\n"
            f"dynamic_batching {{ default_queue_policy {{ max_queue_size: {QUEUE_SIZE} }} }}\n",
            encoding="utf-8",
        )
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(_ensemble(name, stage, inputs), encoding="utf-8")
    return folder


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Meanwhile busy pictures are not answered, however slow the test is."""
    (folder / "hold").touch()
    try:
        yield
    finally:
        (folder / "hold").unlink()


def _tensors(kind: str, tensors: dict[str, tuple[str, str]]) -> str:
    return "".join(f'{kind} {{ name: "{n}" data_type: {t} dims: [{d}] }}\n' for n, (t, d) in tensors.items())


def _ensemble(name: str, stage: str, inputs: dict[str, tuple[str, str]]) -> str:
    maps = "".join(f'input_map {{ key: "{n}" value: "{n}" }} ' for n in inputs)
    maps += "".join(f'output_map {{ key: "{n}" value: "{n}" }} ' for n in _OUTPUTS)
    about = json.dumps(json.dumps({"task": "detect", "labels": LABELS, "version": 1}))
    return (
        f'name: "{name}"\nplatform: "ensemble"\nmax_batch_size: 1\n'
        f"{_tensors('input', inputs)}{_tensors('output', _OUTPUTS)}"
        f'ensemble_scheduling {{ step {{ model_name: "{stage}" model_version: -1 {maps}}} }}\n'
        f'parameters {{ key: "sightline" value {{ string_value: {about} }} }}\n'
    )


def picture(*, busy: bool = False, width: int = 640, height: int = 360) -> NDArray[np.uint8]:
    """Grey with a red rectangle at BOX; RGB of shape (height, width, 3). `busy` keeps the model at work."""
    image = np.full((height, width, 3), 90, np.uint8)
    x1, y1, x2, y2 = (int(v) for v in BOX)
    image[y1:y2, x1:x2] = (255, 0, 0)
    if busy:
        image[0, 0] = (0, 0, 255)
    return image


def encoded(image: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """The picture as a file without loss."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, lossless=True)
    return file.getvalue()

# SPDX-License-Identifier: Apache-2.0
"""Small real parts for the tests of streams and page: clips of a bright object, a client that finds it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from sightline.frame import Frame
from sightline.perf.cameras import clip_file
from sightline.results import Detections

LABELS = ("lamp", "pit")
OBJECT_SIZE = (96, 64)
BRIGHT = 190


def object_corner(number: int, width: int, height: int) -> tuple[int, int]:
    """Left and top of the object in picture `number`: it goes round and round, 8 pixels a picture."""
    return (number * 8) % (width - OBJECT_SIZE[0]), 40 + (number * 3) % (height - OBJECT_SIZE[1] - 80)


def make_clip(
    path: Path,
    *,
    seconds: float = 6.0,
    size: tuple[int, int] = (640, 360),
    codec: str = "libx264",
    rate: int = 15,
    b_frames: int = 0,
) -> Path:
    """A video file of a dark textured wall with one bright object that moves."""
    width, height = size
    random = np.random.default_rng(7)
    wall = random.integers(20, 60, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = rate
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "crf": "20", "bf": str(b_frames), "threads": "1"}
        for number in range(round(seconds * rate)):
            picture = np.array(wall[:height, :width])
            x, y = object_corner(number, width, height)
            picture[y : y + OBJECT_SIZE[1], x : x + OBJECT_SIZE[0]] = 245
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def find_object(frame: Frame) -> Detections:
    """The bounding box of the bright pixels of an I420 frame."""
    luma = frame.data[: frame.width * frame.height].reshape(frame.height, frame.width)
    rows, columns = np.flatnonzero((luma > BRIGHT).any(1)), np.flatnonzero((luma > BRIGHT).any(0))
    if not len(rows):
        return Detections.empty(LABELS)
    box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    return Detections(box, np.array([0.9], np.float32), np.zeros(1, np.int32), LABELS)


class BrightObjectClient:
    """Answers as Client.submit does, by looking for the bright object; `before` may wait or raise."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="bright")
        self._before = before

    def submit(self, model: str, image: Frame, *, timeout_seconds: float | None = None) -> Future[Detections]:
        """Look at the frame on another thread."""
        return self._pool.submit(self._answer, image)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _answer(self, frame: Frame) -> Detections:
        self._before()
        return find_object(frame)


def rtsp_clip(video: Path, path: Path) -> Path:
    """The H.264 of a video file as a clip that the RTSP server sends."""
    units: list[bytes] = []
    keyframes: list[int] = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        annex_b = BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in container.demux(stream):
            keyframes += [len(units)] if packet.size and packet.is_keyframe else []
            for made in annex_b.filter(packet) if packet.size else []:
                nals = [
                    n for n in clip_file.split_nals(bytes(made)) if clip_file.nal_type(n) != clip_file.NAL_SEI
                ]
                units.append(b"".join(clip_file.START_CODE + nal for nal in nals))
        size = stream.width, stream.height
    parameters = {clip_file.nal_type(nal): nal for nal in clip_file.split_nals(units[0])}
    sps, pps = parameters[clip_file.NAL_SPS], parameters[clip_file.NAL_PPS]
    clip_file.write_clip(clip_file.Clip(*size, 15, tuple(units), tuple(keyframes), sps, pps), path)
    return path


class RtspServer:
    """The real RTSP server on one clip, which can be killed, frozen and started again on its port."""

    def __init__(self, clip: Path, *, count: int = 1, user: str = "", password: str = "") -> None:
        self._config: dict[str, Any] = {"port": 0, "clips": [str(clip)] * count}
        if user:
            self._config |= {"user": user, "password": password}
        self._process: subprocess.Popen[str] | None = None

    @property
    def port(self) -> int:
        """Its port."""
        return int(self._config["port"])

    def url(self, camera: int = 0, login: str = "") -> str:
        """Address of a camera."""
        return f"rtsp://{login}127.0.0.1:{self.port}/camera/{camera}"

    def start(self) -> None:
        """Start, and wait until it listens."""
        script = Path(clip_file.__file__).with_name("gst_server.py")
        self._process = subprocess.Popen(
            ["/usr/bin/python3", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(self._config) + "\n")
        self._process.stdin.flush()
        self._config["port"] = json.loads(self._process.stdout.readline())["port"]

    def kill(self) -> None:
        """End it without a farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

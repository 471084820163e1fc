# SPDX-License-Identifier: Apache-2.0
"""What is played: drawn streets as H.264 files, and the boxes that stand in for a network's answer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from sightline.perf.cameras.clip_file import Clip, read_clip
from sightline.perf.cameras.clips import Progress, rendered_clips
from sightline.perf.cameras.render import ClipSpec
from sightline.perf.cameras.server import FIRST_SEED
from sightline.results import Detections

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
LABELS = ("car", "person", "bicycle")
DRAWN_FRAMES = 600


def clip_specs(
    count: int, size: tuple[int, int], frames_per_second: int = 15, seconds: float = 8.0
) -> list[ClipSpec]:
    """Streets of different scenes, every second one at night; the scenes of `sightline cameras`."""
    return [
        ClipSpec(FIRST_SEED + i, *size, frames_per_second, seconds, night=bool(i % 2)) for i in range(count)
    ]


def video_files(specs: Sequence[ClipSpec], folder: Path, progress: Progress | None = None) -> list[Path]:
    """One MP4 file for each spec with the clip's own H.264, nothing encoded again."""
    files = []
    for number, path in enumerate(rendered_clips(specs, progress)):
        target = folder / f"street-{number}-{specs[number].width}x{specs[number].height}.mp4"
        if not target.exists():
            write_video(read_clip(path), target)
        files.append(target)
    return files


def write_video(clip: Clip, path: Path) -> None:
    """The clip as an MP4 file."""
    import av

    period = Fraction(1, clip.frames_per_second)
    with (
        av.open(io.BytesIO(b"".join(clip.access_units)), "r", format="h264") as source,
        av.open(str(path), "w") as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.time_base = period
        number = 0
        for packet in source.demux(video=0):
            if not packet.size:
                continue
            packet.stream, packet.time_base = stream, period
            packet.pts = packet.dts = number
            packet.duration = 1
            number += 1
            target.mux(packet)


def drawn_boxes(objects: int, size: tuple[int, int], frames: int = DRAWN_FRAMES) -> list[Detections]:
    """Objects that walk on and turn round at the edges, with a little noise: what a detector says of a street."""
    random = np.random.default_rng(17)
    width, height = size
    at = random.uniform(0.1, 0.9, (objects, 2)) * size
    step = random.normal(0, 3, (objects, 2))
    tall = random.uniform(0.04, 0.2, objects) * height
    half = np.stack([tall * random.uniform(0.4, 1.4, objects), tall], 1) / 2
    classes = (np.arange(objects) % len(LABELS)).astype(np.int32)
    drawn = []
    for _ in range(frames):
        at += step
        step[(at < 0) | (at > size)] *= -1
        boxes = np.concatenate([at - half, at + half], 1) + random.normal(0, 0.7, (objects, 4))
        boxes = np.clip(boxes, 0, (width, height, width, height)).astype(np.float32)
        scores = np.sort(random.uniform(0.4, 0.95, objects).astype(np.float32))[::-1].copy()
        drawn.append(Detections(boxes, scores, classes, LABELS, size=size))
    return drawn

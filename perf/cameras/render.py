# SPDX-License-Identifier: Apache-2.0
"""Draws one clip and encodes it, as a process: `python -m sightline.perf.cameras.render SPEC CLIP TRUTH`.

Prints the number of frames done, one line each, so that the starter can show progress.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sightline.perf.cameras.clip_file import (
    NAL_IDR,
    NAL_PPS,
    NAL_SEI,
    NAL_SPS,
    START_CODE,
    Clip,
    nal_type,
    split_nals,
    write_clip,
)

if TYPE_CHECKING:
    import av

    from sightline.scenes import SceneTruth

BITS_PER_SECOND_720P15 = 2_000_000
FRAME_MARK = b"sightline/frame/"
"""UUID of the SEI message that carries a picture's index in its clip, as decimal digits."""
_SEI_USER_DATA_UNREGISTERED = 5


@dataclass(frozen=True)
class ClipSpec:
    """What to draw. `night` and `rain` None: the scene's seed decides."""

    seed: int
    width: int = 1280
    height: int = 720
    frames_per_second: int = 15
    seconds: float = 20.0
    night: bool | None = None
    rain: bool | None = None

    @property
    def frame_count(self) -> int:
        return max(1, round(self.seconds * self.frames_per_second))


def encoder(spec: ClipSpec) -> av.VideoCodecContext:
    """libx264 as cameras set it: closed one-second groups, no B-frames, one slice, BT.709 limited range."""
    import av

    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height = spec.width, spec.height
    codec.pix_fmt = "yuv420p"
    codec.framerate = Fraction(spec.frames_per_second)
    codec.time_base = 1 / codec.framerate
    pixels_per_second = spec.width * spec.height * spec.frames_per_second
    codec.bit_rate = max(100_000, round(BITS_PER_SECOND_720P15 * pixels_per_second / (1280 * 720 * 15)))
    codec.gop_size = spec.frames_per_second
    codec.max_b_frames = 0
    # Slice threads would split each picture into NAL units that FFmpeg's RTP reader takes for frames.
    codec.thread_type, codec.thread_count = "FRAME", 1
    codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range = 1, 1, 1, 1
    codec.options = {
        "preset": "ultrafast",
        "x264-params": "scenecut=0:open-gop=0:sliced-threads=0:rc-lookahead=0:cabac=1:no-deblock=0",
        "maxrate": str(round(codec.bit_rate * 1.5)),
        "bufsize": str(codec.bit_rate),
    }
    return codec


def frame_mark(index: int) -> bytes:
    """SEI NAL unit with a picture's index in its clip (ITU-T H.264, D.1.7); no byte needs escaping."""
    payload = FRAME_MARK + b"%d" % index
    return bytes([NAL_SEI, _SEI_USER_DATA_UNREGISTERED, len(payload)]) + payload + b"\x80"


def marked(nals: list[bytes], index: int) -> bytes:
    """One access unit in Annex B with its frame mark in front of the picture's slices."""
    kept = [nal for nal in nals if nal_type(nal) != NAL_SEI]
    first_slice = next(i for i, nal in enumerate(kept) if nal_type(nal) in (1, NAL_IDR))
    ordered = [*kept[:first_slice], frame_mark(index), *kept[first_slice:]]
    return b"".join(START_CODE + nal for nal in ordered)


def render(spec: ClipSpec, progress: Callable[[int], None]) -> tuple[Clip, list[SceneTruth]]:
    """Draw and encode every frame of the spec; `progress` gets the number of frames drawn so far."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    from sightline.scenes import Scene

    scene = Scene(spec.seed, size=(spec.width, spec.height), night=spec.night, rain=spec.rain)
    codec = encoder(spec)
    packets, truths = [], []
    for index in range(spec.frame_count):
        rgb, truth = scene.frame(index / spec.frames_per_second)
        truths.append(truth)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts = index
        packets.extend(codec.encode(picture))
        progress(index + 1)
    packets.extend(codec.encode(None))
    return _clip(spec, [split_nals(bytes(packet)) for packet in packets]), truths


def _clip(spec: ClipSpec, pictures: list[list[bytes]]) -> Clip:
    if len(pictures) != spec.frame_count:
        raise RuntimeError(f"libx264 gave {len(pictures)} access units for {spec.frame_count} frames")
    parameter_sets = {nal_type(nal): nal for nal in pictures[0]}
    return Clip(
        spec.width,
        spec.height,
        spec.frames_per_second,
        tuple(marked(nals, index) for index, nals in enumerate(pictures)),
        tuple(i for i, nals in enumerate(pictures) if any(nal_type(nal) == NAL_IDR for nal in nals)),
        parameter_sets[NAL_SPS],
        parameter_sets[NAL_PPS],
    )


def write_truth(truths: list[SceneTruth], path: Path) -> None:
    """Sidecar of a clip (.npz): `counts` (F,) and `ignore_counts` (F,) are the rows of each frame."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            np.savez_compressed(
                file,
                counts=np.array([len(truth.boxes) for truth in truths], np.int64),
                boxes=np.concatenate([truth.boxes for truth in truths]),
                classes=np.concatenate([truth.classes for truth in truths]),
                visible=np.concatenate([truth.visible for truth in truths]),
                ids=np.concatenate([truth.ids for truth in truths]),
                ignore_counts=np.array([len(truth.ignore) for truth in truths], np.int64),
                ignore=np.concatenate([truth.ignore for truth in truths]),
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def main() -> None:
    import cv2

    cv2.setNumThreads(1)  # one process a core draws already
    spec = ClipSpec(**json.loads(sys.argv[1]))
    clip, truths = render(spec, lambda done: print(done, flush=True))
    write_truth(truths, Path(sys.argv[3]))
    write_clip(clip, Path(sys.argv[2]))


if __name__ == "__main__":
    main()

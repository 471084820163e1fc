# SPDX-License-Identifier: Apache-2.0
"""Track ids equal, frame by frame, to what the references said (tests/peers/record_tracks.py recorded it)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.preprocess_ext import CPU_LEVELS, ByteTrack, Sort, Tracker, assign, cpu_limit, update_all
from sightline.results import Detections
from tests.track_scenes import BYTE_OPTIONS, GRID, SCENES, SORT_OPTIONS

DATA = Path(__file__).resolve().parent / "data" / "peers"
BYTE = np.load(DATA / "tracks_bytetrack.npz")
SORT = np.load(DATA / "tracks_sort.npz")
ASSIGN = np.load(DATA / "tracks_assign.npz")


def frames_of(scene: str) -> list[Detections]:
    boxes = BYTE[f"{scene}/boxes"].astype(np.float32) / GRID
    scores = BYTE[f"{scene}/scores"].astype(np.float32) / 4096
    ends = np.cumsum(BYTE[f"{scene}/counts"].astype(int))[:-1]
    return [
        Detections(box, score, np.zeros(len(score), np.int32))
        for box, score in zip(np.split(boxes, ends), np.split(scores, ends), strict=True)
    ]


def ids_of(scene: str, options: ByteTrack | Sort) -> list[NDArray[np.int64]]:
    recorded = BYTE if isinstance(options, ByteTrack) else SORT
    ends = np.cumsum(BYTE[f"{scene}/counts"].astype(int))[:-1]
    return np.split(recorded[f"{scene}/ids"].astype(np.int64), ends)


CASES = [
    pytest.param(scene, options[scene], id=f"{method}-{scene}")
    for method, options in (("bytetrack", BYTE_OPTIONS), ("sort", SORT_OPTIONS))
    for scene in SCENES
]


@pytest.mark.parametrize("level", CPU_LEVELS)
@pytest.mark.parametrize(("scene", "options"), CASES)
def test_ids_equal_the_reference(scene: str, options: ByteTrack | Sort, level: str) -> None:
    tracker = Tracker(options)
    with cpu_limit(level):
        for number, (frame, expected) in enumerate(
            zip(frames_of(scene), ids_of(scene, options), strict=True)
        ):
            np.testing.assert_array_equal(tracker.update(frame), expected, err_msg=f"frame {number}")


def test_all_cameras_in_one_call() -> None:
    """Each camera goes its own way, whatever its neighbours see: fourteen scenes of unequal length at once."""
    cases = [(scene, options) for scene in SCENES for options in (BYTE_OPTIONS[scene], SORT_OPTIONS[scene])]
    frames = [frames_of(scene) for scene, _ in cases]
    expected = [ids_of(scene, options) for scene, options in cases]
    trackers = [Tracker(options) for _, options in cases]
    for number in range(max(map(len, frames))):
        live = [camera for camera in range(len(cases)) if number < len(frames[camera])]
        told = update_all([trackers[camera] for camera in live], [frames[camera][number] for camera in live])
        for camera, ids in zip(live, told, strict=True):
            np.testing.assert_array_equal(
                ids, expected[camera][number], err_msg=f"{cases[camera]}, frame {number}"
            )


@pytest.mark.parametrize(("options", "recorded"), [(BYTE_OPTIONS, BYTE), (SORT_OPTIONS, SORT)])
def test_boxes_of_the_tracks_told(
    options: dict[str, ByteTrack | Sort], recorded: dict[str, NDArray[np.float32]]
) -> None:
    """The filter's boxes, against the reference's full covariance matrices."""
    tracker, found = Tracker(options["crossing"]), []
    for frame in frames_of("crossing"):
        ids = tracker.update(frame)
        tracks = tracker.tracks()
        seen = tracks.states == 0
        np.testing.assert_array_equal(ids[tracks.detections[seen]], tracks.ids[seen])
        found.append(tracks.boxes[seen])
    np.testing.assert_allclose(np.concatenate(found), recorded["crossing/tracks"], rtol=0, atol=2e-3)


@pytest.mark.parametrize("number", range(len(ASSIGN.files) // 4))
def test_assignment_equals_lap(number: int) -> None:
    column_of_row, row_of_column = assign(ASSIGN[f"{number}/costs"], float(ASSIGN[f"{number}/limit"]))
    np.testing.assert_array_equal(column_of_row, ASSIGN[f"{number}/column_of_row"])
    np.testing.assert_array_equal(row_of_column, ASSIGN[f"{number}/row_of_column"])

# SPDX-License-Identifier: Apache-2.0
"""Records what the reference trackers say about drawn scenes, for tests/test_tracks_peers.py.

ByteTrack: ultralytics' BYTETracker (with lap). SORT: sort.py of github.com/abewley/sort, whose path is given, with
filterpy and lap. Assignment: lap.lapjv. Usage:

    python tests/peers/record_tracks.py path/to/sort.py           # writes tests/data/peers/tracks_*.npz
    python tests/peers/record_tracks.py path/to/sort.py --try 200 # compares that many further scenes, writes nothing
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sightline.preprocess_ext import ByteTrack, Sort, Tracker
from sightline.results import Detections
from tests.track_scenes import BYTE_OPTIONS, GRID, SCENES, SORT_OPTIONS, Scene, draw

DATA = Path(__file__).resolve().parents[1] / "data" / "peers"


def byte_ids(options: ByteTrack, frames: list[Detections]) -> tuple[list[Any], list[Any]]:
    """Ids aligned with detections (0 none), and the boxes of the tracks told, both frame by frame."""
    from ultralytics.engine.results import Boxes
    from ultralytics.trackers.byte_tracker import BYTETracker

    args = types.SimpleNamespace(
        track_high_thresh=options.high_score,
        track_low_thresh=options.low_score,
        new_track_thresh=options.new_score,
        track_buffer=options.buffer_frames,
        match_thresh=options.match_cost,
        fuse_score=options.fuse_score,
    )
    tracker, ids, boxes = BYTETracker(args), [], []
    for frame in frames:
        rows = np.column_stack([frame.boxes, frame.scores, frame.classes]).astype(np.float32)
        told = tracker.update(Boxes(rows.reshape(-1, 6), (720, 1280))).reshape(-1, 8)
        aligned = np.zeros(len(frame), np.int64)
        aligned[told[:, 7].astype(int)] = told[:, 4].astype(int)
        ids.append(aligned)
        boxes.append(told[:, :4].astype(np.float32))
    return ids, boxes


def sort_ids(module: Any, options: Sort, frames: list[Detections]) -> tuple[list[Any], list[Any]]:
    """The same of sort.py; a track told is aligned with the detection that it was corrected with."""
    module.KalmanBoxTracker.count = 0
    tracker = module.Sort(options.max_age, options.min_hits, options.iou)
    ids, boxes = [], []
    taken: list[tuple[Any, Any]] = []
    module.note = taken.append
    for frame in frames:
        taken.clear()
        rows = np.column_stack([frame.boxes, frame.scores]).astype(np.float64).reshape(-1, 5)
        told = tracker.update(rows)
        box_of = {int(kalman.id) + 1: box for kalman, box in taken}
        aligned = np.zeros(len(frame), np.int64)
        for row in told:
            place = np.flatnonzero((rows[:, :4] == box_of[int(row[4])][:4]).all(1))
            aligned[place[0]] = int(row[4])
        ids.append(aligned)
        boxes.append(told[::-1, :4].astype(np.float32))
    return ids, boxes


def load_sort(path: Path) -> Any:
    """sort.py as a module, which notes which box each filter was made or corrected with."""
    for name in ("matplotlib", "matplotlib.pyplot", "matplotlib.patches", "skimage", "skimage.io"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["matplotlib"].use = lambda *_: None  # type: ignore[attr-defined]
    sys.modules["skimage"].io = sys.modules["skimage.io"]  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("reference_sort", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    base = module.KalmanBoxTracker
    base_init, base_update = base.__init__, base.update

    def init(self: Any, box: Any) -> None:
        base_init(self, box)
        module.note((self, box))

    def update(self: Any, box: Any) -> None:
        base_update(self, box)
        module.note((self, box))

    base.__init__, base.update = init, update
    return module


def packed(frames: list[Detections], ids: list[Any]) -> dict[str, Any]:
    """The frames as 16-bit numbers, one after the other, with the ids."""
    boxes = np.concatenate([frame.boxes for frame in frames])
    return {
        "counts": np.array([len(frame) for frame in frames], np.uint16),
        "boxes": np.round(boxes * GRID).astype(np.int16),
        "scores": np.round(np.concatenate([frame.scores for frame in frames]) * 4096).astype(np.uint16),
        "ids": np.concatenate(ids).astype(np.uint16),
    }


def record(sort_path: Path) -> None:
    module = load_sort(sort_path)
    byte: dict[str, Any] = {}
    sort: dict[str, Any] = {}
    for name, scene in SCENES.items():
        frames = draw(scene)
        ids, boxes = byte_ids(BYTE_OPTIONS[name], frames)
        sorted_ids, sorted_boxes = sort_ids(module, SORT_OPTIONS[name], frames)
        byte |= {f"{name}/{key}": value for key, value in packed(frames, ids).items()}
        sort[f"{name}/ids"] = np.concatenate(sorted_ids).astype(np.uint16)
        if name == "crossing":
            byte["crossing/tracks"], sort["crossing/tracks"] = (
                np.concatenate(boxes),
                np.concatenate(sorted_boxes),
            )
        print(name, "detections", sum(map(len, frames)), "ids", max(i.max(initial=0) for i in ids))
    np.savez_compressed(DATA / "tracks_bytetrack.npz", **byte)
    np.savez_compressed(DATA / "tracks_sort.npz", **sort)
    np.savez_compressed(DATA / "tracks_assign.npz", **assignments())


def assignments() -> dict[str, Any]:
    """lap.lapjv on random costs: rectangular, sparse below the limit, dense."""
    import lap

    rng = np.random.default_rng(8)
    found: dict[str, Any] = {}
    shapes = [(1, 1), (1, 7), (6, 1), (5, 9), (9, 5), (12, 12), (20, 14), (60, 50)]
    for number, (rows, columns) in enumerate(shape for shape in shapes for _ in range(4)):
        costs = rng.uniform(0, 1, (rows, columns)).astype(np.float32)
        limit = (0.1, 0.3, 0.7, 0.95)[number % 4]
        _, column_of_row, row_of_column = lap.lapjv(costs, extend_cost=True, cost_limit=limit)
        found |= {
            f"{number}/costs": costs,
            f"{number}/limit": np.float64(limit),
            f"{number}/column_of_row": column_of_row.astype(np.int16),
            f"{number}/row_of_column": row_of_column.astype(np.int16),
        }
    return found


def random_scene(rng: np.random.Generator, seed: int) -> Scene:
    size = int(rng.integers(200, 1300))
    return Scene(
        int(rng.integers(1, 60)),
        int(rng.integers(10, 90)),
        seed,
        size=(size, size * 9 // 16),
        speed=float(rng.uniform(0, 20)),
        noise=float(rng.uniform(0, 5)),
        hide=float(rng.choice([0, 0.02, 0.2])),
        hide_frames=int(rng.integers(1, 50)),
        die=float(rng.choice([0, 0.01, 0.1])),
        low=float(rng.choice([0, 0.2, 0.7])),
        double=float(rng.choice([0, 0.1])),
        false=float(rng.choice([0, 3])),
        empty=float(rng.choice([0, 0.05])),
    )


def random_options(rng: np.random.Generator) -> tuple[ByteTrack, Sort]:
    high = float(rng.choice([0.25, 0.5, 0.6]))
    return ByteTrack(
        high_score=high,
        low_score=0.1,
        new_score=float(rng.choice([high, high + 0.1])),
        match_cost=float(rng.choice([0.5, 0.7, 0.8, 0.9, 0.99])),
        fuse_score=bool(rng.integers(2)),
        buffer_frames=int(rng.choice([0, 1, 3, 30, 60])),
        max_tracks=1024,
    ), Sort(int(rng.integers(0, 30)), int(rng.integers(0, 5)), float(rng.choice([0.1, 0.3, 0.6])), 1024)


def compare(sort_path: Path, scenes: int) -> None:
    """Prints each scene whose ids differ."""
    module = load_sort(sort_path)
    rng = np.random.default_rng(99)
    wrong = {"bytetrack": 0, "sort": 0}
    detections = 0
    for number in range(scenes):
        frames = draw(random_scene(rng, 1000 + number))
        byte, sort = random_options(rng)
        detections += sum(map(len, frames))
        for name, options, ids in (
            ("bytetrack", byte, byte_ids(byte, frames)[0]),
            ("sort", sort, sort_ids(module, sort, frames)[0]),
        ):
            tracker = Tracker(options)
            for at, (frame, expected) in enumerate(zip(frames, ids, strict=True)):
                if not np.array_equal(tracker.update(frame), expected):
                    wrong[name] += 1
                    print(f"{name}: scene {number} differs in frame {at}: {options}")
                    break
    print(f"{scenes} scenes, {detections} detections; different: {wrong}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sort", type=Path)
    parser.add_argument("--try", dest="scenes", type=int, default=0)
    given = parser.parse_args()
    compare(given.sort, given.scenes) if given.scenes else record(given.sort)

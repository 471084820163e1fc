# SPDX-License-Identifier: Apache-2.0
"""The measurements of streams: their arithmetic, and each way of working on real clips for a moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sightline.clients.config.watch_file import Camera
from sightline.clients.streams.pictures import frame_from_picture
from sightline.errors import BadInputError, SightlineError, StreamError
from sightline.perf.cameras.render import ClipSpec
from sightline.perf.streams.footprint import footprint, memory_mb
from sightline.perf.streams.material import drawn_boxes, video_files
from sightline.perf.streams.ours import DEADLINE_SECONDS, age_figures
from sightline.perf.streams.picture import draw_picture
from sightline.perf.streams.plan import SECTIONS, checked_rates, checked_sections
from sightline.perf.streams.serving import most_cameras
from sightline.perf.streams.stub import StubClient
from sightline.perf.streams.table import Bar, bars
from sightline.perf.streams.turns import Comparison, in_turns
from sightline.perf.streams.ways import open_way, opencv_letterbox
from sightline.perf.streams.worker import Turn, Worker
from sightline.preprocess_ext import letterbox

SIZE = (320, 192)
NETWORK = (192, 128)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a small drawn street."""
    spec = ClipSpec(20_000_000, *SIZE, 15, 2.0, night=False)
    return video_files([spec], tmp_path_factory.mktemp("streams"))[0]


def first_picture(file: Path) -> Any:
    with av.open(str(file)) as container:
        return next(container.decode(video=0))


def test_a_clip_becomes_a_video_file_with_all_its_pictures(file: Path) -> None:
    with av.open(str(file)) as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) == 30
    assert (pictures[0].width, pictures[0].height) == SIZE
    assert [p.pts for p in pictures] == sorted(p.pts for p in pictures)


def test_drawn_boxes_stay_in_the_picture_and_best_come_first() -> None:
    drawn = drawn_boxes(12, SIZE, 40)
    assert len(drawn) == 40
    for detections in drawn:
        assert len(detections) == 12
        assert (detections.boxes[:, :2] >= 0).all()
        assert (detections.boxes[:, 2:] <= SIZE).all()
        assert (np.diff(detections.scores) <= 0).all()


def test_the_stub_letterboxes_and_answers_at_once(file: Path) -> None:
    client = StubClient(12, NETWORK, SIZE)
    pending = client.submit("any", frame_from_picture(first_picture(file)), timeout_seconds=1.0)
    called: list[object] = []
    pending.add_done_callback(called.append)
    assert called == [pending]
    assert len(pending.result(0)) == 12
    assert pending.done()
    assert not pending.cancel()


def test_both_letterboxes_make_the_same_picture(file: Path) -> None:
    """The peer does the same work: its tensor differs from ours by the rounding to bytes and the conversion alone."""
    picture = first_picture(file)
    ours = np.empty((3, NETWORK[1], NETWORK[0]), np.float32)
    letterbox(frame_from_picture(picture), ours)
    theirs = opencv_letterbox(picture.to_ndarray(format="bgr24"), *NETWORK)
    assert theirs.shape == (1, *ours.shape)
    assert np.abs(ours - theirs[0]).mean() < 0.02


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bare", {}),
        ("opencv", {"network": NETWORK, "size": SIZE, "decoder_threads": 1}),
        ("ours", {"network": NETWORK, "size": SIZE}),
    ],
)
def test_each_way_works_through_real_files_in_turns(file: Path, kind: str, options: dict[str, Any]) -> None:
    with Worker(kind, sources=[str(file), str(file)], **options) as worker:
        turns = in_turns({"it": worker}, 2, 1.5, lambda text: None, "case", warm_up=0.1)["it"]
        assert worker.pid != os.getpid()
    assert len(turns) == 2
    for turn in turns:
        assert turn.frames > 0
        assert turn.cpu_seconds > 0
        assert turn.seconds >= 1.5
    if kind == "ours":
        assert turns[0].more["adds_up"]
        assert set(turns[0].more["dropped"]) <= {"stopped"}  # files that are not paced hold back
        assert turns[0].more["ages_ms"]["p50"] > 0


def test_a_worker_that_cannot_work_is_an_error() -> None:
    with pytest.raises(SightlineError, match="there is no way 'rain'"):
        open_way("rain")
    with pytest.raises(StreamError, match="see its message above"):
        Worker("rain")


def turn(rate: float, cpu_ms: float) -> Turn:
    return Turn(round(rate * 10), 10.0, rate * 10 * cpu_ms / 1e3)


def test_ratios_are_of_the_turns_that_lie_next_to_each_other() -> None:
    turns = {"ours": (turn(80, 2.0), turn(45, 2.0)), "theirs": (turn(100, 1.0), turn(50, 1.5))}
    comparison = Comparison("case", turns, {"theirs": 0.8})
    assert comparison.ratios("theirs") == pytest.approx([0.8, 0.9])
    assert comparison.ratio("theirs", "cpu") == pytest.approx(0.625)
    document = comparison.as_json()
    assert document["ratios"]["theirs"]["goal"] == 0.8
    assert document["ways"]["ours"]["frames_per_second"] == pytest.approx(62.5)
    json.dumps(document)


@pytest.mark.parametrize("most", [0, 1, 2, 7, 19, 40, 100, 200])
@pytest.mark.parametrize("guess", [1, 10, 60])
def test_the_most_cameras_are_found_in_few_steps(most: int, guess: int) -> None:
    asked: list[int] = []

    def carries(count: int) -> bool:
        asked.append(count)
        return count <= most

    found = most_cameras(carries, guess, 200)
    assert found <= most
    assert found >= most - max(1, most // 20)
    assert len(asked) <= 25
    assert max(asked) <= 200


def test_ages_are_told_of_all_and_of_each_window() -> None:
    ages = [(second / 10, 0.010 if second < 100 else 0.020) for second in range(200)]
    figures = age_figures(ages)
    assert [window["p50"] for window in figures["windows_ms"]] == [10.0, 20.0]
    assert figures["ages_ms"]["p99"] == 20.0
    hour = age_figures([(second, 0.010) for second in range(3600)])
    assert (hour["window_seconds"], len(hour["windows_ms"])) == (60.0, 60)
    assert figures["later_ages_ms"] == {"p50": 20.0, "p95": 20.0, "p99": 20.0}
    assert age_figures(ages[:50])["later_ages_ms"]["p99"] == 10.0
    one_window = [(second / 10, 0.5 if 500 <= second < 600 else 0.010) for second in range(1100)]
    assert age_figures(one_window)["later_ages_ms"]["p99"] == 500.0


def test_our_deadline_is_that_of_a_cameras_file() -> None:
    assert Camera.model_fields["deadline_seconds"].default == DEADLINE_SECONDS
    assert age_figures([])["ages_ms"] is None


def test_the_footprint_sees_threads_descriptors_and_memory() -> None:
    before = footprint()
    assert before.rss_mb > 10
    assert before.threads >= 1
    with open(os.devnull):
        assert footprint().descriptors == before.descriptors + 1
    assert 10 < memory_mb([os.getpid()]) <= before.rss_mb + 50
    assert memory_mb([2**22 + 1]) == 0


def test_rates_are_checked() -> None:
    assert checked_rates("5, 10") == (5, 10)
    for wrong in ("", "0", "5,,10", "2.5", "-1", "61", "²"):
        with pytest.raises(BadInputError, match="--rates is"):
            checked_rates(wrong)


def test_sections_are_checked() -> None:
    assert checked_sections([]) == SECTIONS
    assert checked_sections(["memory"]) == ("memory",)
    with pytest.raises(BadInputError, match="there is no section 'rain'"):
        checked_sections(["rain"])


@pytest.fixture
def content() -> dict[str, Any]:
    """A document as it is written, with figures of each section."""
    ways = {
        name: {"frames_per_second": 100.0, "cpu_ms_a_frame": 2.0, "cores_used": 2.0}
        for name in ("ours", "other")
    }
    ratios = {"other": {"ratio": 0.7, "rounds": [0.7], "by_cpu_time": 0.7, "goal": 0.8}}
    ages = {"p50": 10.0, "p95": 14.0, "p99": 50.0}
    camera = {
        "rate": 10,
        "cameras": 8,
        "cameras_at_80_percent": 6,
        "minutes": 1.0,
        "inference_ms": 10.0,
        "p99_limit_ms": 43.0,
        "p95_by_p50": 1.4,
        "p95_by_p50_goal": 1.5,
        "p99_slope_ms_an_hour": 0.1,
        "ages_ms": ages,
        "window_seconds": 10.0,
        "ages_ms_by_window": [ages, ages],
    }
    print_ = {"threads": 9, "descriptors": 30, "shared_memory_files": 2}
    return {
        "machine": {"cores": 2, "processor": "one"},
        "decoding": {"rows": [{"case": "files", "by": "rate", "ways": ways, "ratios": ratios}]},
        "network": {
            "answered": {
                "ratio": 0.95,
                "goal": 0.9,
                "ours_frames_per_second": 95.0,
                "bare_frames_per_second": 100.0,
            },
            "cameras": [camera],
        },
        "ultralytics": {
            "rows": [
                {
                    "rate": 10,
                    "ours": 8,
                    "ultralytics_one_call": 3,
                    "ultralytics_a_thread_a_camera": 2,
                    "ratio": 2.7,
                    "goal": 2.0,
                }
            ]
        },
        "memory": {
            "mb_a_camera": 20.0,
            "goal_mb_a_camera": 60.0,
            "changes": {
                "changes": 10,
                "rss_growth_mb": 1.0,
                "rss_growth_limit_mb": 10.0,
                "before": print_,
                "after": print_,
            },
        },
    }


def test_figures_are_held_against_their_goals(content: dict[str, Any]) -> None:
    found = {bar.name: bar for name in SECTIONS for bar in bars(name, content[name])}
    assert not found["files: ours to other"].holds
    assert found["frames answered, of the bare engine's"].holds
    assert not found["6 cameras at 10 a second, 1 minutes: p99"].holds
    assert found["6 cameras at 10 a second, 1 minutes: p95/p50"].holds
    assert found["memory a 720p camera"].holds
    assert Bar("without a goal", 1.0, None, "").holds


def test_the_picture_is_drawn(content: dict[str, Any], tmp_path: Path) -> None:
    draw_picture(content, tmp_path / "streams.png")
    assert (tmp_path / "streams.png").read_bytes().startswith(b"\x89PNG")
    draw_picture({"machine": content["machine"], "decoding": content["decoding"]}, tmp_path / "part.png")
    assert (tmp_path / "part.png").exists()

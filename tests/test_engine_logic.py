# SPDX-License-Identifier: Apache-2.0
"""The engine's parts without camera, server or clock: rates, lives, restarts, what is decoded, metrics."""

from __future__ import annotations

import itertools
import math
import random
import re
import threading
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.clients._transport import QUEUE_SHARE
from sightline.clients.streams.counters import DROP_MEANINGS, CameraCounters, DropReason
from sightline.clients.streams.decoder import is_disposable
from sightline.clients.streams.flow import FlowLimit
from sightline.clients.streams.folder import images_of, picture_of
from sightline.clients.streams.gate import ServerGate
from sightline.clients.streams.lane import Lane
from sightline.clients.streams.life import CameraLife, ServerLife
from sightline.clients.streams.metrics import prometheus_text
from sightline.clients.streams.names import Source
from sightline.clients.streams.pictures import FramePool
from sightline.clients.streams.reconnect import HostPacer, LinkState, Reconnect
from sightline.clients.streams.restarts import MOST_RESTARTS, WINDOW_SECONDS, CrashLoop
from sightline.clients.streams.schedule import Picker, RateSchedule
from sightline.errors import DeadlineExceeded, StreamError
from sightline.frame import ColourSpace, Frame, PixelFormat
from tests.streams_parts import make_clip
from tests.test_streams_logic import ByHand, frame_at

# Rates


@settings(deadline=None, max_examples=40)
@given(
    st.floats(0.2, 60.0),
    st.sampled_from([5.0, 12.5, 15.0, 24.0, 25.0, 29.97, 30.0, 60.0]),
    st.floats(0.0, 0.2),
    st.integers(0, 1000),
)
def test_a_rate_is_kept_exactly(rate: float, camera: float, jitter: float, seed: int) -> None:
    """Over any time, pictures taken = rate x time to within one; a camera that is slower gives all it has."""
    noise = random.Random(seed)
    times = sorted(n / camera + noise.uniform(-jitter, jitter) / camera for n in range(600))
    schedule = RateSchedule(rate)
    taken = [t for t in times if schedule.take(t)]
    for first, last in ((0, len(taken) - 1), (len(taken) // 3, 2 * len(taken) // 3)):
        assert last - first <= (taken[last] - taken[first]) * rate + 1.5
    least = min(rate, camera) * (times[-1] - times[0])
    assert len(taken) >= math.floor(least * (1 - 1.2 * jitter * (rate >= camera / 2))) - 1


@pytest.mark.parametrize(("rate", "camera"), [(7, 30), (15, 15), (1, 15), (14, 15)])
def test_a_rate_is_kept_over_an_hour(rate: float, camera: float) -> None:
    schedule = RateSchedule(rate)
    taken = sum(schedule.take(n / camera) for n in range(round(3600 * camera)))
    assert abs(taken - 3600 * rate) <= 1


def test_a_gap_is_not_made_up_for() -> None:
    schedule = RateSchedule(2.0)
    before = [n / 10 for n in range(11)]
    after = [60.0 + n / 10 for n in range(6)]
    assert [t for t in before if schedule.take(t)] == [0.0, 0.5, 1.0]
    assert [t for t in after if schedule.take(t)] == [60.0, 60.5]


@given(st.lists(st.floats(0.0, 0.1), max_size=100), st.floats(1.0, 30.0))
def test_what_is_skipped_before_decoding_would_not_have_been_taken(steps: list[float], rate: float) -> None:
    picker, pts = Picker(rate), 0.0
    for step in steps:
        pts += step
        skipped = picker.may_skip(pts)
        assert not (skipped and picker.refusal(pts) is None)


def test_every_nth_of_those_and_a_rate_at_once() -> None:
    picker = Picker(None, every=3)
    assert [picker.refusal(n / 15) for n in range(5)] == [
        None,
        DropReason.SKIPPED,
        DropReason.SKIPPED,
        None,
        DropReason.SKIPPED,
    ]
    assert not picker.may_skip(0.0)


# Deadlines


def lane_at(clock: list[float], deadline: float = 1.0, lossless: bool = False) -> tuple[Lane, ByHand]:
    client = ByHand()
    lane = Lane(
        client, "m", ServerGate(), lambda _: None, max_in_flight=1, deadline_seconds=deadline, lossless=lossless,
        now=lambda: clock[0],
    )  # fmt: skip
    return lane, client


def test_the_age_of_a_frame_is_carried_to_the_request() -> None:
    class Told(ByHand):
        timeouts: list[float | None] = []  # noqa: RUF012

        def submit(self, model, image, *, timeout_seconds=None):  # type: ignore[no-untyped-def]
            self.timeouts.append(timeout_seconds)
            return super().submit(model, image)

    clock, client = [0.2], Told()
    lane = Lane(client, "m", ServerGate(), lambda _: None, deadline_seconds=1.0, now=lambda: clock[0])
    lane.offer(frame_at(0, 0.0))
    assert client.timeouts == [pytest.approx(0.8 / QUEUE_SHARE)]


def test_old_frames_are_not_sent_and_old_answers_are_not_shown() -> None:
    clock = [0.0]
    lane, client = lane_at(clock)
    lane.offer(frame_at(0, 0.0))
    lane.offer(frame_at(1, 0.0))  # waits
    clock[0] = 1.1
    client.open[0].finish()
    entry = lane.ready()
    assert entry is not None
    assert not lane.answered(entry)
    assert len(client.open) == 1, "the one that waited is as old"
    shot = lane.counters.snapshot(1.1)
    assert (shot.answered, shot.dropped) == (0, {"expired": 2})


def test_an_answer_that_was_refused_for_its_age_is_expired() -> None:
    lane, client = lane_at([0.0])
    lane.offer(frame_at(0, 0.0))
    client.open[0].finish(DeadlineExceeded("late"))
    entry = lane.ready()
    assert entry is not None
    lane.failed(DeadlineExceeded("late"))
    assert lane.counters.snapshot(0.0).dropped == {"expired": 1}


def test_a_file_that_is_wanted_whole_is_held_back() -> None:
    clock = [0.0]
    lane, client = lane_at(clock, lossless=True)
    lane.offer(frame_at(0, 0.0))
    lane.offer(frame_at(1, 0.0))
    waiting = threading.Event()

    def third() -> None:
        lane.wait_for_room(lambda: False)
        waiting.set()

    thread = threading.Thread(target=third)
    thread.start()
    assert not waiting.wait(0.2)
    clock[0] = 99.0
    client.open[0].finish()
    assert lane.ready() is not None
    thread.join(60)
    assert waiting.is_set()
    assert len(client.open) == 2, "no deadline"


# Lives


def test_the_life_of_a_camera_is_told_once_for_each_turn() -> None:
    life = CameraLife("gate")
    told = [
        life.broken("lost", "nobody listens", 10.0),
        life.broken("lost", "nobody listens", 12.0),
        life.broken("auth_refused", "refuses", 14.0),
        life.broken("auth_refused", "refuses", 24.0),
        life.live(1000, 30.0),
        life.live(1000, 30.1),
        life.live(1001, 31.0),  # its clock jumped
        life.broken("stalled", "gave no data in time", 40.0),
        life.broken("lost", "nobody listens", 45.0),
        life.live(1002, 50.0),
    ]
    kinds = [event.type.removeprefix("sightline.camera.") if event else None for event in told]
    assert kinds == ["lost", None, "auth_refused", None, "live", None, None, "stalled", None, "live"]
    events = [event for event in told if event]
    assert len({event.id for event in events}) == len(events)
    assert events[0].id == "gate:0-10000:lost"
    assert events[3].id == "gate:1001:stalled"
    assert [e.data.get("away_seconds") for e in events if e.type.endswith("live")] == [20.0, 10.0]
    assert {e.camera for e in events} == {"gate"}


def test_the_servers_going_and_coming_is_told() -> None:
    life = ServerLife()
    told: list[object] = []
    gate = ServerGate(lambda is_up: told.append(life.told(is_up, 100.0 if is_up else 90.0)))
    gate.answered()
    gate.unavailable(0.0)
    gate.unavailable(1.0)
    gate.answered()
    gate.answered()
    down, up = told
    assert (down.type, down.id) == ("sightline.server.down", "server:90000:down")  # type: ignore[attr-defined]
    assert (up.type, up.id) == ("sightline.server.up", "server:90000:up")  # type: ignore[attr-defined]
    assert up.data["away_seconds"] == 10.0  # type: ignore[attr-defined]


def test_a_crash_loop_is_five_in_a_minute() -> None:
    loop = CrashLoop()
    alarms = []
    for second in range(MOST_RESTARTS):
        assert loop.may_start(float(second))
        alarms.append(loop.crashed(float(second)))
        loop.started()
    assert alarms == [False] * (MOST_RESTARTS - 1) + [True]
    assert not loop.may_start(10.0)
    assert loop.may_start(4.0 + WINDOW_SECONDS)
    slow = CrashLoop()
    assert not any(slow.crashed(n * WINDOW_SECONDS / 3) for n in range(100))


def test_64_cameras_of_one_host_come_back_after_an_hour_without_a_storm() -> None:
    """Virtual time: one attempt a second at most, and all back within 65 s of the host's return."""
    noise = random.Random(4)
    pacer = HostPacer()
    back_at, cameras, attempts, back = 3600.0, 64, [], {}
    links = [Reconnect(uniform=noise.uniform) for _ in range(cameras)]
    due = []
    for number in range(cameras):
        due.append((pacer.reserve("nvr:554", 0.0, first=False), number))
    while due:
        due.sort(reverse=True)
        now, number = due.pop()
        link = links[number]
        attempts.append(now)
        link.connecting(now)
        if now >= back_at:
            link.frame(now + 0.3)
            back[number] = now + 0.3
            continue
        failed_at = now + (5.0 if noise.random() < 0.5 else 0.01)  # black holes and refusals
        link.failed(failed_at)
        due.append((pacer.reserve("nvr:554", max(failed_at, link.retry_at)), number))
    assert len(back) == cameras
    assert all(later - earlier >= 1.0 - 1e-6 for earlier, later in itertools.pairwise(sorted(attempts)))
    assert max(back.values()) - back_at <= 65.0
    assert all(link.state is LinkState.LIVE for link in links)


# What is decoded


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
def test_pictures_that_no_other_needs_are_known_by_their_headers(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / f"b{suffix}", seconds=2, size=(320, 180), b_frames=2)
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        extradata = bytes(stream.codec_context.extradata or b"")
        prefix = 4 if extradata.startswith(b"\x01") else 0
        kept, disposable = [], 0
        for packet in container.demux(stream):
            if packet.size and is_disposable("h264", packet, prefix):
                disposable += 1
            elif packet.size:
                kept.append(packet)
        assert 5 <= disposable < 30
        pictures = [picture for packet in kept for picture in stream.codec_context.decode(packet)]
        pictures += stream.codec_context.decode(None)
    assert len(pictures) == len(kept)
    assert not any(picture.is_corrupt for picture in pictures)


@given(st.binary(max_size=200), st.sampled_from(["h264", "hevc", "mjpeg"]), st.sampled_from([0, 1, 2, 4]))
def test_any_bytes_may_be_asked_about(data: bytes, codec: str, prefix: int) -> None:
    """Never an error, never without an end."""
    assert is_disposable(codec, data, prefix) in (True, False)


# Sources


@pytest.mark.parametrize(
    ("url", "fields", "text"),
    [
        ("v4l2:///dev/null", {}, "v4l2:///dev/videoN"),
        ("v4l2://dev/video0", {}, "v4l2:///dev/videoN"),
        ("rtsp://h/1", {"transport": "sctp"}, "transport"),
        ("rtsp://h/1", {"decode": "some"}, "decode"),
        ("rtsp://h/1", {"hardware": "on"}, "hardware"),
        ("rtsp://h/1", {"rate": 0.0}, "rate"),
        ("rtsp://h/1", {"rate": math.nan}, "rate"),
        ("rtsp://h/1", {"deadline_seconds": 0.0}, "deadline_seconds"),
        ("/no/such/folder", {}, "folder of images"),
    ],
)
def test_wrong_sources_are_told_apart(url: str, fields: dict[str, object], text: str) -> None:
    with pytest.raises(StreamError, match=re.escape(text)):
        Source("x", url, **fields)  # type: ignore[arg-type]


def test_kinds_of_sources(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    kinds = [
        Source("x", url).kind
        for url in ("rtsps://h/1", "HTTP://h/1", "v4l2:///dev/video3", str(tmp_path), str(tmp_path / "a.mp4"))
    ]
    assert kinds == ["rtsps", "http", "v4l2", "folder", "file"]
    assert Source("x", "v4l2:///dev/video3").device == "/dev/video3"
    assert Source("x", str(tmp_path), paced=False).is_lossless
    assert not Source("x", "rtsp://h/1", paced=False).is_lossless


def test_images_of_a_folder_are_sorted_and_only_whole_ones_are_used(tmp_path: Path) -> None:
    from PIL import Image

    for number in (10, 2, 1):
        Image.new("RGB", (64, 36), (number, 0, 0)).save(tmp_path / f"frame{number}.png")
    whole = (tmp_path / "frame1.png").read_bytes()
    (tmp_path / "frame3.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "frame4.jpg").write_bytes(b"nonsense")
    (tmp_path / ".hidden.png").write_bytes(whole)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "outside.png").symlink_to("/etc/hostname")
    names = [path.name for path in images_of(str(tmp_path))]
    assert names == ["frame1.png", "frame2.png", "frame3.png", "frame4.jpg", "frame10.png"]
    assert [picture_of(tmp_path / name) is not None for name in names] == [True, True, False, False, True]


# Figures


def test_what_is_pending_when_a_thread_hangs_is_counted_and_late_counts_are_not() -> None:
    counters = CameraCounters()
    for _ in range(3):
        counters.received(0.0)
    counters.answered(0.0, 0.1)
    counters.close()
    counters.received(1.0)
    counters.dropped(DropReason.DAMAGED)
    shot = counters.snapshot(2.0)
    assert (shot.received, shot.answered, shot.dropped, shot.pending) == (3, 1, {"stopped": 2}, 0)


def test_every_reason_has_a_meaning() -> None:
    assert set(DROP_MEANINGS) == set(DropReason)


_LINE = re.compile(
    r'^(# (HELP|TYPE) \S+ .+|[a-z_]+(\{[a-z]+="(\\.|[^"\\])*"(,[a-z]+="(\\.|[^"\\])*")*\})? [0-9.e+-]+)$'
)


def test_metrics_are_prometheus_text() -> None:
    counters = CameraCounters()
    for number in range(5):
        counters.received(number / 10)
    for latency in (0.0007, 0.03, 0.5):
        counters.answered(0.0, latency)
    counters.dropped(DropReason.RATE)
    camera = {
        "name": 'a "quoted\\ name', "state": "live", "connections": 2, "restarts": 0,
        **counters.snapshot(1.0).to_dict(),
    }  # fmt: skip
    text = prometheus_text(
        {"server": "up", "uptime_seconds": 3.5, "output_errors": {"EventFile": 2}, "cameras": [camera]}
    )
    assert text.endswith("\n")
    for line in text.splitlines():
        assert _LINE.match(line), line
    label = r'camera="a \"quoted\\ name"'
    for line in (
        f"sightline_camera_received_total{{{label}}} 5",
        f'sightline_camera_dropped_total{{{label},reason="rate"}} 1',
        f"sightline_camera_pending{{{label}}} 1",
        f'sightline_camera_latency_seconds_bucket{{{label},le="0.032"}} 2',
        f'sightline_camera_latency_seconds_bucket{{{label},le="+Inf"}} 3',
        f"sightline_camera_latency_seconds_count{{{label}}} 3",
        f'sightline_camera_state{{{label},state="live"}} 1',
        "sightline_server_up 1",
    ):
        assert line in text.splitlines(), line
    assert "# TYPE sightline_camera_received_total counter" in text
    assert prometheus_text({"server": "unknown", "cameras": []})


def test_a_new_link_is_given_time_for_its_first_key_frame() -> None:
    link = Reconnect()
    link.connecting(0.0)
    for second in range(1, 20):
        link.awaits_keyframe(float(second))
        assert not link.stalled(second + 1.0)
    link.awaits_keyframe(21.0)
    assert link.stalled(25.0), "but not for ever"
    link.failed(25.0)
    link.connecting(30.0)
    assert link.stalled(35.0), "nor where nothing comes"


# Flow


class Server:
    """Virtual time: `workers` requests at a time, each for `seconds`; then batches, where `batch` is above 1."""

    def __init__(self, workers: int, seconds: float) -> None:
        self.free_at = [0.0] * workers
        self.seconds = seconds

    def finished_at(self, now: float) -> float:
        worker = min(range(len(self.free_at)), key=lambda n: self.free_at[n])
        self.free_at[worker] = max(now, self.free_at[worker]) + self.seconds
        return self.free_at[worker]


def simulated(
    cameras: int, server: Server, *, seconds: float, rate: float = 15.0
) -> tuple[FlowLimit, list[float], int]:
    """The limit, ages of answers in the second half, and answers in it, of cameras with one request each at a time."""
    import heapq

    flow, now, order = FlowLimit(), 0.0, itertools.count()
    lanes: list[Any] = []
    todo: list[tuple[float, int, str, Any]] = []
    ages, half = [], seconds / 2

    class Sender:
        slot: float | None = None
        is_busy = False

        def pump(self) -> None:
            if self.slot is None or self.is_busy or not flow.enter(self):
                return
            taken, self.slot, self.is_busy = self.slot, None, True
            heapq.heappush(todo, (server.finished_at(now), next(order), "answer", (self, taken, now)))

    for number in range(cameras):
        lanes.append(Sender())
        heapq.heappush(todo, (number / cameras / rate, next(order), "frame", lanes[-1]))
    while todo and now < seconds:
        now, _, what, payload = heapq.heappop(todo)
        if what == "frame":
            payload.slot = now
            payload.pump()
            heapq.heappush(todo, (now + 1 / rate, next(order), "frame", payload))
            continue
        lane, taken, sent = payload
        lane.is_busy = False
        if now > half:
            ages.append(now - taken)
        flow.answered(now - sent, 1.0, now)
        flow.leave()
        lane.pump()
    return flow, ages, len(ages)


@pytest.mark.parametrize(("workers", "seconds"), [(2, 0.02), (3, 0.1), (8, 0.05)])
def test_overload_neither_idles_the_server_nor_ages_the_frames(workers: int, seconds: float) -> None:
    """64 cameras at 15 frames a second, more than the server can do: it works all the time, on young frames."""
    flow, ages, answers = simulated(64, Server(workers, seconds), seconds=60.0)
    capacity = min(workers / seconds, 64 * 15.0) * 30.0
    assert answers >= 0.95 * capacity
    assert sorted(ages)[int(0.99 * len(ages))] <= 1 / 15 + max(0.02, 3 * seconds) * 1.5
    assert flow.limit <= 4 * workers + 8


def test_below_its_capacity_nothing_is_held_back() -> None:
    _, ages, answers = simulated(8, Server(4, 0.02), seconds=60.0)
    assert answers == pytest.approx(8 * 15 * 30, abs=10)
    assert max(ages) <= 0.021


def test_many_lanes_with_old_frames_are_no_tower_of_calls() -> None:
    """256 cameras wait behind one request that takes long: when it ends, all they have is too old."""
    clock, client, flow = [0.0], ByHand(), FlowLimit()
    flow._limit = 1.0
    lanes = [
        Lane(client, "m", ServerGate(), lambda _: None, deadline_seconds=1.0, flow=flow, now=lambda: clock[0])
        for _ in range(256)
    ]
    for lane in lanes:
        lane.offer(frame_at(0, 0.0))
    assert len(client.open) == 1
    clock[0] = 2.0
    client.open[0].finish()
    assert sum(lane.counters.snapshot(2.0).dropped.get("expired", 0) for lane in lanes) == 255
    lanes[7].offer(frame_at(1, 2.0))
    assert len(client.open) == 2, "there is room again"


def test_frames_share_memory_only_one_after_the_other() -> None:
    pool = FramePool(most=2)

    def frame() -> Frame:
        return pool.frame(16, 16, PixelFormat.I420, ColourSpace.BT601_LIMITED)

    first, second = frame(), frame()
    view = first.data[10:20]
    places = {first.data.ctypes.data, second.data.ctypes.data}
    assert len(places) == 2
    del second
    third = frame()
    assert third.data.ctypes.data in places
    del first
    fourth = frame()
    assert fourth.data.ctypes.data not in places, "a view of the first is still held"
    del view
    assert frame().data.ctypes.data in places
    frames = [frame() for _ in range(5)]
    del frames
    assert all(len(free) <= 2 for free in pool._free.values())

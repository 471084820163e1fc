# SPDX-License-Identifier: Apache-2.0
"""The streams' state machines and counters, without camera, server or clock."""

from __future__ import annotations

import itertools
import json
import math
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.clients.streams.counters import CameraCounters, DropReason, Histogram, Rate
from sightline.clients.streams.events import EventFile
from sightline.clients.streams.gate import PROBE_SECONDS, ServerGate
from sightline.clients.streams.lane import UNDELIVERED, Lane, drop_reason
from sightline.clients.streams.names import expand, parse_sources, sources_from_file
from sightline.clients.streams.reconnect import STALL_SECONDS, Backoff, HostPacer, LinkState, Reconnect
from sightline.clients.streams.results import StreamFrame, StreamResult
from sightline.clients.streams.slot import NewestSlot
from sightline.clients.streams.timeline import MAX_GAP_SECONDS, Timeline, TimestampJump
from sightline.errors import (
    DeadlineExceeded,
    InferenceError,
    ModelNotFoundError,
    OutputError,
    ServerUnavailable,
    StreamError,
)
from sightline.frame import Frame
from sightline.results import Detections

PASSWORD = "s3cret/p@ss:word"
PICTURE = Frame(np.zeros(6, np.uint8), 2, 2)


def frame_at(number: int, seconds: float = 0.0) -> StreamFrame:
    return StreamFrame(
        0, "door", 1_700_000_000_000, number, number / 15, seconds, 1_700_000_000.0 + seconds, PICTURE
    )


# Reconnect


@pytest.mark.parametrize(
    ("failures", "auth", "expected"),
    [
        (1, False, (0.25, 0.5)),
        (2, False, (0.5, 1.0)),
        (3, False, (1.0, 2.0)),
        (5, False, (4.0, 8.0)),
        (6, False, (4.0, 8.0)),
        (1000, False, (4.0, 8.0)),
        (1, True, (2.5, 5.0)),
        (5, True, (30.0, 60.0)),
        (1000, True, (30.0, 60.0)),
    ],
)
def test_backoff_doubles_up_to_its_cap(failures: int, auth: bool, expected: tuple[float, float]) -> None:
    assert Backoff().range_seconds(failures, auth=auth) == expected


TABLE = [
    # (what happens, its time, state after it, failures after it)
    ("connecting", 0.0, LinkState.CONNECTING, 0),
    ("failed", 1.0, LinkState.WAITING, 1),
    ("connecting", 2.0, LinkState.CONNECTING, 1),
    ("failed", 3.0, LinkState.WAITING, 2),
    ("connecting", 4.0, LinkState.CONNECTING, 2),
    ("frame", 5.0, LinkState.LIVE, 2),
    ("failed", 5.5, LinkState.WAITING, 3),  # one picture is not a recovery
    ("connecting", 9.0, LinkState.CONNECTING, 3),
    ("frame", 10.0, LinkState.LIVE, 3),
    ("frame", 14.9, LinkState.LIVE, 3),
    ("frame", 15.1, LinkState.LIVE, 0),
    ("failed", 20.0, LinkState.WAITING, 1),
    ("stop", 21.0, LinkState.STOPPED, 1),
    ("connecting", 22.0, LinkState.STOPPED, 1),
    ("frame", 23.0, LinkState.STOPPED, 1),
    ("failed", 24.0, LinkState.STOPPED, 1),
    ("ended", 25.0, LinkState.STOPPED, 1),
]


def test_the_life_of_a_link_as_a_table() -> None:
    link = Reconnect(uniform=lambda low, high: high)
    for row, (event, now, state, failures) in enumerate(TABLE):
        method = getattr(link, event)
        if event in ("stop", "ended"):
            method()
        else:
            method(now)
        assert (link.state, link.failures) == (state, failures), f"row {row}: {event}"


def test_waits_are_jittered_and_kept() -> None:
    waits = []
    for seed in range(50):
        link = Reconnect(uniform=random.Random(seed).uniform)
        for _ in range(6):
            wait = link.failed(100.0)
        waits.append(wait)
        assert link.retry_at == 100.0 + wait
    assert all(4.0 <= w <= 8.0 for w in waits)
    assert len({round(w, 3) for w in waits}) > 40


def test_a_link_without_pictures_is_stalled_within_five_seconds() -> None:
    link = Reconnect()
    link.connecting(10.0)
    assert not link.stalled(10.0 + STALL_SECONDS - 0.1)
    assert link.stalled(15.0)
    link.frame(15.0)
    assert not link.stalled(16.0)
    assert link.stalled(20.0)
    link.failed(20.0)
    assert not link.stalled(99.0), "a waiting link is not stalled"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 3), st.booleans()),
        min_size=1,
        max_size=80,
    )
)
def test_a_host_is_tried_at_most_once_a_second(requests: list[tuple[str, float, bool]]) -> None:
    pacer, now = HostPacer(burst=4), 0.0
    given_times: dict[str, list[tuple[float, bool]]] = {"a": [], "b": []}
    firsts = {"a": 0, "b": 0}
    for host, pause, first in requests:
        now += pause
        at = pacer.reserve(host, now, first=first)
        assert at >= now
        free = first and firsts[host] < 4
        firsts[host] += free
        if free:
            assert at == now
        else:
            given_times[host].append((at, free))
    for times in given_times.values():
        ordered = [at for at, _ in times]
        assert all(later - earlier >= 1.0 - 1e-9 for earlier, later in itertools.pairwise(ordered))


def test_64_cameras_of_one_host_are_back_within_65_seconds() -> None:
    pacer = HostPacer(burst=0)
    times = [pacer.reserve("nvr:554", 0.0) for _ in range(64)]
    assert times == [float(i) for i in range(64)]


# Slot and counters


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(0, 999), st.none()), max_size=60))
def test_the_slot_loses_nothing_and_hands_out_the_newest(operations: list[int | None]) -> None:
    """None takes; a number puts. Every item comes back once, taken or pushed out."""
    slot: NewestSlot[tuple[int, int]] = NewestSlot()
    put, back, newest = [], [], None
    for position, operation in enumerate(operations):
        if operation is None:
            taken = slot.take()
            assert taken == newest
            newest = None
            back += [taken] if taken else []
        else:
            newest = (position, operation)
            put.append(newest)
            older = slot.put(newest)
            back += [older] if older else []
    last = slot.take()
    assert sorted(back + ([last] if last else [])) == sorted(put)


@settings(deadline=None)
@given(st.lists(st.sampled_from([None, *DropReason]), max_size=200), st.integers(0, 20))
def test_in_is_out_plus_dropped_exactly(outcomes: list[DropReason | None], pending: int) -> None:
    counters = CameraCounters()
    for number in range(len(outcomes) + pending):
        counters.received(number / 15)
    for outcome in outcomes:
        if outcome is None:
            counters.answered(1.0, 1.1)
        else:
            counters.dropped(outcome)
    shot = counters.snapshot(100.0)
    assert shot.received == shot.answered + shot.dropped_total + shot.pending
    assert (shot.pending, shot.adds_up) == (pending, True)
    assert shot.answered == outcomes.count(None)


@settings(deadline=None)
@given(st.lists(st.floats(0.0006, 100.0), min_size=1, max_size=300), st.sampled_from([0.5, 0.99, 1.0]))
def test_percentiles_are_within_one_bucket(latencies: list[float], fraction: float) -> None:
    histogram = Histogram()
    for value in latencies:
        histogram.add(value)
    exact = sorted(latencies)[max(1, math.ceil(fraction * len(latencies))) - 1]
    found = histogram.percentile_seconds(fraction)
    assert found is not None
    assert exact <= found * (1 + 1e-6)
    assert found <= exact * 2 ** (1 / 8) * (1 + 1e-6)


def test_a_histogram_takes_any_value() -> None:
    histogram = Histogram()
    assert histogram.percentile_seconds(0.5) is None
    for value in (0.0, -1.0, 1e9):
        histogram.add(value)
    assert len(histogram) == 3


def test_rates_follow_the_last_seconds() -> None:
    rate = Rate()
    assert rate.per_second(0.0) == 0.0
    for number in range(150):
        rate.add(number / 15)
    assert rate.per_second(10.0) == pytest.approx(15.0, rel=0.03)
    assert rate.per_second(30.0) == 0.0


# Server gate and lane


def test_the_gate_probes_now_and_then_while_the_server_is_down() -> None:
    gate = ServerGate()
    assert gate.state == "unknown"
    assert gate.allows(0.0)
    gate.unavailable(0.0)
    times = [t / 100 for t in range(1, 1001)]
    probes = [t for t in times if gate.allows(t)]
    assert 30 <= len(probes) <= 10.0 / PROBE_SECONDS + 1
    gate.answered()
    assert all(gate.allows(10.0) for _ in range(100))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DeadlineExceeded("late"), DropReason.EXPIRED),
        (ServerUnavailable("nothing answers at localhost:8001"), DropReason.SERVER_UNAVAILABLE),
        (ServerUnavailable("the server at localhost:8001 is overloaded (x); send fewer"), DropReason.REFUSED),
        (ModelNotFoundError("gone"), DropReason.SERVER_UNAVAILABLE),
        (InferenceError("bad"), DropReason.ERROR),
    ],
)
def test_each_error_has_its_reason(error: Exception, reason: DropReason) -> None:
    assert drop_reason(error) is reason


class Request:
    """A request that the test answers when it wants."""

    def __init__(self) -> None:
        self.callbacks: list = []
        self.error: Exception | None = None
        self.cancelled = False

    def result(self, timeout: float | None = None) -> Detections:
        if self.error:
            raise self.error
        return Detections.empty()

    def cancel(self) -> None:
        self.cancelled = True

    def add_done_callback(self, callback) -> None:  # type: ignore[no-untyped-def]
        self.callbacks.append(callback)

    def finish(self, error: Exception | None = None) -> None:
        self.error = error
        for callback in self.callbacks:
            callback(self)


class ByHand:
    """A client whose requests are answered by the test."""

    def __init__(self) -> None:
        self.open: list[Request] = []

    def submit(self, model: str, image: Frame, *, timeout_seconds: float | None = None) -> Request:
        self.open.append(Request())
        return self.open[-1]


ERRORS = [
    None,
    DeadlineExceeded("late"),
    ServerUnavailable("gone"),
    ServerUnavailable("is overloaded"),
    InferenceError("x"),
]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["frame", "answer"]), st.integers(0, 99)), max_size=120),
)
def test_every_frame_of_a_lane_is_counted_once(steps: list[tuple[str, int]]) -> None:
    """Whatever the server does and in whatever order it answers: received = answered + dropped, answers in order."""
    client, clock, order = ByHand(), itertools.count(), []

    def completed(lane: Lane) -> None:
        while (entry := lane.ready()) is not None:
            order.append(entry.frame.number)
            try:
                entry.pending.result(0)
            except InferenceError as error:
                lane.failed(error)
            else:
                lane.answered(entry)
            lane.pump()

    lane = Lane(client, "m", ServerGate(), completed, max_in_flight=2, now=lambda: next(clock) / 10)
    for number, (step, choice) in enumerate(steps):
        if step == "frame":
            lane.offer(frame_at(number, next(clock) / 10))
        elif client.open:
            client.open.pop(choice % len(client.open)).finish(ERRORS[choice % len(ERRORS)])
        assert lane.in_flight <= 2 + UNDELIVERED
        assert lane.counters.snapshot(0.0).adds_up
    lane.close()
    lane.offer(frame_at(9999))
    lane.abandon()
    assert all(request.cancelled for request in client.open)
    for request in client.open:
        request.finish(InferenceError("cancelled"))
    end = lane.counters.snapshot(0.0)
    assert end.pending == 0
    assert order == sorted(order)
    assert end.received == end.answered + end.dropped_total == sum(s == "frame" for s, _ in steps) + 1


# Time


def test_a_first_packet_without_timestamp_fits_before_the_second() -> None:
    timeline = Timeline(Fraction(1, 90_000), 15.0)
    assert timeline.packet(None, None) == (0.0, 0.0)
    pts, dts = timeline.packet(906_000, 906_000)
    assert pts == dts == pytest.approx(1 / 15)
    assert timeline.frame(None) == pytest.approx(1 / 15)
    assert timeline.frame(912_000) == pytest.approx(2 / 15)


@pytest.mark.parametrize("jump", [-1, 0, int((MAX_GAP_SECONDS + 1) * 90_000)])
def test_a_jump_of_the_cameras_clock_is_told(jump: int) -> None:
    timeline = Timeline(Fraction(1, 90_000), 0.0)
    timeline.packet(500, 500)
    timeline.packet(6500, 6500)
    with pytest.raises(TimestampJump):
        timeline.packet(6500 + jump, 6500 + jump)


@settings(deadline=None)
@given(st.lists(st.integers(1, 90_000), max_size=50), st.integers(-(2**40), 2**40))
def test_decoding_times_rise(gaps: list[int], start: int) -> None:
    timeline, at, last = Timeline(Fraction(1, 90_000), 25.0), start, -1.0
    for gap in gaps:
        at += gap
        pts, dts = timeline.packet(at + 3000, at)
        assert dts > last
        assert pts >= dts >= 0
        last = dts


# Names


def test_sources_are_named() -> None:
    sources = parse_sources(
        ["door=rtsp://h/1", f"rtsp://u:{PASSWORD}@h:554/live/yard?x=1", "rtsp://h2/live/yard"]
    )
    assert [s.name for s in sources] == ["door", "yard", "yard-2"]
    assert [s.host for s in sources] == ["h", "h:554", "h2"]
    assert PASSWORD not in repr(sources) + "".join(s.shown for s in sources)
    assert sources[1].shown == "rtsp://***@h:554/live/yard"


def test_passwords_come_from_the_environment() -> None:
    assert expand("rtsp://u:${P}@h", {"P": PASSWORD}) == f"rtsp://u:{PASSWORD}@h"
    with pytest.raises(StreamError, match="export it"):
        expand("rtsp://u:${NO_SUCH}@h", {})


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["ftp://h/1"],
        ["/no/such/file.mp4"],
        ["a=rtsp://h/1", "a=rtsp://h/2", "a-2=rtsp://h/3"],
        [f"rtsp://h/{i}" for i in range(257)],
    ],
)
def test_wrong_sources_are_explained(texts: list[str]) -> None:
    with pytest.raises(StreamError):
        parse_sources(texts)


@pytest.mark.parametrize("url", [f"ftp://u:{PASSWORD}@h/1", f"rtps://u:{PASSWORD}@h/1"])
def test_a_wrong_source_does_not_tell_its_password(url: str) -> None:
    with pytest.raises(StreamError) as caught:
        parse_sources([f"x={url}"])
    assert "s3cret" not in str(caught.value)


def test_a_sources_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", PASSWORD)
    file = tmp_path / "cameras.yaml"
    file.write_text("door: rtsp://u:${CAMERA_PASSWORD}@h/1\nyard: rtsp://h/2\n")
    assert [s.url for s in sources_from_file(file)] == [f"rtsp://u:{PASSWORD}@h/1", "rtsp://h/2"]
    for text in (
        b"- a\n- b\n",
        b"a: [1\n",
        b"!!python/object/apply:os.system [x]\n",
        b"a: 1\n",
        b"",
        b"\x89PNG\xff\xfe\x00",
        b"[" * 1500,
        b"a: &x rtsp://h/1\nb: *x\n",
    ):
        file.write_bytes(text)
        with pytest.raises(StreamError):
            sources_from_file(file)
    with pytest.raises(StreamError):
        sources_from_file(tmp_path / "none.yaml")


# Events


def result_with(count: int, number: int = 0) -> StreamResult:
    boxes = np.tile(np.array([1, 2, 3, 4], np.float32), (count, 1))
    found = Detections(boxes, np.full(count, 0.5, np.float32), np.zeros(count, np.int32), ("car",))
    return StreamResult(frame_at(number), found, 0.05)


def test_events_are_whole_lines_with_a_key(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "events.jsonl"
    for numbers in (range(3), range(3, 5)):  # a second run appends
        sink = EventFile(path)
        for number in numbers:
            sink.write(result_with(number % 3, number))
        sink.close()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [len(e["detections"]) for e in events] == [1, 2, 1]
    assert len({e["id"] for e in events}) == 3
    assert events[0]["time"] == "2023-11-14T22:13:20.000Z"
    assert set(events[0]) == {"id", "camera", "time", "pts_seconds", "width", "height", "detections"}


def test_a_full_disk_is_an_output_error_each_time() -> None:
    sink = EventFile("/dev/full")
    for _ in range(3):
        with pytest.raises(OutputError, match="space"):
            sink.write(result_with(1))
    assert sink.written == 0
    sink.close()


def test_events_need_a_folder_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        EventFile(tmp_path / "file" / "events.jsonl")


def test_a_second_writer_of_the_events_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = EventFile(path)
    with pytest.raises(OutputError, match="another watch"):
        EventFile(path)
    first.write(result_with(1))
    first.close()
    first.close()
    second = EventFile(path)
    second.write(result_with(1))
    second.close()
    assert len(path.read_text().splitlines()) == 2

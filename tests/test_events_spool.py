# SPDX-License-Identifier: Apache-2.0
"""The spool: what was put is there after any cut, damage costs only what is damaged, and every loss is counted."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sightline.clients.events.cursors import Reader
from sightline.clients.events.segments import HEADER_BYTES, MAGIC, MAX_PAYLOAD_BYTES, packed_all, parsed
from sightline.clients.events.settings import SpoolSettings
from sightline.clients.events.spool import Spool, peek
from sightline.errors import OutputError
from tests.events_parts import small_disk, wait_until

SMALL = SpoolSettings(max_bytes=1 << 16)
COUNT = 400


def no_sync(descriptor: int) -> None:
    """Where a test is not about power cuts."""


def payload(number: int, size: int = 40) -> bytes:
    return json.dumps({"n": number}).encode().ljust(size)


def number(data: bytes) -> int:
    return int(json.loads(data)["n"])


def put(spool: Spool, *wanted: int, size: int = 40) -> None:
    for one in wanted:
        assert spool.put([payload(one, size)])


def fill(spool: Spool, kept: list[int]) -> None:
    for one in range(10_000):
        spool.put([payload(one, 4000)])
        kept.append(one)


def take(reader: Reader, limit: int = 100, *, done: bool = True) -> list[int]:
    """The next records' numbers."""
    records = reader.read(limit, 1 << 20, 0.0, lambda: False)
    if done:
        reader.done(len(records), delivered=len(records))
    return [number(record.payload) for record in records]


def take_all(reader: Reader) -> list[int]:
    """All that waits; damaged parts may need a read that gives nothing."""
    found: list[int] = []
    while reader.figures(0.0)["waiting"]:
        found += take(reader)
    return found


def only_segment(folder: Path) -> Path:
    (path,) = folder.glob("*.log")
    return path


def test_records_come_in_order_and_cursors_outlive_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    reader, slow = Reader(spool, "a"), Reader(spool, "b")
    put(spool, *range(1, 8))
    assert take(reader, 3) == [1, 2, 3]
    assert take(slow, 1) == [1]
    assert take(slow, 2, done=False) == [2, 3]  # on their way, not arrived
    spool.close()
    spool = Spool(tmp_path)
    put(spool, 8)
    assert take_all(Reader(spool, "a")) == [4, 5, 6, 7, 8]
    slow = Reader(spool, "b")
    assert slow.figures(0.0)["waiting"] == 7
    assert slow.figures(0.0)["delivered"] == 1
    assert take_all(slow) == [2, 3, 4, 5, 6, 7, 8]
    assert spool.state()["waiting"] == 0
    spool.close()
    spool.close()
    with pytest.raises(OutputError, match="closed"):
        spool.put([b"{}"])


def test_a_new_reader_begins_at_the_end_and_a_forgotten_one_frees_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SMALL, sync=no_sync)
    away = Reader(spool, "away")
    put(spool, *range(100), size=500)
    late = Reader(spool, "late")
    put(spool, 100)
    assert take_all(late) == [100]
    assert away.figures(0.0)["waiting"] == 101
    before = spool.bytes
    spool.forget("away")
    assert spool.bytes < before / 4
    assert not (tmp_path / "away.cursor").exists()
    put(spool, 101)
    assert take_all(late) == [101]
    spool.close()


def test_two_processes_cannot_use_one_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(OutputError, match="in use by another watch"):
        Spool(tmp_path)
    spool.close()
    Spool(tmp_path).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be used"):
        Spool(tmp_path / "file" / "spool")


def test_a_torn_tail_is_cut_wherever_the_power_went(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    Reader(spool, "a")
    put(spool, 1, 2, 3)
    spool.close()
    path = only_segment(tmp_path)
    whole = path.read_bytes()
    one = HEADER_BYTES + 40
    for cut in [*range(2 * one, 3 * one, 7), 3 * one - 1]:
        for tail in (b"", b"\0" * 50):  # a file system may leave zeros behind
            (tmp_path / "a.cursor").unlink(missing_ok=True)
            path.write_bytes(whole[:cut] + tail)
            spool = Spool(tmp_path)
            assert path.stat().st_size == 2 * one
            reader = Reader(spool, "a")
            reader.cursor.next = reader.cursor.ahead = 1
            put(spool, 4)
            assert take_all(reader) == [1, 2, 4]
            assert reader.figures(0.0)["damaged"] == 0
            spool.close()


@pytest.mark.parametrize("at", [0, 4, 9, 13, 20, HEADER_BYTES + 3])
def test_a_damaged_record_costs_only_itself(tmp_path: Path, at: int) -> None:
    """at: offset in the record, of magic, length, checksum, number, time and payload."""
    spool = Spool(tmp_path)
    reader = Reader(spool, "a")
    put(spool, 1, 2, 3, 4)
    path = only_segment(tmp_path)
    data = bytearray(path.read_bytes())
    data[(HEADER_BYTES + 40) + at] ^= 0xFF
    path.write_bytes(data)
    assert take_all(reader) == [1, 3, 4]
    assert reader.figures(0.0)["damaged"] == 1
    put(spool, 5)
    spool.close()
    spool = Spool(tmp_path)
    reader = Reader(spool, "a")
    assert take_all(reader) == [5]
    spool.close()


def test_damaged_ends_of_segments_and_lost_files_are_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SMALL, sync=no_sync)
    reader = Reader(spool, "a")
    put(spool, *range(1, 121), size=500)
    paths = sorted(tmp_path.glob("*.log"))
    assert len(paths) >= 4
    first = int(paths[1].stem)
    with paths[0].open("r+b") as file:  # its last record
        file.seek(-10, os.SEEK_END)
        file.write(b"\xff" * 10)
    paths[2].write_bytes(os.urandom(paths[2].stat().st_size))
    found = take_all(reader)
    lost = {first - 1} | set(range(int(paths[2].stem), int(paths[3].stem)))
    assert found == [one for one in range(1, 121) if one not in lost]
    assert reader.figures(0.0)["damaged"] == len(lost)
    spool.close()


def test_a_cursor_that_cannot_be_read_begins_at_the_oldest(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    reader = Reader(spool, "a")
    put(spool, 1, 2, 3)
    assert take(reader) == [1, 2, 3]
    spool.close()
    (tmp_path / "a.cursor").write_bytes(b"\0\0\0")
    spool = Spool(tmp_path)
    reader = Reader(spool, "a")
    assert take_all(reader) == [1, 2, 3]
    assert reader.figures(0.0)["dropped"] == 0
    spool.close()


def test_a_cursor_ahead_of_the_log_skips_nothing(tmp_path: Path) -> None:
    """A power cut may take records that were not on the disk yet and had been delivered."""
    spool = Spool(tmp_path, SpoolSettings(sync="interval"))
    reader = Reader(spool, "a")
    put(spool, 1, 2, 3)
    assert take(reader) == [1, 2, 3]
    spool.close()
    path = only_segment(tmp_path)
    os.truncate(path, HEADER_BYTES + 40)
    spool = Spool(tmp_path)
    put(spool, 4)
    assert take_all(Reader(spool, "a")) == [4]
    spool.close()


@pytest.mark.parametrize("restart", [False, True])
def test_drop_oldest_counts_exactly_what_a_reader_loses(tmp_path: Path, restart: bool) -> None:
    spool = Spool(tmp_path, SMALL, sync=no_sync)
    fast, slow = Reader(spool, "fast"), Reader(spool, "slow")
    got: list[int] = []
    got_slow = take(slow)
    for one in range(1, COUNT + 1):
        put(spool, one, size=500)
        got += take(fast)
        assert spool.bytes <= SMALL.max_bytes
    assert got == list(range(1, COUNT + 1))
    if restart:
        spool.close()
        spool = Spool(tmp_path, SMALL, sync=no_sync)
        slow = Reader(spool, "slow")
    got_slow += take_all(slow)
    lost = slow.figures(0.0)["dropped"]
    assert got_slow == list(range(1 + lost, COUNT + 1))
    assert 0 < lost < COUNT
    if not restart:
        overflow = spool.state()["overflow"]
        assert overflow["type"] == "sightline.spool.overflow"
        assert (overflow["dropped"], overflow["sinks"]) == (lost, {"slow": lost})
    spool.close()


def test_what_is_on_its_way_is_not_counted_as_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SMALL, sync=no_sync)
    slow = Reader(spool, "slow")
    put(spool, 1, 2, 3, size=500)
    assert take(slow, 2, done=False) == [1, 2]
    put(spool, *range(4, COUNT + 1), size=500)
    slow.done(2, delivered=2)
    rest = take_all(slow)
    figures = slow.figures(0.0)
    assert figures["dropped"] + 2 + len(rest) == COUNT
    assert rest == list(range(COUNT + 1 - len(rest), COUNT + 1))
    spool.close()


def test_drop_newest_keeps_what_is_there(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings(max_bytes=1 << 16, overflow="drop_newest"), sync=no_sync)
    slow = Reader(spool, "slow")
    taken = [one for one in range(1, COUNT + 1) if spool.put([payload(one, 500)])]
    figures = slow.figures(0.0)
    assert len(taken) + figures["dropped"] == COUNT
    assert taken == list(range(1, len(taken) + 1))
    assert take_all(slow) == taken
    assert spool.put([payload(2000)])  # there is room again
    assert take_all(slow) == [2000]
    spool.close()


def test_a_full_disk_is_told_and_passes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as folder:
        spool = Spool(folder / "spool", SpoolSettings(max_bytes=64 << 20), sync=no_sync)
        reader = Reader(spool, "a")
        ballast = folder / "ballast"
        ballast.write_bytes(b"x" * (700 << 10))
        kept: list[int] = []
        with pytest.raises(OutputError, match="free some space"):
            fill(spool, kept)
        with pytest.raises(OutputError, match="free some space"):
            spool.put([payload(0, 4000)])
        assert spool.state()["failed"] == 2
        ballast.unlink()
        put(spool, 77_777, size=4000)
        assert take_all(reader) == [*kept, 77_777]
        assert reader.figures(0.0)["damaged"] == 0
        spool.close()


def test_many_puts_share_one_sync(tmp_path: Path) -> None:
    syncs: list[int] = []

    def slow_sync(descriptor: int) -> None:
        syncs.append(descriptor)
        time.sleep(0.005)
        os.fdatasync(descriptor)

    spool = Spool(tmp_path, sync=slow_sync)
    reader = Reader(spool, "a")
    threads = [threading.Thread(target=put, args=(spool, *range(n * 100, n * 100 + 20))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(syncs) < 160
    found = take_all(reader)
    assert sorted(found) == sorted(n * 100 + i for n in range(8) for i in range(20))
    for n in range(8):
        assert [one for one in found if one // 100 == n] == [n * 100 + i for i in range(20)]
    spool.close()


def test_nothing_is_seen_or_acknowledged_before_it_is_on_the_disk(tmp_path: Path) -> None:
    allowed, fail = threading.Event(), threading.Event()

    def sync(descriptor: int) -> None:
        assert allowed.wait(30)
        if fail.is_set():
            raise OSError(5, "Input/output error")

    spool = Spool(tmp_path, sync=sync)
    reader = Reader(spool, "a")
    thread = threading.Thread(target=put, args=(spool, 1))
    thread.start()
    assert wait_until(lambda: spool.next == 2)
    assert take(reader) == []
    allowed.set()
    thread.join()
    assert take(reader) == [1]
    fail.set()
    with pytest.raises(OutputError, match="Input/output error"):
        spool.put([payload(2)])
    fail.clear()
    put(spool, 3)
    assert spool.state()["failed"] == 1
    assert take_all(reader)[-1] == 3
    spool.close()


def test_with_interval_puts_do_not_wait_for_the_disk(tmp_path: Path) -> None:
    syncs: list[int] = []
    spool = Spool(tmp_path, SpoolSettings(sync="interval", sync_seconds=0.5), sync=syncs.append)
    reader = Reader(spool, "a")
    put(spool, *range(50))
    assert take_all(reader) == list(range(50))
    assert wait_until(lambda: len(syncs) > 0)
    assert len(syncs) < 50
    spool.close()


def test_too_large_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SMALL, sync=no_sync)
    with pytest.raises(OutputError, match="at most"):
        spool.put([b"x" * (MAX_PAYLOAD_BYTES + 1)])
    with pytest.raises(OutputError, match="do not fit"):
        spool.put([b"x" * 40_000, b"x" * 40_000])
    assert spool.put([])
    spool.close()


def test_the_largest_record_comes_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    reader = Reader(spool, "a")
    big = b"x" * MAX_PAYLOAD_BYTES
    spool.put([b"small", big, b"last"])
    got: list[Any] = []
    while reader.figures(0.0)["waiting"]:
        records = reader.read(10, 1 << 20, 0.0, lambda: False)
        got += [record.payload for record in records]
        reader.done(len(records))
    assert got == [b"small", big, b"last"]
    spool.close()


def test_records_are_found_in_any_bytes() -> None:
    good = packed_all(7, 1.5, [b"one", b"", b"three"])
    for junk in (b"", MAGIC, MAGIC * 3, b"\0" * 100, os.urandom(64), good[:-1]):
        records, used = parsed(junk + good + junk[:3], final=True)
        assert [record.payload for record in records][-3:] == [b"one", b"", b"three"]
        assert used == len(junk + good + junk[:3])
    for cut in range(len(good)):
        records, used = parsed(good[:cut], final=False)
        again, _ = parsed(good[used:], final=True)
        assert [record.sequence for record in records + again] == [7, 8, 9]


def test_a_spool_can_be_looked_at_while_it_is_used(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put(spool, 1, 2)
    assert [one["event"]["n"] for one in peek(tmp_path)] == [1, 2]
    spool.close()


def test_a_new_reader_gets_what_an_older_one_holds(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SMALL, sync=no_sync)
    old = Reader(spool, "a")
    put(spool, *range(5))
    assert take(old, 3, done=False) == [0, 1, 2]
    new = Reader(spool, "a")
    assert take(new, 2, done=False) == [0, 1]
    old.done(3, delivered=3)  # late: it hung
    assert take(old) == []
    assert (new.figures(0.0)["waiting"], new.figures(0.0)["delivered"]) == (5, 0)
    spool.close()
    spool = Spool(tmp_path, SMALL, sync=no_sync)
    assert take_all(Reader(spool, "a")) == [0, 1, 2, 3, 4]
    spool.close()


def test_a_full_segment_that_cannot_be_put_on_the_disk_is_told(tmp_path: Path) -> None:
    failing = False

    def sync(descriptor: int) -> None:
        nonlocal failing
        if failing:
            failing = False  # the next one claims success, as fsync(2) does
            raise OSError(5, "Input/output error")

    spool = Spool(tmp_path, SMALL, sync=sync)
    put(spool, 1, size=5000)
    failing = True
    with pytest.raises(OutputError, match="Input/output error"):
        put(spool, 2)
    assert spool.state()["failed"] == 1
    put(spool, 3)
    spool.close()

# SPDX-License-Identifier: Apache-2.0
"""tritonserver is killed under load: no event that was accepted is lost, and nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from sightline.clients._shm import PREFIX
from sightline.clients.events.event import Event, utc_text
from sightline.clients.events.outbox import Outbox
from sightline.clients.events.publisher import Publisher
from sightline.clients.events.settings import JsonlSink
from sightline.clients.streams.names import Source
from sightline.clients.streams.results import StreamResult
from sightline.perf.cameras.process import CameraProcess
from sightline.perf.faults.figure import Figure, Limit, exactly
from sightline.perf.faults.world import Scene, adds_up, small_clips, wait_for

MODEL = "street_detect"
RECOVERY_SECONDS = 5.0
_CRASH_LIMIT = 1000
_MAX_DELAY_SECONDS = 0.5
_CAMERAS = 4
_PATIENCE_SECONDS = 60.0
_SHARED_MEMORY = Path("/dev/shm")


class EveryFrame:
    """An Analyst whose every result is an event."""

    def observe(self, result: StreamResult) -> StreamResult:
        """The result with one event."""
        return replace(result, events=(event_of(result),))

    def idle(self, unix_seconds: float) -> tuple[Event, ...]:
        """Nothing happens by itself."""
        return ()

    def close(self) -> tuple[Event, ...]:
        """Nothing is left to be told."""
        return ()


def event_of(result: StreamResult) -> Event:
    """The event of one frame; its id is the frame's."""
    source = result.source
    data = {"camera": source.name, "objects": len(result.detections)}
    return Event(
        source.event_id,
        "sightline.test.frame",
        f"/cameras/{source.name}",
        utc_text(source.captured_unix),
        data,
    )


def killed_tritonserver(full: bool, repository: Path | None = None) -> Figure:
    """kill -9 of the server while cameras are watched, again and again. repository: one with MODEL; None: it is built."""
    began, kills = time.monotonic(), 20 if full else 2
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="sightline-faults-")))
        before = _regions()
        server = opened.enter_context(_server(repository or _built(folder), folder))
        events = folder / "events.jsonl"
        outbox = Outbox(folder / "spool", None, [JsonlSink(kind="jsonl", path=events)])
        opened.callback(outbox.close)
        scene = opened.enter_context(_scene(opened, server.grpc_address, outbox))
        scene.live([f"camera-{i}" for i in range(_CAMERAS)], _PATIENCE_SECONDS)
        recoveries = _kill(server, scene, kills)
        summary = scene.watch.stop()
        outbox.drain(20.0)
        restarts = server.restarts
        children = _of_server(server)
        server.stop()
        kept, accepted = _ids(events), [i for ids in scene.record.event_ids.values() for i in ids]
        wrong = adds_up(scene.watch)
        outbox.close()
    orphans = [pid for pid in children if psutil.pid_exists(pid) and _is_running(pid)]
    limits = (
        Limit(
            "seconds from a kill until every camera had an answer again, worst",
            round(max(recoveries), 3),
            RECOVERY_SECONDS,
        ),
        exactly("accepted events that were lost", len(set(accepted) - set(kept))),
        exactly("events kept twice", sum(n - 1 for n in Counter(kept).values())),
        exactly("cameras whose counts do not add up", wrong),
        exactly("processes of the server that stayed", len(orphans)),
        exactly("shared-memory files that stayed", len(_regions() - before)),
    )
    done = (
        f"tritonserver killed with SIGKILL {kills} times while {_CAMERAS} cameras of 15 frames a second were watched; "
        f"{_policy_text()}"
    )
    more = {
        "recovery_seconds_mean": round(sum(recoveries) / len(recoveries), 3),
        "restarts": restarts,
        "received": summary.received,
        "answered": summary.answered,
        "dropped": summary.dropped,
        "events": len(accepted),
    }
    return Figure(
        "tritonserver killed -9 under load", done, kills, limits, more, round(time.monotonic() - began, 1)
    )


def _built(folder: Path) -> Path:
    from sightline.builders import repository_from_card
    from sightline.card import load_card
    from sightline.model_repository import shipped_card

    repository_from_card(load_card(shipped_card(MODEL)), folder / "repository")
    return folder / "repository"


def _server(repository: Path, folder: Path) -> Any:
    """Restarts quickly however often: that a crash loop is slowed down is not what is measured here."""
    from sightline.deploy import LocalServer
    from sightline.deploy.local.supervisor import RestartPolicy

    policy = RestartPolicy(crash_limit=_CRASH_LIMIT, max_delay_seconds=_MAX_DELAY_SECONDS)
    return LocalServer(repository, log_dir=folder / "log", models=[MODEL], restart_policy=policy)


def _policy_text() -> str:
    from sightline.deploy.local.supervisor import RestartPolicy

    own = RestartPolicy()
    return (
        f"restarts with crash_limit {_CRASH_LIMIT} and max_delay_seconds {_MAX_DELAY_SECONDS:g}, where the product's own "
        f"policy has {own.crash_limit} and {own.max_delay_seconds:g} s: it slows a crash loop down"
    )


def _scene(opened: ExitStack, address: str, outbox: Outbox) -> Scene:
    from sightline.clients import Client

    clip = small_clips()[0]
    cameras = opened.enter_context(CameraProcess([clip] * _CAMERAS))
    client = opened.enter_context(Client(address, timeout_seconds=4.0))
    sources = [Source(f"camera-{i}", url) for i, url in enumerate(cameras.urls)]
    return Scene(sources, client, [Publisher(outbox)], analysts=lambda source: EveryFrame())


def _kill(server: Any, scene: Scene, kills: int) -> list[float]:
    """Seconds of each kill until every camera had an answer again."""
    recoveries, waits = [], random.Random(3)
    for _ in range(kills):
        wait_for(lambda: server.pid is not None and server.state == "ready", _PATIENCE_SECONDS)
        time.sleep(waits.uniform(0.3, 1.5))
        os.kill(server.pid, signal.SIGKILL)
        at = time.monotonic()
        time.sleep(0.1)  # answers that were on their way when it died
        since = time.monotonic()
        found = wait_for(lambda since=since: _answered_after(scene, since), _PATIENCE_SECONDS)  # type: ignore[misc]
        recoveries.append(time.monotonic() - at if found else float("inf"))
    return recoveries


def _answered_after(scene: Scene, since: float) -> bool:
    """Whether of every camera a frame that was decoded after this moment was answered."""
    return all(scene.record.answered_after(f"camera-{i}", since) for i in range(_CAMERAS))


def _ids(events: Path) -> list[str]:
    return [json.loads(line)["id"] for line in events.read_text(encoding="utf-8").splitlines()]


def _regions() -> set[str]:
    """Names in /dev/shm that this process and its servers have made."""
    from sightline.deploy.local.run_id import run_id_of_region

    names = os.listdir(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else []
    own = os.getpid()
    return {
        name
        for name in names
        if name.startswith(f"{PREFIX}{own}-") or ((run := run_id_of_region(name)) and run.pid == own)
    }


def _of_server(server: Any) -> list[int]:
    try:
        process = psutil.Process(server.pid)
        return [process.pid, *(child.pid for child in process.children(recursive=True))]
    except (psutil.Error, TypeError):
        return []


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False

# SPDX-License-Identifier: Apache-2.0
"""The demo from end to end, as `make demo SECONDS=…` runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import av
import pytest
from PIL import Image

SECONDS = 12


def _demo(folder: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "sightline.cli",
        "demo",
        *("--work", str(folder / "work"), "--output", str(folder / "out"), "--page", "0"),
        *options,
    ]


@pytest.mark.timeout(400)
def test_demo_answers_every_camera(tmp_path: Path) -> None:
    """Four cameras are answered, the counts add up, and video, sheet and events are left."""
    done = subprocess.run(
        _demo(tmp_path, "--seconds", str(SECONDS)), capture_output=True, text=True, timeout=380
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ok"] is True
    assert len(summary["cameras"]) == 4
    for camera in summary["cameras"]:
        assert camera["answered"] > 0
        assert camera["received"] == camera["answered"] + sum(camera["dropped"].values())
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert {event["camera"] for event in events} == {camera["name"] for camera in summary["cameras"]}
    with av.open(str(out / "watch.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) > SECONDS
    with Image.open(out / "contact-sheet.png") as sheet:
        assert min(sheet.size) > 500


def _received_soon(url: str) -> bool:
    for _ in range(240):
        with (
            contextlib.suppress(TimeoutError),
            urllib.request.urlopen(f"{url}api/state", timeout=30) as answer,
        ):
            if json.load(answer)["cameras"][0]["received"] > 0:
                return True
        time.sleep(0.5)
    return False


@pytest.mark.timeout(400)
def test_demo_ends_on_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C ends the demo with its summary and exit status 0, while the page had answered; no process stays."""
    process = subprocess.Popen(
        _demo(tmp_path, "--cameras", "1"), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("page: "):
                break
        url = lines[-1].removeprefix("page: ").strip()
        assert _received_soon(url)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
        assert process.returncode == 0, "".join(lines) + rest
        assert "Summary" in rest
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert _ended_soon(process.pid)


def _ended_soon(group: int) -> bool:
    """Whether all processes of the group end; what was told to may need a moment of a busy machine."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False

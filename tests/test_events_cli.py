# SPDX-License-Identifier: Apache-2.0
"""`sightline events`: what a person sees of events, also while the watch runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner, Result

from sightline.clients.events import EventStore, cli
from sightline.clients.events.cli import register_events
from sightline.clients.events.settings import WebhookSink
from sightline.errors import OutputError
from tests.events_parts import event, outbox, receiver, wait_until

app = typer.Typer()
register_events(app)


@app.callback()
def main() -> None:
    """The program that the commands are part of."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["events", *arguments])


def test_events_can_be_listed_followed_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EventStore(tmp_path / "events.sqlite", max_days=100_000)
    with receiver() as server:
        server.answer = lambda body: 400
        sink = WebhookSink(kind="webhook", url=f"http://127.0.0.1:{server.port}", timeout_seconds=60)
        with outbox(tmp_path / "spool", sink, store=store) as opened:
            opened.put(event(1), event(2, camera="yard\x1b[2J"), event(3))
            assert opened.drain(120)
            lines = run("list", str(tmp_path)).stdout.splitlines()
            assert [line.split("  ")[:3] for line in lines] == [
                ["2023-11-14T22:13:21.000Z", "sightline.line.crossed", "gate"],
                ["2023-11-14T22:13:22.000Z", "sightline.line.crossed", "yard?[2J"],
                ["2023-11-14T22:13:23.000Z", "sightline.line.crossed", "gate"],
            ]
            shown = run("list", str(tmp_path), "--camera", "gate", "--limit", "1", "--json").stdout
            assert json.loads(shown)["data"]["number"] == 3
            letters = run("dead", str(tmp_path), "--json").stdout.splitlines()
            assert [json.loads(line)["reason"] for line in letters] == ["webhook: answered 400"] * 3
            assert "webhook: answered 400" in run("dead", str(tmp_path)).stdout
            server.answer = lambda body: 200
            assert (
                run("dead", str(tmp_path), "--retry", "webhook").stdout
                == "3 events of webhook will be tried again\n"
            )
            assert wait_until(lambda: len(server.bodies) == 3)
            now = [0.0]

            def pause(seconds: float) -> None:
                if now[0] == 0.0:
                    opened.put(event(4), event(5, camera="yard"))
                    assert opened.drain(120)
                now[0] += seconds

            monkeypatch.setattr(cli, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=pause))
            followed = run("tail", str(tmp_path), "--camera", "gate", "--json", "--seconds", "3").stdout
            assert [json.loads(line)["data"]["number"] for line in followed.splitlines()] == [4]
            waiting = run("waiting", str(tmp_path))
            assert "webhook: 5 delivered, 3 refused, 0 dropped" in waiting.stderr
            assert "3 refused" not in run("waiting", str(tmp_path), "--json").output
    store.close()
    assert len(run("list", str(tmp_path)).stdout.splitlines()) == 5  # the watch has ended


@pytest.mark.parametrize("command", ["list", "dead", "waiting", "tail"])
def test_a_wrong_folder_is_told(command: str, tmp_path: Path) -> None:
    done = run(command, str(tmp_path / "nowhere"))
    assert isinstance(done.exception, OutputError)
    assert "name the folder of a watch" in str(done.exception)


def test_every_command_shows_examples() -> None:
    for command in ("list", "tail", "waiting", "dead"):
        assert f"sightline events {command}" in run(command, "--help").stdout

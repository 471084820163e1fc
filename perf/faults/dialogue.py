# SPDX-License-Identifier: Apache-2.0
"""Cameras that refuse the password or describe themselves wrongly."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sightline.clients.streams.names import Source
from sightline.perf.cameras.asyncio_server import AsyncioCameraServer
from sightline.perf.cameras.clip_file import Clip, read_clip
from sightline.perf.faults.figure import Figure, Limit, exactly
from sightline.perf.faults.world import BACK_SECONDS, Scene, adds_up, small_clips, wait_for

SECRET = "kanarie-5f1d9c"
ATTEMPTS_A_MINUTE = 6
_PATIENCE_SECONDS = 45.0


class _Kept(logging.Handler):
    """Keeps the text of all log records."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


def wrong_passwords(full: bool) -> Figure:
    """The camera refuses the login; attempts must be few, and the password must stand nowhere."""
    began, seconds = time.monotonic(), 60.0 if full else 8.0
    with ExitStack() as opened:
        clip = read_clip(small_clips()[0])
        server = AsyncioCameraServer([clip, clip], user="viewer", password="right")
        server.start()
        opened.callback(server.stop)
        kept, root = _Kept(), logging.getLogger()
        level = root.level
        root.addHandler(kept)
        root.setLevel(logging.DEBUG)
        opened.callback(root.setLevel, level)
        opened.callback(root.removeHandler, kept)
        address = f"127.0.0.1:{server.port}/camera"
        sources = [
            Source("wrong", f"rtsp://viewer:{SECRET}@{address}/0"),
            Source("sibling-0", f"rtsp://viewer:right@{address}/1"),
        ]
        scene = opened.enter_context(Scene(sources))
        scene.live(["sibling-0"])
        command = opened.enter_context(_CommandLine(f"rtsp://viewer:{SECRET}@{address}/0"))
        told = wait_for(lambda: scene.camera("wrong")["error"] is not None, _PATIENCE_SECONDS)
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        texts = [json.dumps(scene.watch.state()), repr(sources), *kept.texts]
        argv = command.argv()
        texts += [argv, command.end()]
        attempts, lost = server.refused_logins(0), scene.record.lost("sibling-0")
        wrong = adds_up(scene.watch)
        texts.append(json.dumps(scene.watch.stop().to_dict()))
    limits = (
        Limit(
            "logins tried in the first minute, by each watch", attempts / 2, ATTEMPTS_A_MINUTE, counted=True
        ),
        exactly(
            "places of the password (log, state, summary, repr, output, argv)",
            sum(SECRET in t for t in texts),
        ),
        exactly("cameras that were told to be refused", int(told), 1),
        exactly("pictures that the sibling lost", lost),
        exactly("cameras whose counts do not add up", wrong),
    )
    done = f"a camera with a wrong password and a right one beside it, in a watch and in `sightline watch`, {seconds:.0f} s"
    more = {"log_records": len(kept.texts), "seconds_watched": seconds}
    return Figure("wrong password", done, attempts, limits, more, round(time.monotonic() - began, 1))


class _CommandLine:
    """`sightline watch` on a sources file, as a person starts it."""

    def __init__(self, url: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sightline-faults-")
        sources = Path(self._folder.name) / "sources.yaml"
        sources.write_text(f'wrong: "{url}"\n', encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "sightline.cli",
            "watch",
            "--sources",
            str(sources),
            "--server",
            "127.0.0.1:9",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def __enter__(self) -> _CommandLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._folder.cleanup()

    def argv(self) -> str:
        """Arguments as other users of the machine see them."""
        return Path(f"/proc/{self._process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()

    def end(self) -> str:
        """End it as Ctrl-C does; its output."""
        if self._process.returncode is not None:
            return ""
        self._process.send_signal(2)
        try:
            return self._process.communicate(timeout=20)[0]
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.communicate()[0]


def _field(name: str, value: str) -> Callable[[str], str]:
    return lambda sdp: re.sub(rf"{name}=[^;\r]*", f"{name}={value}", sdp)


def _line(start: str, instead: str) -> Callable[[str], str]:
    return lambda sdp: "".join(
        f"{instead}\r\n" if line.startswith(start) else f"{line}\r\n" for line in sdp.splitlines()
    )


_SMALL_SPS = "Z0LAHtoCgPaEAAADAAQAAAMA8DxYuSA=,aM48gA=="
"""Parameter sets of a picture of another size (640x480) than any that is sent."""

LIES: dict[str, Callable[[str], str]] = {
    "resolution of another camera": _field("sprop-parameter-sets", _SMALL_SPS),
    "no parameter sets": lambda sdp: re.sub(r";sprop-parameter-sets=[^\r]*", "", sdp),
    "parameter sets that are none": _field("sprop-parameter-sets", "!!!!,####"),
    "profile that does not exist": _field("profile-level-id", "ffffff"),
    "another codec": lambda sdp: sdp.replace("H264/90000", "H265/90000"),
    "a codec that does not exist": lambda sdp: sdp.replace("H264/90000", "XYZZY/90000"),
    "huge numbers": lambda sdp: _line("a=framerate", "a=framerate:1e308")(sdp).replace(
        "H264/90000", "H264/4294967295"
    ),
    "negative packetisation mode": _field("packetization-mode", "-99999999999999999999"),
    "half of it": lambda sdp: sdp[: len(sdp) // 2],
    "nothing": lambda sdp: "",
    "a very long line": lambda sdp: sdp + "a=" + "x" * 60_000 + "\r\n",
    "500 streams": lambda sdp: sdp + "m=video 0 RTP/AVP 96\r\n" * 500,
}


def lying_descriptions(full: bool) -> Figure:
    """Each camera tells another lie about itself, then the truth; no lie may hurt another camera."""
    began, rounds = time.monotonic(), 2 if full else 1
    lies = {name: lie for name, lie in LIES.items() if full or name not in _SLOWLY_FOUND}
    with ExitStack() as opened:
        clip = read_clip(small_clips()[0])
        servers = [opened.enter_context(_camera(clip)) for _ in range(len(lies) + 1)]
        names = [f"liar-{i}" for i in range(len(lies))]
        _tell(servers, lies)
        urls = [f"rtsp://127.0.0.1:{server.port}/camera/0" for server in servers]
        scene = Scene([Source(name, url) for name, url in zip([*names, "sibling-0"], urls, strict=True)])
        opened.enter_context(scene)
        scene.live(["sibling-0"])
        back: list[float] = []
        mute: list[str] = []
        for number in range(rounds):
            if number:
                _tell(servers, lies)
                for server in servers[:-1]:
                    server.kill_connections(0)
            mute += _told_or_seen(scene, names, list(lies))
            _tell(servers, dict.fromkeys(lies))
            back += _truth(scene, names)
        sizes = {seen.size for name in names for seen in scene.record.frames(name) if not seen.damaged}
        lost, connections = scene.record.lost("sibling-0"), scene.camera("sibling-0")["connections"]
        wrong = adds_up(scene.watch)
    limits = (
        Limit("seconds from the truth to a whole picture, worst", round(max(back), 3), BACK_SECONDS),
        exactly("lies after which a camera neither showed pictures nor told why not", len(mute)),
        exactly("sizes of pictures that are not the camera's", len(sizes - {(clip.width, clip.height)})),
        exactly("pictures that the sibling lost", lost),
        exactly("reconnections of the sibling", connections - 1),
        exactly("cameras whose counts do not add up", wrong),
    )
    done = f"{len(lies)} lies in the session description ({', '.join(lies)}), {rounds} times over"
    more = {"mute": mute}
    return Figure("lying SDP", done, len(lies) * rounds, limits, more, round(time.monotonic() - began, 1))


_SLOWLY_FOUND = ("another codec",)
"""So long a new link may wait for its first key frame, which never comes here."""


@contextmanager
def _camera(clip: Clip) -> Iterator[AsyncioCameraServer]:
    """A host of its own, so that no camera waits for another one's turn."""
    server = AsyncioCameraServer([clip])
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _tell(servers: list[AsyncioCameraServer], lies: Mapping[str, Callable[[str], str] | None]) -> None:
    for server, lie in zip(servers, lies.values(), strict=False):
        server.faults(0).sdp = lie


def _told_or_seen(scene: Scene, names: list[str], lies: list[str]) -> list[str]:
    """Lies of cameras that after a while neither show pictures nor say what is wrong."""

    def settled(name: str) -> bool:
        camera = scene.camera(name)
        return camera["state"] == "live" or bool(camera["error"])

    wait_for(lambda: all(settled(name) for name in names), _PATIENCE_SECONDS)
    return [lie for name, lie in zip(names, lies, strict=True) if not settled(name)]


def _truth(scene: Scene, names: list[str]) -> list[float]:
    since = time.monotonic()
    return [scene.seconds_to_frame(name, since, _PATIENCE_SECONDS) for name in names]

# SPDX-License-Identifier: Apache-2.0
"""A cameras file, running: rules, events, pictures, changes by file and by HTTP, with real streams and real files."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from sightline.clients.config.watch_file import Page
from sightline.clients.page.control import EventQuery
from sightline.clients.service import WatchService, described
from sightline.clients.service import service as service_module
from sightline.clients.streams.names import Source
from sightline.clients.streams.results import Packet, StreamFrame, VideoFormat
from sightline.errors import ConfigError, OutputError, StreamError
from sightline.frame import Frame
from sightline.results import Detections
from tests.streams_parts import BrightObjectClient, make_clip

PATIENCE_SECONDS = 120.0
HALVES = 5
NEVER_SECONDS = 3600.0  # where the test itself has the file read again
LINE = "{name: middle, kind: line, points: [[0.5, 0], [0.5, 1]], clip: true}"
PASSWORD = "kaltwasser77"


class Client(BrightObjectClient):
    """Finds the bright object; is asked about crops as well."""

    def submit_infer(self, model: str, image: Frame) -> Future[Detections]:
        return self.submit(model, image)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object that crosses the middle every few seconds."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=3.0)


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the cameras file."""
    monkeypatch.setattr(service_module, "RELOAD_SECONDS", 0.25)


@pytest.fixture
def client() -> Iterator[Client]:
    """Closed afterwards."""
    made = Client()
    yield made
    made.close()


def _file(folder: Path, text: str) -> Path:
    path = folder / "cameras.yaml"
    path.write_text(text)
    return path


def _service(path: Path, client: Client, notices: list[str] | None = None) -> WatchService:
    document, adapt = described([], path, None, {})
    tell = (notices if notices is not None else []).append
    return WatchService(document, client, path=path, page=Page(port=0), adapt=adapt, notice=tell)  # type: ignore[arg-type]


def _soon(what: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true answer; the last one where none came in time."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.03)
    return found


def _camera(service: WatchService, name: str) -> dict[str, Any]:
    return next((c for c in service.state()["cameras"] if c["name"] == name), {})


def _call(service: WatchService, path: str, method: str = "GET", document: Any = None) -> Any:
    request = urllib.request.Request(
        f"{service.page_url}{path}",
        method=method,
        data=None if document is None else json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read()
    return json.loads(body) if answer.headers["Content-Type"].startswith("application/json") else body


def test_a_crossing_becomes_an_event_with_picture_and_clip(
    tmp_path: Path, clip: Path, client: Client
) -> None:
    path = _file(tmp_path, f"cameras:\n  door: {{url: {clip}, loop: true, rules: [{LINE}]}}\n"
                 f"media: {{pre_seconds: 0.5, post_seconds: 0.5}}\nsinks: [{{kind: jsonl, path: out.jsonl}}]\n")  # fmt: skip
    service = _service(path, client)
    service.start()
    try:
        query = EventQuery(types=("sightline.line.crossed",))
        first = _soon(lambda: service.events(query))[-1]
        assert _camera(service, "door")["counts"]["middle"].keys() == {"forward", "backward"}
        assert _soon(
            lambda: (
                len(service.events(query)) == sum(_camera(service, "door")["counts"]["middle"].values()) > 0
            )
        )
        data = first["data"]
        assert (data["camera"], data["rule"], data["label"]) == ("door", "middle", "lamp")
        assert _soon(lambda: service.media(data["snapshot"]))
        assert _soon(lambda: service.media(data["clip"]))
        assert _call(service, f"media/{data['snapshot']}")[:2] == b"\xff\xd8"
        assert _call(service, "api/events")["events"]
    finally:
        summary = service.stop()
    assert all(camera.counts.adds_up for camera in summary.cameras)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert first["id"] in [line["id"] for line in lines]
    assert len({line["id"] for line in lines}) == len(lines)


def test_changes_of_the_file_touch_only_what_differs(tmp_path: Path, clip: Path, client: Client) -> None:
    path = _file(tmp_path, f"cameras:\n  a: {{url: {clip}, loop: true}}\n  b: {{url: {clip}, loop: true}}\n")
    notices: list[str] = []
    service = _service(path, client, notices)
    service.start()
    try:
        assert _soon(lambda: _camera(service, "a").get("answered", 0) > 0)
        number = _camera(service, "a")["id"]
        path.write_text(
            f"cameras:\n  a: {{url: {clip}, loop: true, rules: [{LINE}]}}\n  c: {{url: {clip}, loop: true}}\n"
        )
        assert _soon(lambda: _camera(service, "c").get("answered", 0) > 0)
        assert _soon(lambda: _camera(service, "b") == {})
        assert _soon(lambda: "middle" in _camera(service, "a").get("counts", {}))
        assert (_camera(service, "a")["id"], _camera(service, "a")["connections"]) == (number, 1)
        assert _soon(lambda: any("added: c; removed: b; changed: a" in notice for notice in notices))
        path.write_text("cameras:\n  a: {url: 3")
        assert _soon(lambda: any("was changed and is not used" in notice for notice in notices))
        assert _camera(service, "a")["connections"] == 1
    finally:
        summary = service.stop()
    assert {camera.name for camera in summary.cameras} == {"a", "b", "c"}
    assert all(camera.counts.adds_up for camera in summary.cameras)


def test_the_page_changes_the_file_and_never_sees_a_password(
    tmp_path: Path, clip: Path, client: Client
) -> None:
    path = _file(
        tmp_path,
        f"cameras:\n  a: {{url: {clip}, loop: true}}  # ours\n  far: rtsp://admin:{PASSWORD}@127.0.0.1:9/1\n",
    )
    service = _service(path, client)
    service.start()
    try:
        rule = {"name": "pen", "kind": "zone", "points": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]}
        _call(service, "api/cameras/a/rules", "PUT", {"rules": [rule]})
        assert "# ours" in path.read_text()
        assert _soon(lambda: "pen" in _camera(service, "a").get("counts", {}))
        _call(service, "api/cameras/new", "PUT", {"url": "rtsp://127.0.0.1:9/2", "rate": 3})
        assert _camera(service, "new")["rate"] == 3
        _call(service, "api/cameras/new", "DELETE")
        assert _camera(service, "new") == {}
        shown = json.dumps([_call(service, "api/cameras"), _call(service, "api/state")])
        assert PASSWORD not in shown
        assert PASSWORD not in _call(service, "metrics").decode()
        for document in (
            {"url": "/etc/hostname"},
            {"url": "rtsp://evil/${HOME}"},
            {"url": "rtsp://h/1", "ca_file": "/etc/shadow"},
            {"url": "rtsp://h/1", "rules": [{"kind": "zone", "name": "x", "points": [[0, 0]]}]},
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                _call(service, "api/cameras/spy", "PUT", document)
            assert refused.value.code == 400
            refused.value.close()
        assert "spy" not in path.read_text()
    finally:
        service.stop()
    assert PASSWORD in path.read_text()


def test_a_private_camera_shows_no_video_of_its_own(tmp_path: Path, clip: Path, client: Client) -> None:
    path = _file(
        tmp_path,
        f"cameras:\n  a: {{url: {clip}, loop: true, privacy: {{classes: ['*'], method: fill}}, rules: [{LINE}]}}\n"
        "media: {pre_seconds: 0.5, post_seconds: 0.5}\n",
    )
    service = _service(path, client)
    service.start()
    try:
        event = _soon(lambda: service.events(EventQuery(types=("sightline.line.crossed",))))[-1]
        picture = _soon(lambda: service.media(event["data"]["snapshot"]))
        clip_of_it = _soon(lambda: service.media(event["data"]["clip"]))
    finally:
        service.stop()
    import av
    from PIL import Image

    with av.open(str(clip_of_it)) as film:  # made of the covered pictures, not of what the camera sent
        levels = [int(shown.to_ndarray(format="gray").max()) for shown in film.decode(video=0)]
    assert levels
    assert max(levels) < 190

    with Image.open(picture) as image:
        x1, y1, x2, y2 = event["data"]["box"]
        inside = image.convert("L").crop((int(x1) + 4, int(y1) + 4, int(x2) - 4, int(y2) - 4))
        assert inside.getextrema()[1] < 190  # the object is brighter


def test_a_file_that_is_being_written_is_waited_for(
    tmp_path: Path, clip: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at the end of a line it is a cameras file too, without its last cameras."""
    text = f"cameras:\n  a: {{url: {clip}, loop: true}}\n  b: {{url: {clip}, loop: true}}\n"
    path = _file(tmp_path, text)
    looks, print_of = 0, service_module._print_of

    def writing(file: Path) -> Any:
        """Between two looks ever another half is written, in the end the whole."""
        nonlocal looks
        looks += 1
        if looks <= HALVES:
            file.write_text("".join(text.splitlines(keepends=True)[:2]) + "#" * looks + "\n")
        elif looks == HALVES + 1:
            file.write_text(text)
        return print_of(file)

    service = _service(path, client)
    service.start()
    try:
        assert _soon(lambda: _camera(service, "b").get("answered", 0) > 0)
        number = _camera(service, "b")["id"]
        monkeypatch.setattr(service_module, "_print_of", writing)
        assert _soon(lambda: looks >= HALVES + 6)
        assert (_camera(service, "b")["id"], _camera(service, "b")["connections"]) == (number, 1)
    finally:
        service.stop()


def test_a_change_that_fails_does_not_keep_the_others_away(
    tmp_path: Path, clip: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "RELOAD_SECONDS", NEVER_SECONDS)
    path = _file(tmp_path, f"cameras:\n  a: {{url: {clip}, loop: true}}\n")
    service = _service(path, client)
    service.start()
    add = service.watch.add

    def broken(source: Source) -> int:
        if source.name == "b":
            raise RuntimeError("can't start new thread")
        return add(source)

    try:
        monkeypatch.setattr(service.watch, "add", broken)
        path.write_text(
            f"cameras:\n  b: {clip}\n  c: {{url: {clip}, loop: true}}\n"
            f"  a: {{url: {clip}, loop: true, privacy: {{classes: ['*']}}}}\n"
        )
        with pytest.raises(ConfigError, match="b could not be changed: can't start new thread"):
            service.reload()
        assert _soon(lambda: _camera(service, "c").get("answered", 0) > 0)
        monkeypatch.undo()
        service.reload()
        assert _camera(service, "b")
        assert service._analysts["a"].settings.privacy is not None
    finally:
        service.stop()


def test_a_camera_that_is_away_becomes_private_too(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "RELOAD_SECONDS", NEVER_SECONDS)
    clip = make_clip(tmp_path / "short.mp4", seconds=0.5)
    path = _file(tmp_path, f"cameras:\n  a: {{url: {clip}}}\n")
    seen: list[str] = []

    class Video:
        def on_added(self, camera: int, name: str) -> None: ...
        def on_removed(self, camera: int) -> None: ...
        def on_connected(self, camera: int, epoch: int, video: VideoFormat) -> None:
            seen.append(video.codec)

        def on_packet(self, camera: int, epoch: int, packet: Packet) -> None: ...
        def on_frame(self, frame: StreamFrame) -> None: ...
        def on_disconnected(self, camera: int) -> None: ...

    document, adapt = described([], path, None, {})
    service = WatchService(document, client, path=path, videos=[Video()], adapt=adapt)  # type: ignore[arg-type]
    service.start()
    try:
        assert _soon(lambda: service.ended)
        path.write_text(f"cameras:\n  a: {{url: {clip}, privacy: {{classes: ['*']}}}}\n")
        service.reload()
        assert seen == ["h264", "private"]
    finally:
        service.stop()


def test_the_page_cannot_name_a_camera_of_the_command_line(
    tmp_path: Path, clip: Path, client: Client
) -> None:
    path = _file(tmp_path, f"cameras:\n  a: {{url: {clip}, loop: true}}\n")
    document, adapt = described([f"front={clip}"], path, None, {})
    service = WatchService(document, client, path=path, adapt=adapt)  # type: ignore[arg-type]
    try:
        before = path.read_text()
        with pytest.raises(StreamError, match="'front' is given to more than one camera"):
            service.put_camera("front", {"url": "rtsp://127.0.0.1:9/1"})
        assert path.read_text() == before
        service.put_rules("a", [{"name": "z", "kind": "zone", "points": [[0, 0], [1, 0], [1, 1]]}])
    finally:
        service.stop()


def test_one_folder_serves_one_watch(tmp_path: Path, clip: Path, client: Client) -> None:
    path = _file(tmp_path, f"cameras: {{a: {{url: {clip}, loop: true}}}}\n")
    first = _service(path, client)
    try:
        with pytest.raises(OutputError, match="another"):
            _service(path, client)
    finally:
        first.stop()


def test_command_line_beside_a_file(tmp_path: Path, clip: Path) -> None:
    path = _file(tmp_path, f"server: far:8001\ncameras: {{a: {clip}, b: {{url: {clip}, model: own}}}}\n")
    document, adapt = described([f"extra={clip}"], path, "near:8001", {"model": "mine", "loop": None})
    assert document.server == "near:8001"
    assert {name: camera.model for name, camera in document.cameras.items()} == {
        "extra": "mine", "a": "mine", "b": "own",
    }  # fmt: skip
    assert adapt(document.model_copy(update={"cameras": {}})).cameras.keys() == {"extra"}
    with pytest.raises(StreamError, match="'a' is given to more than one camera"):
        described([f"a={clip}"], path, None, {})
    with pytest.raises(StreamError, match="no camera is named"):
        described([], None, None, {})


def test_without_a_file_nothing_is_kept_and_changes_are_refused(
    tmp_path: Path, clip: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    document, adapt = described([f"a={clip}"], None, None, {"loop": True})
    service = WatchService(document, client, page=Page(port=0), adapt=adapt)  # type: ignore[arg-type]
    service.start()
    try:
        assert _soon(lambda: _camera(service, "a").get("answered", 0) > 0)
        assert _call(service, "api/state")["cameras"][0]["name"] == "a"
        with pytest.raises(ConfigError, match="without a cameras file"):
            service.put_rules("a", [])
        assert service.events(EventQuery()) == []
    finally:
        service.stop()
    assert list(tmp_path.iterdir()) == []

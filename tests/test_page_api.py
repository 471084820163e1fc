# SPDX-License-Identifier: Apache-2.0
"""The page's HTTP API with real sockets: routes, errors, media, logins."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route
from typer.testing import CliRunner

from sightline.clients.page import PageServer, connections, hash_password, requests
from sightline.clients.page import server as page_server
from sightline.clients.page.control import EventQuery
from sightline.clients.page.login import FAILURES_AN_HOUR, Logins, Throttle, password_fits
from sightline.clients.page.mjpeg import MjpegStreams
from sightline.clients.page.recent import MAX_EVENTS, RecentEvents
from sightline.clients.page.requests import MAX_BODY_BYTES
from sightline.errors import OutputError
from tests.page_parts import Browserless, DictControl, Feeder, event_of, wait_for
from tests.streams_parts import make_clip

PASSWORD = "correct horse battery"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
FENCE = {"name": "fence", "kind": "line", "points": [[0.1, 0.6], [0.9, 0.6]]}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "media"
    (folder / "gate").mkdir(parents=True)
    (folder / "gate" / "1.jpg").write_bytes(bytes(range(200)))
    (folder / "gate" / "run.html").write_text("<script>")
    (folder.parent / "secret.jpg").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def control(media: Path) -> DictControl:
    return DictControl(["gate", "yard 2"], media)


@pytest.fixture(scope="module")
def page(control: DictControl) -> Iterator[PageServer]:
    page = PageServer(0, control=control)
    page.open()
    for camera, name in ((70_000, "gate"), (4_000_000_000, "yard 2")):
        page.on_added(camera, name)
    yield page
    page.close()


@pytest.fixture
def api(page: PageServer) -> Browserless:
    return Browserless(page)


def test_state_and_cameras(api: Browserless) -> None:
    status, state = api.json("/api/state")
    assert status == 200
    assert [c["name"] for c in state["cameras"]] == ["gate", "yard 2"]
    assert state["viewers"] == 0
    assert set(api.json("/api/cameras")[1]["cameras"]) == {"gate", "yard 2"}
    status, headers, data = api.ask("/metrics")
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert b"# TYPE sightline_" in data
    assert b'camera="yard 2"' in data
    assert set(api.json("/api/schema")[1]) == {"rule", "camera"}
    assert api.json("/api/cameras/yard%202")[1]["url"] == "rtsp://***@10.0.0.7/yard 2"
    status, error = api.json("/api/cameras/nobody")
    assert (status, "gate" in error["error"]) == (404, True)


def test_cameras_come_change_and_go(api: Browserless, control: DictControl) -> None:
    assert api.json("/api/cameras/dock", "PUT", {"url": "rtsp://10.0.0.9/1"}) == (201, {"camera": "dock"})
    assert api.json("/api/cameras/dock", "PUT", {"rate": 5}) == (200, {"camera": "dock"})
    assert control.settings["dock"]["rate"] == 5
    assert api.json("/api/cameras/dock", "DELETE")[0] == 200
    assert api.json("/api/cameras/dock", "DELETE")[0] == 404
    status, error = api.json("/api/cameras/other", "PUT", {})
    assert (status, error["error"]) == (400, "camera 'other' has no url; give one")
    assert api.json("/api/cameras/a%3Cb", "PUT", {})[0] == 400


def test_rules_are_replaced_and_their_errors_name_rule_and_field(
    api: Browserless, control: DictControl
) -> None:
    assert api.json("/api/cameras/gate/rules", "PUT", {"rules": [FENCE]})[0] == 200
    assert control.settings["gate"]["rules"] == [FENCE]
    assert api.json("/api/cameras/gate/rules")[1] == {"rules": [FENCE]}
    wrong = {"name": "pen", "kind": "zone", "points": [[0, 0], [1, 0], [1, 1.5]]}
    status, error = api.json("/api/cameras/gate/rules", "PUT", {"rules": [FENCE, wrong]})
    assert status == 400
    assert error["problems"][0]["rule"] == "pen"
    assert error["problems"][0]["field"] == "points.2.1"
    assert "rule 'pen' field points.2.1" in error["error"]
    status, error = api.json("/api/cameras/gate/rules", "PUT", [FENCE, FENCE])
    assert (status, "given twice" in error["error"]) == (400, True)
    status, error = api.json(
        "/api/cameras/gate/rules", "PUT", [{"name": "v", "kind": "speed", "above_kmh": 50}]
    )
    assert (status, "`ground`" in error["error"]) == (400, True)
    assert control.settings["gate"]["rules"] == [FENCE]


def test_bodies_are_bounded_and_must_be_json(api: Browserless) -> None:
    path = "/api/cameras/gate/rules"
    assert api.ask(path, "PUT", raw=b"{")[0] == 400
    assert api.ask(path, "PUT", raw=b"[" * 5000)[0] == 400
    assert api.ask(path, "PUT", raw=b"[]", Content_Type="text/plain")[0] == 415
    assert api.ask(path, "PUT", raw=b" " * (MAX_BODY_BYTES + 1))[0] == 413
    assert api.json(path, "PUT", {"rules": "x"})[0] == 400
    assert api.ask(path, "PUT", raw=b"[]", Origin="http://evil.example")[0] == 403
    assert api.ask("/api/state", "POST", {})[0] == 405
    assert api.ask("/api/state", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors")[0] == 403


def test_events_are_filtered_and_paged(api: Browserless, control: DictControl) -> None:
    for number in range(5):
        control.recent.add(event_of(number, rule="fence" if number % 2 else "pen").to_dict())
    events = api.json("/api/events")[1]["events"]
    assert [e["data"]["track_id"] for e in events] == [4, 3, 2, 1, 0]
    page_2 = api.json(f"/api/events?limit=2&before={events[1]['position']}")[1]["events"]
    assert [e["data"]["track_id"] for e in page_2] == [2, 1]
    assert len(api.json("/api/events?rule=fence&camera=gate&label=person")[1]["events"]) == 2
    assert api.json("/api/events?type=sightline.zone.entered")[1]["events"] == []
    assert api.json("/api/events?since=2999-01-01T00:00:00Z")[1]["events"] == []
    assert len(api.json("/api/events?since=2020-01-01&until=2999-01-01")[1]["events"]) == 5
    for wrong in ("since=yesterday", "limit=0", "limit=x", "before=nan", "colour=red"):
        status, error = api.json(f"/api/events?{wrong}")
        assert status == 400
        assert wrong.partition("=")[0] in error["error"]
    counts = api.json("/api/counts?hours=1")[1]["counts"]
    assert sum(c["count"] for c in counts) == 5
    assert {c["rule"] for c in counts} == {"fence", "pen"}


def test_media_in_parts_and_never_outside(api: Browserless) -> None:
    status, headers, data = api.ask("/media/gate/1.jpg")
    assert (status, headers["content-type"], data) == (200, "image/jpeg", bytes(range(200)))
    assert headers["cache-control"] == "private, max-age=86400, immutable"
    assert api.ask("/media/gate/2.jpg")[1]["cache-control"] == "no-store"
    status, headers, data = api.ask("/media/gate/1.jpg", Range="bytes=10-19")
    assert (status, headers["content-range"], data) == (206, "bytes 10-19/200", bytes(range(10, 20)))
    outside = (
        "../secret.jpg", "%2e%2e/secret.jpg", "gate/../../secret.jpg", "gate/%2e%2e%2f..%2fsecret.jpg", "/etc/passwd",
        "%2fetc%2fpasswd", "gate/run.html", "gate", "", "gate%5c..%5c1.jpg", "gate/1.jpg%00",
    )  # fmt: skip
    for path in outside:
        status, _, data = api.ask("/media/" + path)
        assert status == 404, path
        assert b"secret" not in data.replace(b"secret.jpg", b"")


def test_a_broken_event_store_is_not_the_askers_fault(
    api: Browserless, control: DictControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: EventQuery) -> list[dict[str, Any]]:
        raise OutputError("the event store cannot be read")

    monkeypatch.setattr(control, "events", broken)
    assert api.json("/api/events") == (503, {"error": "the event store cannot be read"})


def test_a_watch_without_a_file_shows_what_passes_and_changes_nothing() -> None:
    page = PageServer(0)
    page.open(["gate"], lambda: {"model": "m", "server": "up", "cameras": []})
    try:
        api = Browserless(page)
        page.emit(event_of(1))
        page.emit(event_of(1))
        page.emit(event_of(1, snapshot="gate/1.jpg"))
        events = wait_for(lambda: api.json("/api/events")[1]["events"])
        wait_for(lambda: "snapshot" in api.json("/api/events")[1]["events"][0]["data"])
        assert len(events) == 1
        assert api.json("/api/counts")[1]["counts"][0]["count"] == 1
        assert api.json("/api/cameras")[1] == {"cameras": {"gate": {}}}
        status, error = api.json("/api/cameras/gate/rules", "PUT", [])
        assert (status, "cameras.yaml" in error["error"]) == (409, True)
        assert api.ask("/media/gate/1.jpg")[0] == 404
    finally:
        page.close()


def test_the_newest_events_are_kept_and_no_more() -> None:
    recent = RecentEvents()
    for number in range(MAX_EVENTS + 10):
        assert recent.add(event_of(number).to_dict())
    kept = recent.query(EventQuery(limit=2 * MAX_EVENTS))
    assert len(kept) == MAX_EVENTS
    assert kept[-1]["data"]["track_id"] == 10
    assert not recent.add(event_of(MAX_EVENTS + 9).to_dict() | {"time": kept[0]["time"]})


def test_motion_jpeg_has_the_boxes_and_the_newest_picture(
    page: PageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    import numpy as np
    from PIL import Image

    # a feeder that lags gets no pictures without boxes
    monkeypatch.setattr(page_server, "QUIET_SECONDS", 600.0)
    clip = make_clip(tmp_path / "a.mp4", seconds=4)
    feeder = Feeder(page, 70_000, "gate", clip)
    feeder.start()
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    try:
        connection.request("GET", "/mjpeg/gate")
        answer = connection.getresponse()
        assert answer.getheader("content-type", "").startswith("multipart/x-mixed-replace")
        for _ in range(3):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += answer.read(1)
            size = int(re.findall(rb"Content-Length: (\d+)", head)[0])
            picture = Image.open(io.BytesIO(answer.read(size)))
            assert picture.size == (640, 360)
            pixels = np.asarray(picture).astype(int)
            coloured = (pixels.max(2) - pixels.min(2)) > 60  # the clip itself is grey
            assert coloured.sum() > 100
            answer.read(2)
    finally:
        connection.close()
        feeder.stop()
    assert Browserless(page).ask("/mjpeg/nobody")[0] == 404


def test_motion_jpeg_forgets_what_waited_when_a_camera_became_private() -> None:
    async def first_part() -> bytes:
        streams = MjpegStreams()
        parts = streams.parts(0)
        waiting = asyncio.ensure_future(anext(parts))
        await asyncio.sleep(0.05)
        streams.push(0, b"open")
        streams.forget(0)
        await asyncio.sleep(0.05)
        streams.push(0, b"clean")
        found = await asyncio.wait_for(waiting, 60)
        await parts.aclose()
        return found

    assert b"clean" in asyncio.run(first_part())


def test_one_that_reads_a_byte_a_second_slows_nobody(page: PageServer, tmp_path: Path) -> None:
    """A WebSocket and an MJPEG client that hardly read, beside one that does."""
    from websockets.sync.client import connect

    feeder = Feeder(page, 70_000, "gate", make_clip(tmp_path / "a.mp4", seconds=2))
    feeder.start()
    slow = []
    try:
        for path, extra in (("/mjpeg/gate", ""), ("/ws", UPGRADE)):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.connect(("127.0.0.1", page.port))
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n{extra}\r\n".encode())
            slow.append(one)
        with connect(f"ws://127.0.0.1:{page.port}/ws") as live:
            results = 0
            while results < 20:
                message = live.recv(timeout=60)
                results += isinstance(message, str) and '"type":"result"' in message
                for one in slow:
                    one.recv(1)
        assert Browserless(page).ask("/healthz")[0] == 200
    finally:
        for one in slow:
            one.close()
        feeder.stop()


# Logins


@pytest.fixture(scope="module")
def users() -> dict[str, str]:
    return {"ann": hash_password(PASSWORD, iterations=100_000)}


@pytest.fixture(scope="module")
def guarded(users: dict[str, str], control: DictControl) -> Iterator[PageServer]:
    page = PageServer(0, control=control, users=users)
    page.open(["gate"])
    yield page
    page.close()


PATHS = {"{name}": "gate", "{path:path}": "gate/1.jpg"}


def routes(page: PageServer) -> list[tuple[str, str]]:
    """Method and path of every route, and the page's files."""
    found = []
    for route in page._application().routes:
        if isinstance(route, Route):
            path = route.path
            for pattern, value in PATHS.items():
                path = path.replace(pattern, value)
            found += [(method, path) for method in sorted(route.methods or ())]
    static = Path(__file__).parents[1] / "clients" / "page" / "static"
    return found + [("GET", "/" + str(f.relative_to(static))) for f in static.rglob("*") if f.is_file()]


def test_every_route_needs_the_session(guarded: PageServer) -> None:
    """Without a session, with a wrong one and with the right one."""
    open_to_all = {
        "/healthz",
        "/login",
        "/login.html",
        "/icon.svg",
        "/style.css",
        "/js/login.js",
        "/js/theme.js",
    }
    nobody, wrong, ann = Browserless(guarded), Browserless(guarded), Browserless(guarded)
    wrong.cookie = "sightline_session=AAAA"
    assert ann.login("ann", PASSWORD) == 200
    for method, path in routes(guarded):
        if path in open_to_all or (method, path) == ("POST", "/logout") or path.startswith("/mjpeg"):
            continue
        for outsider in (nobody, wrong):
            assert outsider.ask(path, method)[0] == 401, (method, path)
        assert ann.ask(path, method)[0] not in (401, 403), (method, path)
    assert (
        nobody.ask("/logout", "POST")[0] == nobody.ask("/mjpeg/gate")[0] == nobody.ask("/no/such")[0] == 401
    )
    status, headers, _ = nobody.ask("/", Accept="text/html")
    assert (status, headers["location"]) == (303, "/login")
    assert b"password" in nobody.ask("/login")[2]


def read_to_the_end(live: Any) -> None:
    """All messages, until it is closed."""
    for _ in range(1000):
        live.recv(timeout=60)


def test_websockets_need_the_session(guarded: PageServer) -> None:
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    ann = Browserless(guarded)
    ann.login("ann", PASSWORD)
    address = f"ws://127.0.0.1:{guarded.port}/ws"
    with pytest.raises(InvalidStatus), connect(address):
        pass
    with connect(address, additional_headers={"Cookie": ann.cookie}) as live:
        assert json.loads(live.recv(timeout=60))["login"] is True
        ann.ask("/logout", "POST")
        with pytest.raises(ConnectionClosed) as closed:
            read_to_the_end(live)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_login_cookie_logout(guarded: PageServer) -> None:
    ann = Browserless(guarded)
    assert ann.login("ann", "wrong") == 403
    assert ann.login("nobody", PASSWORD) == 403
    _, headers, _ = ann.ask("/login", "POST", {"user": "ann", "password": PASSWORD})
    cookie = headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    ann.cookie = cookie.partition(";")[0]
    assert ann.json("/api/session")[1]["user"] == "ann"
    assert ann.ask("/api/state", Host="wall.example")[0] == 200
    assert ann.ask("/logout", "POST", Origin="http://evil.example")[0] == 403
    assert (
        ann.ask("/login", "POST", {"user": "ann", "password": PASSWORD}, Origin="http://evil.example")[0]
        == 403
    )
    assert ann.ask("/logout", "POST")[0] == 200
    assert ann.ask("/api/state")[0] == 401
    assert ann.ask("/login", "POST", raw=b'{"user": "' + b"a" * 5000 + b'"}')[0] == 413


def test_guesses_are_limited() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(FAILURES_AN_HOUR):
        assert throttle.wait_seconds("10.0.0.1", "ann") == 0
        throttle.failed("10.0.0.1", "ann")
        now[0] += 1
    assert throttle.wait_seconds("10.0.0.1", "ann") == pytest.approx(3600 - FAILURES_AN_HOUR)
    assert throttle.wait_seconds("10.0.0.1", "bob") == throttle.wait_seconds("10.0.0.2", "ann") == 0
    now[0] += 3600
    assert throttle.wait_seconds("10.0.0.1", "ann") == 0
    for number in range(100):
        throttle.failed(f"2001:db8::{number:x}", f"user{number}")
    assert throttle.wait_seconds("2001:db8::ffff", "new") > 0
    assert throttle.wait_seconds("2001:db8:0:1::1", "new") == 0


def test_too_many_failures_are_answered_so(users: dict[str, str]) -> None:
    page = PageServer(0, users=users)
    page.open()
    try:
        for _ in range(FAILURES_AN_HOUR):
            page._logins.throttle.failed("127.0.0.1", "ann")
        assert Browserless(page).login("ann", PASSWORD) == 429
    finally:
        page.close()


def test_a_made_up_forwarded_address_gives_no_more_guesses(users: dict[str, str]) -> None:
    page = PageServer(0, users=users)
    page.open()
    try:
        for _ in range(FAILURES_AN_HOUR - 2):
            page._logins.throttle.failed("127.0.0.1", "ann")
        nobody, document = Browserless(page), {"user": "ann", "password": "wrong"}
        found = [
            nobody.ask("/login", "POST", document, X_Forwarded_For=f"10.1.2.{number}")[0]
            for number in range(4)
        ]
        assert found == [403, 403, 429, 429]
    finally:
        page.close()


def test_silent_connections_do_not_close_the_page(
    users: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as many as are answered at once; uvicorn would wait for their first request for ever."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.5)
    page = PageServer(0, users=users)
    page.open()
    silent = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(200)]
    try:
        wait_for(lambda: is_answered(page))
    finally:
        for one in silent:
            one.close()
        page.close()


HELD = {
    "half a request": (b"", b"GET /healthz HTTP/1.1\r\nHost: "),
    "half a second request": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET"),
    "no body": (
        b"",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n",
    ),
}


@pytest.mark.parametrize(("first", "then"), HELD.values(), ids=HELD)
def test_a_request_that_is_not_ended_is(
    users: dict[str, str], monkeypatch: pytest.MonkeyPatch, first: bytes, then: bytes
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.5)
    page = PageServer(0, users=users)
    page.open()
    try:
        with wait_for(lambda: answered_once(page, first)) as one, contextlib.suppress(ConnectionError):
            one.sendall(then)
            while one.recv(4096):
                pass
    finally:
        page.close()


def answered_once(page: PageServer, first: bytes) -> socket.socket | None:
    """A connection whose first request, if there is one, was answered; None where that was sent too late."""
    one = socket.create_connection(("127.0.0.1", page.port), timeout=60)
    answer = b""
    with contextlib.suppress(ConnectionError):
        one.sendall(first)
        while first and not answer.endswith(b"ok\n") and (part := one.recv(4096)):
            answer += part
    if first and not answer.endswith(b"ok\n"):
        one.close()
        return None
    return one


def test_connections_are_bounded(users: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 600.0)  # what is closed is closed for its number
    page = PageServer(0, users=users)
    page.open()
    many = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(4)]
    try:
        many[3].settimeout(60.0)
        assert many[3].recv(1) == b""
        many[0].close()
        wait_for(lambda: is_answered(page))
    finally:
        for one in many:
            one.close()
        page.close()


def is_answered(page: PageServer) -> bool:
    """Whether the page takes a connection now."""
    try:
        return Browserless(page).ask("/healthz")[0] == 200
    except (http.client.HTTPException, OSError):
        return False


def test_motion_jpeg_ends_with_the_session(guarded: PageServer) -> None:
    ann = Browserless(guarded)
    ann.login("ann", PASSWORD)
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=60)
    try:
        connection.request("GET", "/mjpeg/gate", headers={"Cookie": ann.cookie})
        answer = connection.getresponse()
        assert answer.status == 200
        ann.ask("/logout", "POST")
        assert answer.read() == b""
    finally:
        connection.close()


def test_sessions_end(users: dict[str, str]) -> None:
    now = [0.0]
    logins = Logins(users, lambda: now[0])
    token = logins.login("ann", PASSWORD)
    assert logins.user_of(token) == "ann"
    now[0] += 12 * 3600 + 1
    assert logins.user_of(token) is None
    token = logins.login("ann", PASSWORD)
    for _ in range(16):
        now[0] += 11 * 3600
        seen = logins.user_of(token)
    assert seen is None


@pytest.mark.parametrize(
    "stored", ["", "plain", "pbkdf2_sha256$1$AAAA$AAAA", "md5$600000$AAAAAAAAAAAAAAAA$AAAA", "$$$"]
)
def test_damaged_hashes_are_told(stored: str) -> None:
    with pytest.raises(OutputError, match=r"'ann'.*page-password"):
        PageServer(0, users={"ann": stored})


def test_password_hashes() -> None:
    stored = hash_password("längeres Wort")
    assert stored.startswith("pbkdf2_sha256$600000$")
    assert PASSWORD not in stored
    assert password_fits("längeres Wort", stored)
    assert not password_fits("laengeres Wort", stored)
    assert hash_password(PASSWORD, iterations=100_000) != hash_password(PASSWORD, iterations=100_000)
    with pytest.raises(OutputError, match="8 to 1024"):
        hash_password("short")


def test_the_password_command() -> None:
    import typer

    from sightline.clients.page.cli import register_page

    app = typer.Typer()
    register_page(app)
    made = CliRunner().invoke(app, [], input=PASSWORD + "\n")
    assert made.exit_code == 0
    assert password_fits(PASSWORD, made.output.strip())


def test_beyond_loopback_only_with_users(users: dict[str, str]) -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(OutputError, match="users"):
            PageServer(0, host=host)
    page = PageServer(0, host="0.0.0.0", users=users)
    page.close()
    with pytest.raises(OutputError, match="no address of this machine"):
        PageServer(0, host="192.0.2.1", users=users)
    with pytest.raises(OutputError, match="is not known"):
        PageServer(0, host="no.such.host.invalid", users=users)


def test_https(users: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ssl
    import subprocess
    import urllib.request

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(OutputError, match="neither"):
        PageServer(0, tls_certificate=certificate)
    with pytest.raises(OutputError, match="belong together"):
        PageServer(0, tls_certificate=key, tls_key=certificate)
    page = PageServer(0, users=users, tls_certificate=certificate, tls_key=key)
    page.open()
    try:
        assert page.url.startswith("https://")
        request = urllib.request.Request(
            f"https://localhost:{page.port}/login",
            json.dumps({"user": "ann", "password": PASSWORD}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(
            request, context=ssl.create_default_context(cafile=str(certificate))
        ) as answer:
            assert "Secure" in answer.headers["set-cookie"]
    finally:
        page.close()
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 2.0)
    page = PageServer(0, users=users, tls_certificate=certificate, tls_key=key)
    page.open()
    try:
        with socket.create_connection(("127.0.0.1", page.port), timeout=60) as silent:
            assert silent.recv(1) == b""  # no handshake
    finally:
        page.close()


def test_every_route_is_documented(guarded: PageServer) -> None:
    text = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    paths: set[tuple[str, Any]] = set()
    for route in guarded._application().routes:
        if isinstance(route, Route):
            shown = route.path.replace("{name}", "NAME").replace("{path:path}", "PATH")
            paths |= {(method, shown) for method in route.methods or () if method != "HEAD"}
    missing = [f"{method} {path}" for method, path in sorted(paths) if f"{method} {path}" not in text]
    assert missing == []
    assert "/ws" in text

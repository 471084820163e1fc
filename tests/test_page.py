# SPDX-License-Identifier: Apache-2.0
"""The live page in a real browser, and what it must refuse."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.clients.page.fmp4 import Fragment, FragmentMuxer, Header
from sightline.clients.page.h264 import parameter_units, picture_size
from sightline.clients.page.h265 import read_sps
from sightline.clients.page.hub import Hub
from sightline.clients.page.security import host_allowed, origin_allowed
from sightline.clients.page.server import PageServer
from sightline.clients.page.units import UNITS
from sightline.clients.page.viewers import MAX_VIEWER_BYTES, MAX_VIEWER_MESSAGES
from sightline.clients.streams import Watch, parse_sources
from sightline.clients.streams.results import Packet, VideoFormat
from sightline.clients.streams.timeline import Timeline
from sightline.errors import PortInUseError
from tests.ports import lasting_port
from tests.streams_parts import BrightObjectClient, make_clip

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PASSWORD = "s3cret-Pa55"


def eventually(check: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first true value of `check`; fails after a generous time."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds:.0f} s"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "wall.mp4", seconds=12)


@pytest.fixture(scope="module")
def client() -> Iterator[BrightObjectClient]:
    client = BrightObjectClient()
    yield client
    client.close()


@pytest.fixture(scope="module")
def wall(clip: Path, client: BrightObjectClient) -> Iterator[PageServer]:
    """A page with four cameras."""
    page = PageServer(0)
    names = ["north", "east", "south", "west"]
    with Watch(parse_sources([f"{n}={clip}" for n in names], loop=True), client, page=page):
        yield page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium; on Debian: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--mute-audio",
        ]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def open_tab(browser: Any, **options: Any) -> Any:
    """A tab that collects what the page complains about."""
    errors: list[str] = []
    tab = browser.new_page(viewport={"width": 1280, "height": 800}, **options)
    tab.set_default_timeout(120_000)
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.console_errors = errors
    return tab


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    tab = open_tab(browser)
    yield tab
    tab.close()


@pytest.fixture
def sharp_tab(browser: Any) -> Iterator[Any]:
    """On a screen with four pixels where another one has one."""
    tab = open_tab(browser, device_scale_factor=2)
    yield tab
    tab.close()


PAINTED = """() => [...document.querySelectorAll('.boxes')].map((canvas) => {
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0;
  for (let i = 3; i < pixels.length; i += 4) painted += pixels[i] > 0;
  return painted;
})"""
TIMES = "() => [...document.querySelectorAll('video')].map((video) => video.currentTime)"


def test_four_cameras_play_with_boxes(wall: PageServer, tab: Any) -> None:
    tab.goto(wall.url)
    eventually(lambda: len(times := tab.evaluate(TIMES)) == 4 and all(t > 0 for t in times))
    before = tab.evaluate(TIMES)
    eventually(lambda: all(b > 0 and b != a for a, b in zip(before, tab.evaluate(TIMES), strict=True)))
    eventually(lambda: all(count > 100 for count in tab.evaluate(PAINTED)))
    eventually(lambda: tab.locator(".tile[data-state=live]").count() == 4)
    assert tab.locator(".name").all_inner_texts() == ["north", "east", "south", "west"]
    eventually(lambda: "4/4 live" in tab.locator("#total-cameras").inner_text())
    eventually(lambda: tab.locator("#server").inner_text() == "server ready")
    answered = int(tab.locator("#total-answered").inner_text().replace(",", ""))
    eventually(lambda: int(tab.locator("#total-answered").inner_text().replace(",", "")) > answered)
    eventually(lambda: tab.locator(".objects").first.inner_text().split() == ["1", "lamp"])
    assert tab.console_errors == []


BOX_AND_OBJECT = """() => new Promise((resolve) => {
  const video = document.querySelector('video'), boxes = document.querySelector('.boxes');
  const bounds = (pixels, width, is) => {
    let x1 = 1e9, y1 = 1e9, x2 = -1, y2 = -1;
    for (let i = 0; i < pixels.length; i += 4) {
      if (!is(pixels, i)) continue;
      const x = (i / 4) % width, y = Math.floor(i / 4 / width);
      x1 = Math.min(x1, x); x2 = Math.max(x2, x); y1 = Math.min(y1, y); y2 = Math.max(y2, y);
    }
    return [x1, y1, x2, y2];
  };
  video.requestVideoFrameCallback(() => requestAnimationFrame(() => {
    const copy = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    const context = copy.getContext('2d');
    context.drawImage(video, 0, 0);
    const picture = context.getImageData(0, 0, copy.width, copy.height).data;
    const drawn = boxes.getContext('2d').getImageData(0, 0, boxes.width, boxes.height).data;
    const scale = Math.min(boxes.width / copy.width, boxes.height / copy.height);
    const left = (boxes.width - copy.width * scale) / 2, top = (boxes.height - copy.height * scale) / 2;
    const line = bounds(drawn, boxes.width, (p, i) => p[i + 3] > 250);
    const box = [line[0] - left, line[1] - top, line[2] - left, line[3] - top].map((v) => v / scale);
    resolve({ object: bounds(picture, copy.width, (p, i) => p[i] > 190), box });
  }));
})"""


def test_boxes_sit_on_the_objects_of_the_shown_picture(wall: PageServer, sharp_tab: Any) -> None:
    """The object moves 8 pixels a picture: a box of another picture would be seen. A canvas has the screen's pixels."""
    tab = sharp_tab
    tab.goto(wall.url)
    tab.wait_for_selector(".boxes")
    eventually(
        lambda: tab.evaluate(
            "() => { const c = document.querySelector('.boxes'); return c.clientWidth && c.width === 2 * c.clientWidth; }"
        )
    )
    eventually(lambda: len(times := tab.evaluate(TIMES)) == 4 and times[0] > 0)
    tab.click("#toggle-labels")
    fits = 0

    def looks_right() -> bool:
        nonlocal fits
        seen = tab.evaluate(BOX_AND_OBJECT)
        off = max(abs(a - b) for a, b in zip(seen["object"], seen["box"], strict=True))
        fits = fits + 1 if off <= 4 else 0
        return fits >= 5

    eventually(looks_right)


def test_full_view_and_keyboard(wall: PageServer, tab: Any) -> None:
    tab.goto(wall.url)
    tab.wait_for_selector(".tile[data-state=live]")
    tab.locator(".view").nth(1).click()
    eventually(lambda: [t.is_visible() for t in tab.locator(".tile").all()] == [False, True, False, False])
    tab.keyboard.press("ArrowRight")
    eventually(lambda: [t.is_visible() for t in tab.locator(".tile").all()] == [False, False, True, False])
    tab.keyboard.press("Escape")
    eventually(lambda: all(t.is_visible() for t in tab.locator(".tile").all()))
    before = tab.evaluate(TIMES)
    eventually(lambda: all(b > 0 and b != a for a, b in zip(before, tab.evaluate(TIMES), strict=True)))
    eventually(lambda: max(tab.evaluate(PAINTED)) > 0)
    tab.keyboard.press("b")
    eventually(lambda: max(tab.evaluate(PAINTED)) == 0)
    tab.locator(".drops").first.focus()
    assert "received" in tab.locator(".tip").first.inner_text()
    assert tab.console_errors == []


def test_a_video_that_the_browser_cannot_play_comes_as_pictures(
    tmp_path: Path, client: BrightObjectClient, tab: Any
) -> None:
    other = make_clip(tmp_path / "old.mp4", codec="mpeg4", seconds=4)
    page = PageServer(0)
    with Watch(parse_sources([f"old={other}"], loop=True), client, page=page):
        tab.goto(page.url)
        eventually(lambda: tab.evaluate("() => document.querySelector('.still')?.width") == 640)
        eventually(lambda: tab.evaluate(PAINTED)[0] > 100)
        assert tab.console_errors == []


def test_a_dead_camera_is_told_and_harms_nobody(
    clip: Path, client: BrightObjectClient, tab: Any, free_port: int
) -> None:
    page = PageServer(0)
    dead = f"dead=rtsp://admin:{PASSWORD}@127.0.0.1:{free_port}/1?password={PASSWORD}"
    with Watch(parse_sources([dead, f"alive={clip}"], loop=True), client, page=page):
        tab.goto(page.url)
        tab.wait_for_selector(".tile[data-state=waiting]")
        eventually(lambda: "Camera offline, retrying" in tab.locator(".notice").first.inner_text())
        eventually(lambda: (tab.evaluate(TIMES) or [0, 0])[1] > 0.3)
        with urllib.request.urlopen(page.url + "api/state") as answer:
            state = answer.read().decode()
        assert json.loads(state)["cameras"][0]["state"] in ("waiting", "connecting")
        assert PASSWORD not in state + tab.content()
        assert tab.console_errors == []


def test_the_page_comes_back_by_itself(clip: Path, client: BrightObjectClient, tab: Any) -> None:
    sources = parse_sources([f"door={clip}"], loop=True)
    port = lasting_port()
    with Watch(sources, client, page=PageServer(port)) as first:
        tab.goto(f"http://127.0.0.1:{port}/")
        eventually(lambda: (tab.evaluate(TIMES) or [0])[0] > 0.5)
        first.stop()
        eventually(lambda: "page disconnected" in tab.locator("#server").inner_text())
        eventually(lambda: tab.locator(".tile").get_attribute("data-state") == "lost")
    with Watch(sources, client, page=PageServer(port)):
        eventually(lambda: tab.locator(".tile").get_attribute("data-state") == "live")
        before = tab.evaluate(TIMES)[0]
        eventually(lambda: tab.evaluate(TIMES)[0] != before)


def get(page: PageServer, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}


def test_foreign_names_and_origins_are_refused(wall: PageServer) -> None:
    assert get(wall, "/healthz")[0] == 200
    assert get(wall, "/healthz", Host=f"localhost:{wall.port}")[0] == 200
    assert get(wall, "/healthz", Host="evil.example")[0] == 403
    assert get(wall, "/api/state", Host=f"127.0.0.1.evil.example:{wall.port}")[0] == 403
    assert get(wall, "/api/state", Origin="http://evil.example")[0] == 403
    assert get(wall, "/../server.py")[0] == 404
    assert get(wall, "/%2e%2e/server.py")[0] == 404
    status, headers = get(wall, "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("own", True),
        ("http://evil.example", False),
        ("http://127.0.0.1:1", False),
        ("null", False),
    ],
)
def test_websockets_only_from_the_page_itself(wall: PageServer, origin: str | None, accepted: bool) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    origin = f"http://127.0.0.1:{wall.port}" if origin == "own" else origin
    address = f"ws://127.0.0.1:{wall.port}/ws"
    if accepted:
        with connect(address, origin=origin, max_queue=None) as socket:  # type: ignore[arg-type]
            assert json.loads(socket.recv(timeout=60))["type"] == "hello"
            for wrong in (
                "{",
                "[]",
                '{"type":"restart","camera":99}',
                '{"type":"show","cameras":["x",-1]}',
                "1",
            ):
                socket.send(wrong)
            assert socket.recv(timeout=60)
    else:
        with pytest.raises(InvalidStatus), connect(address, origin=origin):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("", False),
        ("localhost.evil.example", False),
        ("127.0.0.1@evil.example", False),
        ("[::1].evil.example", False),
        ("0.0.0.0:8080", False),
    ],
)
def test_hosts(host: str, allowed: bool) -> None:
    assert host_allowed(host) is allowed


def test_origins() -> None:
    assert origin_allowed("http://localhost:8080", "localhost:8080")
    assert not origin_allowed("http://localhost:8081", "localhost:8080")
    assert not origin_allowed("https://localhost:8080", "localhost:8080")
    assert not origin_allowed("http://[", "localhost:8080")


def test_a_taken_port_is_explained(wall: PageServer) -> None:
    with pytest.raises(PortInUseError, match="--page"):
        PageServer(wall.port)


# Slow viewers


def fragment(number: int, keyframe: bool, size: int = 1000) -> Fragment:
    return Fragment(number.to_bytes(4, "big") + bytes(size - 4), keyframe, Header("avc1.42c01f", b"header"))


def hub_of(*names: str) -> Hub:
    """A hub with these cameras."""
    hub = Hub()
    for camera, name in enumerate(names):
        hub.added(camera, name)
    return hub


def messages(viewer: Any) -> list[bytes]:
    """All that waits for the viewer."""
    return [m for m in iter(viewer.take, None) if isinstance(m, bytes)]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([1000, 400_000])), min_size=1, max_size=400))
def test_a_slow_viewer_is_bounded_and_goes_on_at_a_keyframe(pictures: list[tuple[bool, int]]) -> None:
    """Nothing is read: the queue stays bounded, and after each gap the first picture is a keyframe."""
    hub = hub_of("a")
    hub.connected(0, 1, "h264", playable=True)
    viewer = hub.join()
    keys = {}
    for number, (keyframe, size) in enumerate(pictures):
        keys[number] = keyframe
        hub.fragment(0, 1, fragment(number, keyframe, size))
        assert viewer._video_bytes <= MAX_VIEWER_BYTES + 400_000
        assert len(viewer._queue) <= MAX_VIEWER_MESSAGES + 4
    numbers = [int.from_bytes(m[24:28], "big") for m in messages(viewer) if m[0] == 1]
    for before, number in zip([None, *numbers], numbers, strict=False):
        assert keys[number] or before == number - 1
    sent = len(numbers)
    assert sent + viewer.lost == len(pictures)


def test_a_new_viewer_starts_at_the_newest_keyframe() -> None:
    hub = hub_of("a")
    hub.connected(0, 1, "h264", playable=True)
    for number in range(50):
        hub.fragment(0, 1, fragment(number, number % 20 == 0))
    header, group = messages(hub.join())
    assert (header[0], group[0]) == (0, 1)
    assert len(group) == 24 + 10 * 1000
    assert int.from_bytes(group[24:28], "big") == 40


def test_asking_again_and_again_fills_nothing() -> None:
    """Restarts, shows and new connections while nothing is read: one beginning of each camera waits."""
    hub = hub_of("a", "b")
    for camera in (0, 1):
        hub.connected(camera, 1, "h264", playable=True)
        hub.fragment(camera, 1, fragment(0, True, 1_000_000))
    viewer = hub.join()
    for epoch in range(2, 500):
        hub.command(viewer, {"type": "restart", "camera": 0})
        hub.command(viewer, {"type": "show", "cameras": [0]})
        hub.command(viewer, {"type": "show", "cameras": [0, 1]})
        hub.connected(1, epoch, "h264", playable=True)
        hub.fragment(1, epoch, fragment(epoch, True, 1_000_000))
        assert len(viewer._queue) <= 2 + 2 * 3
        assert viewer._video_bytes == sum(len(m.data) for m in viewer._queue if m.video) < 2_100_000
    kinds = [(m[0], int.from_bytes(m[4:8], "big")) for m in messages(viewer)]
    assert sorted(kinds) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert kinds.index((0, 1)) < kinds.index((1, 1))


def test_a_camera_that_becomes_private_sends_nothing_of_before() -> None:
    hub = hub_of("a")
    hub.connected(0, 1, "h264", playable=True)
    viewer = hub.join()
    hub.fragment(0, 1, fragment(0, True))
    hub.connected(0, 1, "private", playable=False)
    hub.fragment(0, 1, fragment(1, False))
    assert messages(viewer) == []
    assert messages(hub.join()) == []
    assert hub.jpeg_cameras == {0}


def test_pictures_made_before_a_camera_became_private_are_dropped() -> None:
    """Pictures are encoded on a thread of their own: they come late. The epoch is the same before and after."""
    hub = hub_of("a")
    hub.connected(0, 1, "mjpeg", playable=False)
    viewer = hub.join()
    hub.jpeg(0, 1, 0.0, b"open", cleaned=False)
    hub.connected(0, 1, "private", playable=False)
    hub.jpeg(0, 1, 0.1, b"late", cleaned=False)
    assert messages(viewer) == []
    hub.jpeg(0, 1, 0.2, b"clean", cleaned=True)
    assert [m[24:] for m in messages(viewer)] == [b"clean"]
    hub.connected(0, 2, "private", playable=False)
    hub.jpeg(0, 1, 0.3, b"of an earlier connection", cleaned=True)
    assert messages(viewer) == []
    assert hub.shows(0, 2, cleaned=True)
    assert not hub.shows(1, 2, cleaned=True)


def test_large_groups_of_many_cameras_are_bounded() -> None:
    hub = hub_of(*map(str, range(20)))
    for camera in range(20):
        hub.connected(camera, 1, "h264", playable=True)
        hub.fragment(camera, 1, fragment(0, True, 3_000_000))
    viewer = hub.join()
    assert viewer._video_bytes <= MAX_VIEWER_BYTES + 3_000_100
    assert viewer.lost == 18
    messages(viewer)
    hub.fragment(19, 1, fragment(1, True))
    assert [m[0] for m in messages(viewer)] == [0, 1]


# Fragmented MP4


def packets_of(path: Path) -> tuple[VideoFormat, list[Packet], list[float]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        video = VideoFormat(context.name, 0, 0, 15.0, bytes(context.extradata or b""))
        timeline = Timeline(stream.time_base, 15.0)  # type: ignore[arg-type]
        packets, shown = [], []
        for packet in container.demux(stream):
            if packet.size:
                packets.append(
                    Packet(bytes(packet), packet.is_keyframe, *timeline.packet(packet.pts, packet.dts))
                )
            shown += [timeline.frame(picture.pts) for picture in packet.decode()]
    return video, packets, shown


@pytest.mark.parametrize(("codec", "b_frames"), [("libx264", 0), ("libx264", 2), ("libx265", 0)])
def test_fragments_hold_every_picture_at_its_time(tmp_path: Path, codec: str, b_frames: int) -> None:
    clip = make_clip(tmp_path / "a.mp4", seconds=3, codec=codec, b_frames=b_frames)
    video, packets, shown = packets_of(clip)
    muxer = FragmentMuxer(video)
    fragments = [f for f in map(muxer.add, packets) if f]
    assert len(fragments) == len(packets) - 1
    assert fragments[0].keyframe
    assert fragments[0].header.codec.startswith("avc1." if codec == "libx264" else "hvc1.1.6.L")
    whole = fragments[0].header.segment + b"".join(f.data for f in fragments)
    with av.open(io.BytesIO(whole)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (640, 360)
        times = [float(picture.pts * picture.time_base) for picture in container.decode(stream)]
    offset = times[0] - shown[0]  # a demuxer may shift all times of a file with B-frames alike
    assert len(times) >= len(shown) - 1
    assert [t - offset for t in times[:-3]] == pytest.approx(shown[: len(times) - 3], abs=1e-3)
    assert b_frames or offset == pytest.approx(0, abs=1e-4)


def test_fragments_wait_for_a_keyframe_and_follow_a_new_format(tmp_path: Path) -> None:
    small, small_packets, _ = packets_of(make_clip(tmp_path / "a.mp4", seconds=2))
    _, large_packets, _ = packets_of(make_clip(tmp_path / "b.mp4", seconds=2, size=(1280, 720)))
    muxer = FragmentMuxer(small)
    assert [muxer.add(p) for p in small_packets[1:5]] == [None] * 4
    assert muxer.header is None
    large_units = parameter_units(packets_of(tmp_path / "b.mp4")[0].extradata)
    in_band = b"".join(len(u).to_bytes(4, "big") + u for u in large_units)
    fragments = []
    for packet in small_packets + [
        Packet(in_band + p.data if p.keyframe else p.data, p.keyframe, p.pts_seconds + 2, p.dts_seconds + 2)
        for p in large_packets
    ]:
        fragments += [f for f in [muxer.add(packet)] if f]
    headers = {f.header.segment for f in fragments}
    assert len(headers) == 2
    assert [picture_size(u) for u in large_units if u[0] & 0x1F == 7] == [(1280, 720)]


@pytest.mark.parametrize("codec", sorted(UNITS))
@settings(deadline=None, max_examples=30)
@given(data=st.binary(max_size=200))
def test_any_bytes_as_video_raise_nothing(codec: str, data: bytes) -> None:
    """What a hostile camera sends must not end its thread."""
    picture_size(b"\x67" + data)
    read_sps(b"\x42\x01" + data)
    muxer = FragmentMuxer(VideoFormat(codec, 0, 0, 15.0, data))
    for number in range(3):
        muxer.add(Packet(data, True, number / 15, number / 15))

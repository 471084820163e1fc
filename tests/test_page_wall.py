# SPDX-License-Identifier: Apache-2.0
"""The live wall in a real browser: many cameras, rules drawn on the picture, events, logins, keyboard, phone."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.clients.page import PageServer, hash_password
from sightline.clients.streams import Watch, parse_sources
from sightline.clients.streams.results import ObjectInfo
from sightline.frame import Frame
from sightline.perf.cameras.clip_file import read_clip, write_clip
from sightline.preprocess_ext import rle_encode
from sightline.results import Detections
from tests.page_parts import DictControl, Feeder, event_of, wait_for
from tests.streams_parts import BrightObjectClient, RtspServer, find_object, make_clip, rtsp_clip

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PASSWORD = "correct horse battery"
MANY = 16


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


def open_tab(browser: Any, errors: list[str], **options: Any) -> Any:
    """A tab that collects what the page complains about."""
    tab = browser.new_page(**({"viewport": {"width": 1280, "height": 800}} | options))
    tab.set_default_timeout(120_000)
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    return tab


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab; the test fails on any error of the page."""
    errors: list[str] = []
    tab = open_tab(browser, errors)
    yield tab
    tab.close()
    assert errors == []


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "five.mp4", seconds=6, rate=5, size=(480, 270))


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> DictControl:
    media = tmp_path_factory.mktemp("media")
    Image.new("RGB", (320, 180), (40, 90, 140)).save(media / "one.jpg")
    return DictControl(["gate", "yard"], media)


def masked(frame: Frame) -> Detections:
    """The bright object with its mask."""
    found = find_object(frame)
    mask = np.zeros((frame.height, frame.width), np.uint8)
    for x1, y1, x2, y2 in found.boxes.astype(int):
        mask[y1:y2, x1:x2] = 1
    masks = tuple(rle_encode(mask) for _ in range(len(found)))
    return dataclasses.replace(found, masks=masks, size=(frame.width, frame.height))


def tracked(found: Detections, number: int) -> tuple[ObjectInfo, ...]:
    return tuple(
        ObjectInfo(track_id=7, speed_kmh=31.0, identity="v12", attributes={"kind": "van"}) for _ in found
    )


@pytest.fixture(scope="module")
def wall(control: DictControl, clip: Path) -> Iterator[PageServer]:
    """Two cameras: one as video, one private, whose cleaned pictures come as JPEG."""
    page = PageServer(0, control=control)
    page.open()
    control.ids = {"gate": 300, "yard": 70_000}
    feeders = [
        Feeder(page, 300, "gate", clip, find=masked, describe=tracked),
        Feeder(page, 70_000, "yard", clip, codec="private"),
    ]
    for feeder in feeders:
        feeder.start()
    yield page
    for feeder in feeders:
        feeder.stop()
    page.close()


PAINTED = """(selector) => [...document.querySelectorAll(selector)].map((canvas) => {
  const pixels = canvas.width ? canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data : [];
  let painted = 0;
  for (let i = 3; i < pixels.length; i += 4) painted += pixels[i] > 0;
  return painted;
})"""
FITS = "() => (([box]) => box.scrollHeight <= box.clientHeight + 1)(document.querySelectorAll('.grid-box'))"
FRAMES = (
    "() => [...document.querySelectorAll('video')].map((v) => v.getVideoPlaybackQuality().totalVideoFrames)"
)


def test_sixteen_cameras_at_five_frames_a_second(tab: Any, clip: Path, tmp_path: Path) -> None:
    """Real RTSP; each tile draws its video and its boxes, and goes on doing so."""
    path = rtsp_clip(clip, tmp_path / "five.clip")
    write_clip(dataclasses.replace(read_clip(path), frames_per_second=5), path)
    names = [f"camera {n:02}" for n in range(MANY)]
    client, page = BrightObjectClient(), PageServer(0)
    with RtspServer(path, count=MANY) as server:
        sources = parse_sources([f"{name}={server.url(n)}" for n, name in enumerate(names)])
        with Watch(sources, client, page=page):
            tab.set_viewport_size({"width": 1280, "height": 720})
            tab.goto(page.url)
            wait_for(lambda: tab.locator(".tile[data-state=live]").count() == MANY)
            assert tab.locator(".name").all_inner_texts() == names
            wait_for(lambda: all(count > 0 for count in tab.evaluate(FRAMES)))
            before = tab.evaluate(FRAMES)
            wait_for(lambda: all(b >= a + 3 for a, b in zip(before, tab.evaluate(FRAMES), strict=True)))
            wait_for(lambda: all(count > 20 for count in tab.evaluate(PAINTED, ".boxes")))
            assert tab.evaluate(FITS)
            tab.goto("about:blank")
    client.close()


def test_masks_tracks_and_a_private_camera(wall: PageServer, tab: Any) -> None:
    tab.goto(wall.url)
    wait_for(lambda: (tab.evaluate(FRAMES) or [0])[0] > 3)
    tab.click("#toggle-boxes")
    wait_for(lambda: tab.evaluate(PAINTED, ".boxes")[0] > 400)  # masks and trails
    tab.click("#toggle-trails")
    tab.click("#toggle-masks")
    wait_for(lambda: tab.evaluate(PAINTED, ".boxes")[0] == 0)
    assert tab.locator("video").nth(1).get_attribute("src") is None
    wait_for(lambda: tab.evaluate(PAINTED, ".still")[1] > 1000)


def test_a_rule_drawn_with_the_mouse_arrives(wall: PageServer, control: DictControl, tab: Any) -> None:
    control.settings["gate"]["rules"] = []
    tab.goto(wall.url + "#live/gate/rules")
    tab.locator("#new-kind option").nth(3).wait_for(state="attached")
    tab.select_option("#new-kind", "zone")
    wait_for(lambda: tab.evaluate(FRAMES)[0] > 0)
    tab.click("#new-rule")
    layer = tab.locator(".draw-layer")
    box = layer.bounding_box()
    corners = [(0.2, 0.3), (0.7, 0.3), (0.7, 0.8), (0.2, 0.8)]
    for x, y in corners:
        tab.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    layer.focus()
    tab.keyboard.press("Enter")
    tab.get_by_label("name", exact=True).fill("no parking")
    tab.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"])
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.9 * box["height"], steps=3)
    tab.mouse.up()
    tab.get_by_label("classes").first.fill("lamp")
    tab.click("#save-rules")
    rules = wait_for(lambda: control.settings["gate"]["rules"])
    assert [(r["name"], r["kind"], r["classes"]) for r in rules] == [("no parking", "zone", ["lamp"])]
    expected = [(0.2, 0.3), (0.7, 0.3), (0.9, 0.9), (0.2, 0.8)]
    assert np.abs(np.array(rules[0]["points"]) - expected).max() < 0.01
    tab.goto(wall.url + "#live")
    wait_for(lambda: tab.evaluate(PAINTED, ".zones")[0] > 200)
    tab.keyboard.press("r")
    wait_for(lambda: tab.evaluate(PAINTED, ".zones")[0] == 0)


def test_a_rule_drawn_with_the_keyboard_and_its_mistake(
    wall: PageServer, control: DictControl, browser: Any
) -> None:
    old = {"name": "old", "kind": "zone", "points": [[0.1, 0.1], [0.2, 0.1], [0.2, 0.2]]}
    control.settings["gate"]["rules"] = [old]
    errors: list[str] = []
    tab = open_tab(browser, errors)
    tab.goto(wall.url + "#live/gate/rules")
    tab.locator("#new-kind option").nth(3).wait_for(state="attached")
    tab.select_option("#new-kind", "line")
    tab.locator("#new-rule").press("Enter")
    wall.on_added(6_000_000, "another")  # which must not end the drawing
    tab.get_by_label("Camera another", exact=True).wait_for(state="attached")
    tab.locator(".draw-layer").focus()
    for keys in (["Space"], ["Shift+ArrowRight"] * 4, ["Space", "Enter"]):
        for key in keys:
            tab.keyboard.press(key)
    name = tab.get_by_label("name", exact=True)
    name.fill("/bad/")
    tab.click("#save-rules")
    wait_for(lambda: "name" in tab.locator(".rule-fields .error").first.inner_text())
    assert name.get_attribute("aria-invalid") == "true"
    name.fill("tripwire")
    tab.locator(".handle").first.focus()
    tab.keyboard.press("Shift+ArrowUp")
    tab.click("#save-rules")
    wall.on_removed(6_000_000)
    wait_for(lambda: len(control.settings["gate"]["rules"]) == 2)
    assert control.settings["gate"]["rules"][0] == old
    rule = control.settings["gate"]["rules"][1]
    assert (rule["name"], rule["points"]) == ("tripwire", [[0.5, 0.45], [0.7, 0.5]])
    tab.close()
    assert [e for e in errors if "400" not in e] == []


def test_events_appear_with_their_pictures(wall: PageServer, control: DictControl, tab: Any) -> None:
    tab.goto(wall.url)
    wait_for(lambda: tab.locator(".feed").count())
    for number in range(3):
        event = event_of(900 + number, snapshot="one.jpg", rule="tripwire" if number else "pen")
        control.recent.add(event.to_dict())
        wall.emit(event)
    wait_for(lambda: "#902" in tab.locator(".feed").inner_text())
    wait_for(lambda: tab.evaluate("() => document.querySelector('.feed img')?.naturalWidth") == 320)
    tab.click("nav a[data-view=events]")
    wait_for(lambda: tab.locator(".cards li").count() == 3)
    tab.select_option("#filter-rule", "pen")
    wait_for(lambda: tab.locator(".cards li").count() == 1)
    tab.get_by_role("button", name="Clear").click()
    wait_for(lambda: tab.locator(".cards li").count() == 3)
    late = event_of(950)
    control.recent.add(late.to_dict())
    wall.emit(late)
    wait_for(lambda: "#950" in tab.locator(".cards li").first.inner_text())
    wait_for(lambda: "gate" in tab.locator("#announcer").inner_text())
    tab.locator(".cards button").nth(1).click()
    dialog = tab.get_by_role("dialog")
    assert "sightline.line.crossed" in dialog.inner_text()
    tab.keyboard.press("Escape")
    wait_for(lambda: tab.locator("dialog").count() == 0)
    tab.click("nav a[data-view=counts]")
    wait_for(lambda: tab.locator(".chart rect").count() >= 1)
    tab.locator("summary", has_text="As a table").click()
    wait_for(lambda: tab.locator(".figures-table tbody tr").count() >= 1)
    tab.click("nav a[data-view=system]")
    wait_for(lambda: "jsonl" in tab.locator(".system-cards").inner_text())


def test_cameras_are_added_and_removed(wall: PageServer, control: DictControl, tab: Any) -> None:
    tab.goto(wall.url)
    tab.click("#add-camera")
    tab.fill("#camera-name", "dock")
    tab.get_by_label("url", exact=True).fill("rtsp://10.0.0.9/1")
    tab.get_by_role("dialog").get_by_role("button", name="Add", exact=True).click()
    wait_for(lambda: control.settings.get("dock", {}).get("url") == "rtsp://10.0.0.9/1")
    wall.on_added(5_000_000, "dock")
    wait_for(lambda: tab.locator(".tile").count() == 3)
    tab.get_by_label("Settings of dock").click()
    tab.get_by_role("button", name="Remove camera").click()
    tab.get_by_role("button", name="Really remove it?").click()
    wait_for(lambda: "dock" not in control.settings)
    wall.on_removed(5_000_000)
    wait_for(lambda: tab.locator(".tile").count() == 2)


def test_login(control: DictControl, browser: Any) -> None:
    page = PageServer(0, control=control, users={"ann": hash_password(PASSWORD, iterations=100_000)})
    page.open(["gate"])
    errors: list[str] = []
    context = browser.new_context()
    tab = context.new_page()
    tab.set_default_timeout(120_000)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    try:
        tab.goto(page.url)
        assert tab.url.endswith("/login")
        tab.get_by_label("User").fill("ann")
        tab.get_by_label("Password").fill("wrong")
        tab.keyboard.press("Enter")
        wait_for(lambda: "wrong" in tab.get_by_role("alert").inner_text())
        tab.get_by_label("Password").fill(PASSWORD)
        tab.keyboard.press("Enter")
        tab.wait_for_selector(".tile")
        cookie = context.cookies()[0]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        tab.get_by_label("Log out").click()
        tab.wait_for_url("**/login")
        tab.goto(page.url)
        wait_for(lambda: tab.url.endswith("/login"))
    finally:
        context.close()
        page.close()
    assert errors == []


UNNAMED = """() => {
  const controls = 'button, a, input, select, textarea, video[controls], [role=img], [tabindex="0"]';
  const named = (e) => e.ariaLabel || e.getAttribute('aria-labelledby') || e.textContent.trim() || e.labels?.length || e.title;
  return [...document.querySelectorAll(controls)]
    .filter((e) => e.checkVisibility({ visibilityProperty: true }) && !named(e)).map((e) => e.outerHTML.slice(0, 120));
}"""
DUPLICATES = """() => {
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  return ids.filter((id, i) => ids.indexOf(id) !== i);
}"""
CONTRASTS = """() => {
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => {
    const context = document.createElement('canvas').getContext('2d');
    context.fillStyle = style.getPropertyValue(name).trim();
    return [1, 3, 5].map((i) => parseInt(context.fillStyle.slice(i, i + 2), 16) / 255);
  };
  const light = (name) => rgb(name).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const found = { 'button': ratio('--on-accent', '--accent') };
  for (const ink of ['--text', '--quiet', '--accent', '--good', '--warn', '--bad'])
    for (const ground of ['--ground', '--panel', '--raised']) found[ink + ' on ' + ground] = ratio(ink, ground);
  return found;
}"""


VIEWS = ("live", "live/gate/rules", "events", "counts", "system")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_names_and_contrasts(wall: PageServer, browser: Any, scheme: str) -> None:
    """Every control has a name, no id stands twice, and texts have a contrast of 4.5 or more (WCAG 2.2, AA)."""
    errors: list[str] = []
    tab = open_tab(browser, errors, color_scheme=scheme)
    try:
        for view in VIEWS:
            tab.goto(f"{wall.url}#{view}")
            tab.wait_for_selector({"live": ".tile", "live/gate/rules": ".rules-panel"}.get(view, ".page"))
            assert tab.evaluate(UNNAMED) == [], view
            assert tab.evaluate(DUPLICATES) == [], view
            assert tab.locator("h1").count() == 1
        assert tab.evaluate("() => document.documentElement.dataset.theme") == scheme
        low = {pair: ratio for pair, ratio in tab.evaluate(CONTRASTS).items() if ratio < 4.5}
        assert low == {}
        tab.get_by_label("Dark or light").click()
        assert tab.evaluate("() => document.documentElement.dataset.theme") != scheme
    finally:
        tab.close()
    assert errors == []


def test_the_keyboard_reaches_all_and_shows_where_it_is(wall: PageServer, tab: Any) -> None:
    tab.goto(wall.url)
    tab.wait_for_selector(".tile[data-state=live]")
    seen = []
    for _ in range(40):
        tab.keyboard.press("Tab")
        seen.append(
            tab.evaluate(
                "() => [document.activeElement.className, getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    classes = [name for name, _ in seen]
    assert classes[0] == "skip"
    assert {"view", "drops", "icon"} <= set(classes)
    assert all(outline != "none" for name, outline in seen if name in ("view", "icon", "primary"))


def test_on_a_phone(wall: PageServer, browser: Any) -> None:
    errors: list[str] = []
    tab = open_tab(
        browser, errors, viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True
    )
    try:
        for view in ("live", "live/gate", "events", "counts", "system"):
            tab.goto(f"{wall.url}#{view}")
            tab.wait_for_selector(".tile" if view.startswith("live") else ".page")
            assert tab.evaluate("() => document.scrollingElement.scrollWidth") <= 390, view
            tabs = tab.locator(".tabs").bounding_box()
            assert tabs["y"] + tabs["height"] == pytest.approx(844, abs=2)
        picture = Image.open(io.BytesIO(tab.screenshot()))
        assert picture.size == (780, 1688)
    finally:
        tab.close()
    assert errors == []


def test_on_a_wall_display_there_are_pictures_only(wall: PageServer, tab: Any) -> None:
    tab.goto(wall.url + "?wall=1")
    tab.wait_for_selector(".tile[data-state=live]")
    assert not tab.locator("header").is_visible()
    assert not tab.locator(".side").is_visible()
    box = tab.locator(".grid").bounding_box()
    assert (box["width"] > 1200, box["height"] > 700) == (True, True)


def test_only_what_is_seen_is_sent(wall: PageServer, tab: Any) -> None:
    tab.goto(wall.url)
    tab.wait_for_selector(".tile[data-state=live]")
    wait_for(lambda: wall._hub.watched == {300, 70_000})
    tab.locator(".view").first.click()
    wait_for(lambda: wall._hub.watched == {300})
    tab.click("nav a[data-view=system]")
    wait_for(lambda: wall._hub.watched == frozenset())
    tab.click("nav a[data-view=live]")
    wait_for(lambda: wall._hub.watched == {300, 70_000})

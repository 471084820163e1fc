# SPDX-License-Identifier: Apache-2.0
"""Takes the README's pictures of the live wall: python -m tests.page_screenshots [FOLDER].

All parts are real: drawn street cameras over RTSP, tritonserver with the shipped detector, tracking, rules, events and their
pictures, and the page in Chromium. Nothing is painted in afterwards.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sightline.builders import repository_from_card
from sightline.card import load_card
from sightline.clients import Client
from sightline.clients.config.reading import read_watch_file
from sightline.clients.config.watch_file import Page
from sightline.clients.service.service import WatchService
from sightline.deploy import LocalServer
from sightline.model_repository import shipped_card
from sightline.perf.cameras import CameraServer

NAMES = ("crossing", "station", "bridge", "market", "harbour", "school", "depot", "park", "tunnel")
VEHICLES = ["car", "truck", "bus", "motorcycle"]
RATE = 3
WATCH_SECONDS = 45.0
DESKTOP = {"width": 1600, "height": 900}
PHONE = {"width": 412, "height": 892}


def rules_of(number: int) -> list[dict[str, Any]]:
    """A line across the road, and a zone before the camera."""
    line = {
        "name": "road", "kind": "line", "points": [[0.3, 0.56], [0.72, 0.56]], "classes": VEHICLES, "clip": number < 2,
    }  # fmt: skip
    zones = [
        {"name": "right lane", "kind": "zone", "points": [[0.6, 0.56], [0.72, 0.56], [0.98, 0.93], [0.68, 0.93]],
         "classes": VEHICLES},
        {"name": "waiting", "kind": "loitering", "points": [[0.03, 0.6], [0.3, 0.55], [0.3, 0.9], [0.03, 0.95]],
         "classes": ["pedestrian", "bicycle"], "seconds": 2},
        {"name": "queue", "kind": "crowding", "points": [[0.3, 0.48], [0.66, 0.48], [0.8, 0.8], [0.2, 0.8]],
         "classes": VEHICLES, "count": 3, "seconds": 1},
    ]  # fmt: skip
    return [line, zones[number % 3]]


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The whole product; gives the page's address."""
    repository = folder / "repository"
    repository_from_card(load_card(shipped_card("street_detect")), repository)
    size = {"size": (1280, 720), "frames_per_second": 10, "seconds": 8.0}
    with (
        CameraServer(scenes=len(NAMES), **size) as cameras,
        LocalServer(repository, log_dir=folder) as server,
    ):  # type: ignore[arg-type]
        document = {
            "server": server.grpc_address,
            "folder": str(folder / "data"),
            "defaults": {"rate": RATE, "deadline_seconds": 3},
            "cameras": {
                name: {"url": url, "rules": rules_of(number)}
                for number, (name, url) in enumerate(zip(NAMES, cameras.urls, strict=True))
            },
            "sinks": [{"kind": "jsonl", "path": str(folder / "events.jsonl")}],
        }
        path = folder / "cameras.yaml"
        path.write_text(json.dumps(document))  # which is YAML too
        client = Client(server.grpc_address, timeout_seconds=4.0)
        service = WatchService(read_watch_file(path), client, path=path, page=Page(port=0))
        service.start()
        try:
            yield str(service.page_url)
        finally:
            service.stop()
            client.close()


def shoot(browser: Any, url: str, folder: Path) -> None:
    """The pictures, one after the other."""

    def tab(scheme: str, viewport: dict[str, int], view: str, **options: Any) -> Any:
        page = browser.new_page(viewport=viewport, color_scheme=scheme, locale="en-GB", **options)
        page.goto(f"{url}#{view}")
        page.wait_for_selector(".tile[data-state=live]", state="attached", timeout=60_000)
        return page

    wall = tab("dark", DESKTOP, "live")
    time.sleep(WATCH_SECONDS)
    save(wall, folder / "wall.png")
    light = tab("light", DESKTOP, "live/crossing")
    time.sleep(8)
    save(light, folder / "wall_light.png")
    light.close()
    phone = tab("dark", PHONE, "live", device_scale_factor=2, has_touch=True)
    time.sleep(6)
    save(phone, folder / "wall_phone.png")
    phone.close()
    for view in ("events", "counts", "system"):
        wall.goto(f"{url}#{view}")
        time.sleep(3)
        save(wall, folder / f"wall_{view}.png")
    wall.close()
    rules = tab("dark", DESKTOP, "live/market/rules")
    rules.locator(".rule").nth(1).click()
    time.sleep(8)
    save(rules, folder / "wall_rules.png")


def save(page: Any, path: Path) -> None:
    """A picture of what the tab shows."""
    page.screenshot(path=str(path))
    print(path)


def with_chromium(use: Callable[[Any], None]) -> None:
    """Call it with a browser."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking", "--mute-audio"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        use(browser)
        browser.close()


def main() -> None:
    """See above."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, running(Path(work)) as url:
        with_chromium(lambda browser: shoot(browser, url, folder))


if __name__ == "__main__":
    main()

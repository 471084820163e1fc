# SPDX-License-Identifier: Apache-2.0
"""The demo's cameras file: the drawn cameras, with rules that show what can be asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

DEADLINE_SECONDS = 4.0
_HEAD = """\
# Made by `sightline demo`; written anew each time it starts. Rules that are drawn on the page are saved here.
defaults:
  model: {model}
  deadline_seconds: {deadline}
cameras:
"""
_CAMERA = """\
  {name}:
    url: {url}
    rules:
      - name: road
        kind: line
        points: [[0.05, 0.8], [0.95, 0.8]]
        classes: [car, truck, bus, motorcycle, bicycle]
      - name: traffic
        kind: zone
        points: [[0.42, 0.5], [0.62, 0.5], [0.85, 1.0], [0.15, 1.0]]
        classes: [car, truck, bus, motorcycle, bicycle]
        snapshot: false
      - name: busy
        kind: crowding
        points: [[0.0, 0.3], [1.0, 0.3], [1.0, 1.0], [0.0, 1.0]]
        classes: [car, truck, bus]
        count: 5
        seconds: 1
        cooldown_seconds: 5
        clip: true
      - name: waiting
        kind: loitering
        points: [[0.55, 0.45], [1.0, 0.45], [1.0, 1.0], [0.7, 1.0]]
        classes: [pedestrian]
        seconds: 2
"""


def write_cameras_file(path: Path, urls: Mapping[str, str], model: str) -> Path:
    """Write it for these cameras (URLs by name), readable by the user alone, for URLs may hold passwords."""
    text = _HEAD.format(model=model, deadline=DEADLINE_SECONDS)
    text += "".join(_CAMERA.format(name=name, url=url) for name, url in urls.items())
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path

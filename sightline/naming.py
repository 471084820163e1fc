# SPDX-License-Identifier: Apache-2.0
"""How the models of one card are called on a server: NAME and NAME_frames for clients, NAME_v3_network for a stage."""

from __future__ import annotations

import json
import re
from pathlib import Path

STAGES = ("check", "decode", "letterbox", "frame_errors", "network", "postprocess")
STAGE_NAME = re.compile(rf"(?P<name>.+)_v(?P<number>[1-9][0-9]*)_(?P<stage>{'|'.join(STAGES)})")
MANIFEST = "sightline.json"
PART_MANIFEST = "sightline_part.json"


def stage_model(name: str, number: int, stage: str) -> str:
    """Name of a stage's model, such as street_detect_v3_network."""
    return f"{name}_v{number}_{stage}"


def is_stage(folder: Path) -> bool:
    """Whether a folder of a repository is a stage that Sightline wrote: a server loads it with its ensemble."""
    if not STAGE_NAME.fullmatch(folder.name):
        return False
    try:
        values = json.loads((folder / PART_MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "stage" in values

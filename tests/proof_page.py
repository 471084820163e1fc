# SPDX-License-Identifier: Apache-2.0
"""What a proof leaves beside the network."""

from __future__ import annotations

import json
import re
from pathlib import Path


def check_proof(folder: Path, measure: str) -> None:
    """The proof has passed, by this measure among others, and its page shows it without anything outside the page."""
    said = json.loads((folder / "proof.json").read_text(encoding="utf-8"))
    assert said["passed"]
    assert measure in {one["name"] for one in said["measures"]}
    assert {one["stage"] for one in said["stages"]} >= {"canonical form", "engine", "post-processing"}
    page = (folder / "proof.html").read_text(encoding="utf-8")
    assert "answers like its source" in page
    assert len(page) < 1_500_000
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)

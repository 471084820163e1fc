# SPDX-License-Identifier: Apache-2.0
"""Lays the top-level folders out as the one package that they install as, so that mypy can read the sources."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("builders", "preprocess_ext", "clients", "deploy", "perf", "model_repository")


def main(target: Path) -> None:
    """Fill `target`/sightline with links to the sources."""
    package = target / "sightline"
    package.mkdir(parents=True, exist_ok=True)
    for link in package.iterdir():
        link.unlink()
    for source in (*(ROOT / "sightline").iterdir(), *(ROOT / room for room in ROOMS)):
        if source.name != "__pycache__":
            (package / source.name).symlink_to(source)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

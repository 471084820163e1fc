# SPDX-License-Identifier: Apache-2.0
"""`python -m sightline.perf.stages [FILE]`: measure, print, and write the rows as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sightline.perf.stages.measure import measure_stages


def main() -> None:
    """Entry of the program."""
    rows = measure_stages(progress=lambda text: print(text, file=sys.stderr))
    for row in rows:
        print(
            f"{row.measure}, {row.case}: {row.value:.3f} ({row.ours:.3f} / {row.peer:.3f}), goal {row.goal}"
        )
    if len(sys.argv) > 1:
        text = json.dumps([row.as_json() for row in rows], indent=2)
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

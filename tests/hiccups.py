# SPDX-License-Identifier: Apache-2.0
"""Takes the cores away in bursts, as a shared machine's neighbours do: `python -m tests.hiccups & make pytest; kill %1`.

Tests that fail beside it depend on how quickly they run.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time

PAUSE_SECONDS, BURST_SECONDS = (8.0, 20.0), (2.0, 5.0)
HOGS_A_CORE = 6


def burn(seconds: float) -> None:
    """Use a core for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def main() -> None:
    """Bursts until it is ended."""
    while True:
        time.sleep(random.uniform(*PAUSE_SECONDS))
        seconds = random.uniform(*BURST_SECONDS)
        hogs = [
            multiprocessing.Process(target=burn, args=(seconds,), daemon=True)
            for _ in range(HOGS_A_CORE * len(os.sched_getaffinity(0)))
        ]
        for hog in hogs:
            hog.start()
        for hog in hogs:
            hog.join()


if __name__ == "__main__":
    main()

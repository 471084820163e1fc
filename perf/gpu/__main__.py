# SPDX-License-Identifier: Apache-2.0
"""python -m sightline.perf.gpu"""

from __future__ import annotations

import sys

from sightline.perf.gpu.command import main

if __name__ == "__main__":
    sys.exit(main())

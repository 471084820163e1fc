# SPDX-License-Identifier: Apache-2.0
"""DALI graphs that do what the C core's `letterbox` does, for GPUs; on the CPU they run for tests and measurements.

Nothing here imports DALI before it is used.
"""

from __future__ import annotations

from sightline.preprocess_ext.dali.pipeline import DaliPictures, dali_version

__all__ = ["DaliPictures", "dali_version"]

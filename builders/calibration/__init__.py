# SPDX-License-Identifier: Apache-2.0
"""Pictures that stand for what the model will see: a folder, a recording of the user's cameras, or drawn scenes."""

from __future__ import annotations

from sightline.builders.calibration.pictures import (
    LEAST_PICTURES,
    PictureSource,
    Skipped,
    calibration_pictures,
)
from sightline.builders.calibration.tensors import CalibrationSet, calibration_tensors, network_tensor

__all__ = [
    "LEAST_PICTURES",
    "CalibrationSet",
    "PictureSource",
    "Skipped",
    "calibration_pictures",
    "calibration_tensors",
    "network_tensor",
]

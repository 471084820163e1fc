# SPDX-License-Identifier: Apache-2.0
"""Precision of the arithmetic, written into the ONNX: casts, quantization, and what they cost."""

from __future__ import annotations

from sightline.builders.precision.apply import PrecisionResult, onnx_in_precision
from sightline.builders.precision.sensitivity import (
    LayerSensitivity,
    Metric,
    SensitivityReport,
    mean_field_error,
    sensitivity,
)
from sightline.builders.precision.variants import Variants, cast_variants, quantized_variants

__all__ = [
    "LayerSensitivity",
    "Metric",
    "PrecisionResult",
    "SensitivityReport",
    "Variants",
    "cast_variants",
    "mean_field_error",
    "onnx_in_precision",
    "quantized_variants",
    "sensitivity",
]

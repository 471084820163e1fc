# SPDX-License-Identifier: Apache-2.0
"""Pixels to network tensors and network outputs to boxes: the C core's Python face."""

from __future__ import annotations

from sightline.preprocess_ext.kernels import Geometry, decode_yolov8, letterbox, nms, version

__all__ = ["Geometry", "decode_yolov8", "letterbox", "nms", "version"]

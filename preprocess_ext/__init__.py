# SPDX-License-Identifier: Apache-2.0
"""Pixels to network tensors, network outputs to boxes, masks and tracks: the C core's Python face."""

from __future__ import annotations

from sightline.preprocess_ext.boxes import nms, oriented_nms, soft_nms
from sightline.preprocess_ext.core import CPU_LEVELS, cpu, cpu_limit, version
from sightline.preprocess_ext.geometry import Geometry
from sightline.preprocess_ext.heads import Head, HeadDetections, decode_head, decode_yolov8
from sightline.preprocess_ext.masks import (
    MaskRegion,
    mask_contours,
    overlay_mask,
    paste_masks,
    prototype_masks,
    prototype_rles,
)
from sightline.preprocess_ext.pixels import letterbox
from sightline.preprocess_ext.rle import (
    rle_area,
    rle_box,
    rle_counts,
    rle_decode,
    rle_encode,
    rle_encode_region,
    rle_iou,
    rle_merge,
)
from sightline.preprocess_ext.scores import classify, embedding, semantic_map
from sightline.preprocess_ext.tracks import ByteTrack, Sort, Tracker, Tracks, assign, update_all

__all__ = [
    "CPU_LEVELS",
    "ByteTrack",
    "Geometry",
    "Head",
    "HeadDetections",
    "MaskRegion",
    "Sort",
    "Tracker",
    "Tracks",
    "assign",
    "classify",
    "cpu",
    "cpu_limit",
    "decode_head",
    "decode_yolov8",
    "embedding",
    "letterbox",
    "mask_contours",
    "nms",
    "oriented_nms",
    "overlay_mask",
    "paste_masks",
    "prototype_masks",
    "prototype_rles",
    "rle_area",
    "rle_box",
    "rle_counts",
    "rle_decode",
    "rle_encode",
    "rle_encode_region",
    "rle_iou",
    "rle_merge",
    "semantic_map",
    "soft_nms",
    "update_all",
    "version",
]

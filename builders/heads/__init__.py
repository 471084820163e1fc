# SPDX-License-Identifier: Apache-2.0
"""How a network's outputs are read: recognised from shapes, graph and the exporter's notes, or as the card says.

    plan = plan_head(card, outputs, evidence=evidence_from_onnx(model))

One file a family group: grids (YOLO), lists (finished detections), pairs (DETR, SSD), pictures (whole images). A new
head is a Family there.
"""

from sightline.builders.heads.evidence import GraphEvidence, OutputEvidence, evidence_from_onnx
from sightline.builders.heads.network import OutputInfo
from sightline.builders.heads.recognise import HeadPlan, plan_head

__all__ = [
    "GraphEvidence",
    "HeadPlan",
    "OutputEvidence",
    "OutputInfo",
    "evidence_from_onnx",
    "plan_head",
]

# SPDX-License-Identifier: Apache-2.0
"""Names and limits of the wire contract that the stages and the configuration share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PARAMETER = "sightline"
GEOMETRY_FIELDS = 7
FRAME_INFO_FIELDS = 4
BAD_IMAGE = "[bad_image]"
BAD_FRAME = "[bad_frame]"


def raw_name(index: int) -> str:
    """Name of the network's output of this index on the wire: RAW, RAW_1, RAW_2, …"""
    return "RAW" if index == 0 else f"RAW_{index}"


def stage_parameters(model_config: str) -> dict[str, Any]:
    """What the builder wrote for this stage, out of the configuration that Triton hands over as JSON."""
    parameters: Mapping[str, Any] = json.loads(model_config)["parameters"]
    values = json.loads(parameters[PARAMETER]["string_value"])
    if not isinstance(values, dict):
        raise ValueError(f"the parameter '{PARAMETER}' is not a JSON object; run `sightline build` again")
    return values

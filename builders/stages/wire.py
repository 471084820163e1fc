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


_RESIZE = {
    "letterbox": "letterbox",
    "stretch": "stretch",
    "corner": "letterbox_corner",
    "crop": "centre_crop",
}


def letterbox_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of preprocess_ext.letterbox for "letterbox" of a stage: the card's input fields by their names.

    resize, mean, std and colour must be there; filter (bilinear), pad (114) and short_side (None: the smallest picture
    that covers the input) may be left out. Raises ValueError.
    """
    if values.get("resize") not in _RESIZE:
        raise ValueError(f"resize is {values.get('resize')!r}; it must be one of {', '.join(_RESIZE)}")
    pad = values.get("pad")
    return {
        "mean": values["mean"],
        "std": values["std"],
        "resize": _RESIZE[values["resize"]],
        "colour": values["colour"],
        "interpolation": values.get("filter") or "bilinear",
        "pad_value": 114.0 if pad is None else pad,
        "short_side": values.get("short_side") or 0,
    }


def stage_parameters(model_config: str) -> dict[str, Any]:
    """What the builder wrote for this stage, out of the configuration that Triton hands over as JSON."""
    parameters: Mapping[str, Any] = json.loads(model_config)["parameters"]
    values = json.loads(parameters[PARAMETER]["string_value"])
    if not isinstance(values, dict):
        raise ValueError(f"the parameter '{PARAMETER}' is not a JSON object; run `sightline build` again")
    return values

# SPDX-License-Identifier: Apache-2.0
"""How the networks of keras.applications want their pictures, by the names that they carry.

Source: preprocess_input of each module of keras.applications (mode "tf", "caffe", "torch", or a Rescaling layer inside).
"""

from __future__ import annotations

from typing import Any

_TF = {"mean": 127.5, "std": 127.5}
_CAFFE = {"mean": [103.939, 116.779, 123.68], "std": 1.0, "colour": "bgr"}
_TORCH = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
_INSIDE = {"mean": 0.0, "std": 1.0}
# The longest beginning of a name wins.
_BY_NAME: dict[str, dict[str, Any]] = {
    "mobilenet": _TF,
    "mobilenetv2": _TF,
    "MobilenetV3": _INSIDE,
    "MobileNetV3": _INSIDE,
    "inception_v3": _TF,
    "inception_resnet_v2": _TF,
    "xception": _TF,
    "nasnet": _TF,
    "NASNet": _TF,
    "resnet50v2": _TF,
    "resnet101v2": _TF,
    "resnet152v2": _TF,
    "resnet": _CAFFE,
    "vgg": _CAFFE,
    "densenet": _TORCH,
    "efficientnet": _INSIDE,
    "convnext": _INSIDE,
}


def defaults_of(name: str) -> dict[str, Any]:
    """Card fields for a network of keras.applications; empty for any other name."""
    known = max((start for start in _BY_NAME if name.startswith(start)), key=len, default="")
    return {"input": {**_BY_NAME[known], "resize": "stretch"}} if known else {}

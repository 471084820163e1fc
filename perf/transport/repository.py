# SPDX-License-Identifier: Apache-2.0
"""A model repository whose only model gives its input back."""

from __future__ import annotations

import json
from pathlib import Path

MODEL = "identity"
INPUT = OUTPUT = "TENSOR"


def write_identity(folder: Path, shape: tuple[int, ...]) -> Path:
    """The native backend's identity stage for FP32 tensors of this shape (without the batch); returns the folder."""
    dims = ", ".join(str(extent) for extent in shape)
    parameters = json.dumps(json.dumps({"stage": "identity"}))
    (folder / MODEL / "1").mkdir(parents=True)
    (folder / MODEL / "config.pbtxt").write_text(
        f'name: "{MODEL}"\nbackend: "sightline"\nmax_batch_size: 1\n'
        f'input {{ name: "{INPUT}" data_type: TYPE_FP32 dims: [{dims}] }}\n'
        f'output {{ name: "{OUTPUT}" data_type: TYPE_FP32 dims: [{dims}] }}\n'
        "instance_group { kind: KIND_CPU count: 2 }\n"
        f'parameters {{ key: "sightline" value {{ string_value: {parameters} }} }}\n',
        encoding="utf-8",
    )
    return folder

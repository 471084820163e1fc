# SPDX-License-Identifier: Apache-2.0
"""What an entry needs to let DALI decode and letterbox on a GPU: the files and the tensors of its stages.

Encoded pictures:  IMAGE -> check (Python) -> CHECKED, VALID -> decode (DALI) -> TENSOR, GEOMETRY;  check -> ERROR
Raw frames:        FRAME, FRAME_INFO -> letterbox (DALI) -> TENSOR, GEOMETRY -> frame_errors (Python) -> ERROR

How the DALI backend (source of release 26.03) treats requests:
- items of one request have one shape (KServe), so shorter files are padded with zeros, which all decoders here ignore;
- requests that Triton merges keep their own shapes, with allow_ragged_batch: nothing is padded;
- a request must ask for all outputs, in an ensemble therefore all of them are mapped; outputs come in the order of the config;
- an error in one item fails every merged request and makes the pipeline anew: hence `check`, and graphs that bear bad frames;
- strings do not exist in DALI, so ERROR comes from the Python stages;
- one instance: each allocates GPU memory of its own that is never given back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from sightline.builders.stages.wire import FRAME_INFO_FIELDS, GEOMETRY_FIELDS
from sightline.builders.tasks import TensorSpec
from sightline.card import ModelCard
from sightline.preprocess_ext.dali.pipeline import graph_settings

DaliStage = Literal["decode", "letterbox"]
INSTANCES = 1
_GRAPHS: Mapping[DaliStage, str] = {"decode": "encoded_pictures", "letterbox": "raw_frames"}
_THREADS = 4
_GRAPH_FILE, _VALUES_FILE, _ENTRY_FILE = "sightline_graph.py", "pictures.json", "dali.py"

# Without device: the backend puts the pipeline on the GPU of its instance.
_ENTRY = """\
# Written by `sightline build`. Triton's DALI backend makes the pipeline from here with its own version of DALI.
import importlib.util
import json
import sys
from pathlib import Path

from nvidia.dali import pipeline_def, types
from nvidia.dali.plugin.triton import autoserialize

FOLDER = Path(__file__).resolve().parent
VALUES = json.loads((FOLDER / "pictures.json").read_text(encoding="utf-8"))
SPEC = importlib.util.spec_from_file_location("sightline_graph", FOLDER / "sightline_graph.py")
graph = importlib.util.module_from_spec(SPEC)
sys.modules["sightline_graph"] = graph
SPEC.loader.exec_module(graph)


@autoserialize
@pipeline_def(
    batch_size=VALUES["batch"],
    num_threads=VALUES["threads"],
    device_id=None,
    enable_conditionals=True,
    output_dtype=[types.FLOAT, types.FLOAT],
    output_ndim=[3, 1],
)
def preprocess():
    return getattr(graph, VALUES["graph"])(graph.Settings(**VALUES["settings"]))
"""


@dataclass(frozen=True)
class DaliStageSpec:
    """The configuration of a DALI model: backend "dali", KIND_GPU, INSTANCES, the tensors in this order.

    ragged: inputs with allow_ragged_batch. parameters: the DALI backend's own, as string values.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ragged: tuple[str, ...]
    max_batch_size: int
    parameters: Mapping[str, str]
    backend: str = "dali"


def dali_stage_files(
    card: ModelCard, stage: DaliStage, *, device: Literal["gpu", "cpu"] = "gpu"
) -> dict[str, bytes]:
    """Files of the DALI model's version folder, by name.

    stage: "decode" for encoded pictures, "letterbox" for raw frames. device: "cpu" makes a graph of CPU operators only.
    """
    values = {
        "graph": _GRAPHS[stage],
        "batch": card.engine.batch[-1],
        "threads": _THREADS,
        "settings": graph_settings(card.input.model_dump(), device),
    }
    graph = resources.files("sightline.preprocess_ext.dali").joinpath("graph.py").read_bytes()
    return {
        _ENTRY_FILE: _ENTRY.encode(),
        _GRAPH_FILE: graph,
        _VALUES_FILE: (json.dumps(values, indent=2) + "\n").encode(),
    }


def dali_stage_spec(card: ModelCard, stage: DaliStage) -> DaliStageSpec:
    """Tensors and settings for the DALI model's configuration."""
    width, height = card.input.size
    inputs = {
        "decode": (TensorSpec("IMAGE", "UINT8", (-1,)), TensorSpec("VALID", "INT32", (1,))),
        "letterbox": (
            TensorSpec("FRAME", "UINT8", (-1,)),
            TensorSpec("FRAME_INFO", "INT32", (FRAME_INFO_FIELDS,)),
        ),
    }[stage]
    return DaliStageSpec(
        inputs=inputs,
        outputs=(
            TensorSpec("TENSOR", "FP32", (3, height, width)),
            TensorSpec("GEOMETRY", "FP32", (GEOMETRY_FIELDS,)),
        ),
        ragged=(inputs[0].name,),
        max_batch_size=card.engine.batch[-1],
        parameters={"num_threads": str(_THREADS)},
    )


def check_stage_tensors() -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the Python stage `check`, which stands before DALI's decode. CHECKED is DALI's IMAGE."""
    outputs = (
        TensorSpec("CHECKED", "UINT8", (-1,)),
        TensorSpec("VALID", "INT32", (1,)),
        TensorSpec("ERROR", "STRING", (1,)),
    )
    return (TensorSpec("IMAGE", "UINT8", (-1,)),), outputs


def frame_errors_tensors() -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the Python stage `frame_errors`, which stands behind DALI's letterbox."""
    inputs = (
        TensorSpec("FRAME_INFO", "INT32", (FRAME_INFO_FIELDS,)),
        TensorSpec("GEOMETRY", "FP32", (GEOMETRY_FIELDS,)),
    )
    return inputs, (TensorSpec("ERROR", "STRING", (1,)),)

# SPDX-License-Identifier: Apache-2.0
"""The choice between the C core and DALI follows what was measured, and what an entry needs for DALI is what DALI takes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sightline.builders.preprocess import choice
from sightline.builders.preprocess.choice import measure_preprocessing
from sightline.builders.preprocess.dali_stages import (
    check_stage_tensors,
    dali_stage_files,
    dali_stage_spec,
    frame_errors_tensors,
)
from sightline.card import EngineSpec, InputSpec, ModelCard
from tests.needs import needs

CARD = ModelCard(
    name="chosen",
    source="x.onnx",
    input=InputSpec(size=(96, 64), resize="crop", short_side=80, mean=(1, 2, 3), colour="bgr"),
    engine=EngineSpec(batch=(1, 4)),
)


def test_the_faster_one_is_chosen_and_the_choice_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("nvidia.dali")
    monkeypatch.setattr(choice, "_LONGEST", 100.0)  # however slow a round is, there are several
    found = measure_preprocessing(CARD, seconds=1.0)
    assert set(found.milliseconds) == {"core", "dali"}
    assert found.milliseconds[found.chosen] == min(found.milliseconds.values())
    assert found.rounds >= 2
    assert json.loads(json.dumps(found.as_json()))["chosen"] == found.chosen
    assert f"{found.milliseconds[found.chosen]:.1f} ms" in found.why
    print(found.as_json())


@pytest.mark.parametrize(
    ("slow", "chosen", "stage"), [("core", "dali", "decode_dali"), ("dali", "core", "decode")]
)
def test_nothing_is_decided_beforehand(
    monkeypatch: pytest.MonkeyPatch, slow: str, chosen: str, stage: str
) -> None:
    def spent(runs: Any, files: Any, seconds: float) -> dict[str, list[float]]:
        return {"core": [0.002, 0.004, 9.0], "dali": [0.002, 0.004, 9.0], slow: [0.005, 0.006, 0.007]}

    monkeypatch.setattr(choice, "_take_turns", spent)
    monkeypatch.setattr(choice, "_dali", lambda card: None)
    monkeypatch.setattr(choice, "dali_version", lambda: "2.4.0")
    found = measure_preprocessing(CARD, seconds=1.0)
    assert (found.chosen, found.stage) == (chosen, stage)
    assert dict(found.milliseconds) == {chosen: 4.0, slow: 6.0}


def test_without_dali_there_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "dali_version", lambda: None)
    found = measure_preprocessing(CARD, seconds=0.1)
    assert (found.chosen, set(found.milliseconds)) == ("core", {"core"})
    assert "DALI is not installed" in found.why


def test_the_files_hold_plain_values_only() -> None:
    files = dali_stage_files(CARD, "decode")
    assert set(files) == {"dali.py", "sightline_graph.py", "pictures.json"}
    assert json.loads(files["pictures.json"]) == {
        "graph": "encoded_pictures",
        "batch": 4,
        "threads": 4,
        "settings": {
            "width": 96,
            "height": 64,
            "short_side": 80,
            "device": "gpu",
            "resize": "crop",
            "filter": "bilinear",
            "pad": 114.0,
            "mean": [1.0, 2.0, 3.0],
            "std": [255.0, 255.0, 255.0],
            "colour": "bgr",
        },
    }
    other = dali_stage_files(CARD.model_copy(update={"name": 'x"; import os'}), "letterbox")
    assert other["dali.py"] == files["dali.py"], "nothing of a card becomes code"
    assert other["sightline_graph.py"] == files["sightline_graph.py"]
    assert files["dali.py"].count(b"@autoserialize") == 1, "the backend takes exactly one"
    assert b"sightline." not in files["sightline_graph.py"].split(b'"""', 2)[2].replace(
        b"sightline.frame", b""
    )


def test_the_tensors_of_the_stages_fit_together() -> None:
    decode, letterbox = dali_stage_spec(CARD, "decode"), dali_stage_spec(CARD, "letterbox")
    assert [tensor.name for tensor in decode.outputs] == ["TENSOR", "GEOMETRY"], "in the order of the graph"
    assert decode.outputs[0].dims == (3, 64, 96)
    assert (decode.ragged, letterbox.ragged) == (("IMAGE",), ("FRAME",))
    assert (decode.backend, decode.max_batch_size) == ("dali", 4)
    checked = {tensor.name: tensor for tensor in check_stage_tensors()[1]}
    assert checked["CHECKED"].dims == decode.inputs[0].dims
    assert checked["VALID"] == decode.inputs[1]
    assert frame_errors_tensors()[0] == (letterbox.inputs[1], letterbox.outputs[1])


def test_missing_dali_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.errors import MissingDependencyError
    from sightline.preprocess_ext.dali import DaliPictures, dali_version

    monkeypatch.setitem(__import__("sys").modules, "nvidia.dali", None)
    assert dali_version() is None
    with pytest.raises(MissingDependencyError, match=r"pip install 'sightline\[dali\]'"):
        DaliPictures({"size": (8, 8)}, "decode")


def test_drawn_files_are_ordinary_jpegs() -> None:
    file = choice._drawn_jpeg((320, 180))
    assert file.dtype == np.uint8
    assert file[:3].tobytes() == b"\xff\xd8\xff"

# SPDX-License-Identifier: Apache-2.0
"""The table of precisions: every row is measured, on pictures that did not calibrate."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.builders.precision.table import main, precision_table, table_text
from tests.precision_networks import LABELS, SIZE, small_card, small_network

_CARD = """
name: small
source: small.onnx
input: {{size: [{0}, {1}]}}
head: yolov8
labels: [{2}]
"""


def test_every_precision_of_every_engine_is_measured(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(small_network())
    card = small_card(tmp_path, calibration={"allowed_drop": 0.3}, limits={"score": 0.3})
    told: list[str] = []
    rows = precision_table(card, 8, tell=told.append)
    made = {(row.engine, row.precision): row for row in rows}
    assert len(told) == len(rows) == 12
    for (engine, precision), row in made.items():
        assert row.error is not None
        assert row.error < {"fp32": 1e-5, "fp16": 5e-3, "bf16": 0.03}.get(precision, 0.3), (engine, precision)
        assert row.agreement is not None
        assert 0 <= row.agreement <= 1
        assert (row.milliseconds is None) == engine.startswith("ONNX")
        assert row.size_bytes
    assert made["openvino", "fp32"].agreement == 1
    assert all("TensorRT-RTX" in row.note for row in rows if row.engine.startswith("ONNX"))
    text = table_text(rows)
    assert text.count("\n") == len(rows) + 1
    assert "| openvino | int8 |" in text


def test_the_command_tells_what_is_wrong_with_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tmp_path / "card.yaml"
    card.write_text(_CARD.format(*SIZE, ", ".join(LABELS)), encoding="utf-8")
    assert main([str(card)]) == 1
    assert "small.onnx does not exist" in capsys.readouterr().err

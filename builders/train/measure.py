# SPDX-License-Identifier: Apache-2.0
"""Measures shipped models on their drawn held-out pictures again: `python -m sightline.builders.train.measure NAME...`.

Writes `held_out` of their records and when that was; a figure that is new needs no new training.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sightline.builders.train import dataset, drawn, views
from sightline.builders.train.held_out import of_classifier, of_detector, of_segmenter, of_semantic
from sightline.builders.train.progress import Lines
from sightline.builders.train.record import OnnxNetwork, now, save_record
from sightline.errors import SightlineError
from sightline.model_repository import shipped_card


def measured(
    task: str, network: OnnxNetwork, classes: tuple[str, ...], work: Path, lines: Lines
) -> dict[str, Any]:
    """The figures of one of our drawn tasks. Raises SightlineError for another task."""
    workers, progress = os.cpu_count() or 1, lines.counting("drawing held-out pictures")
    if task == "classify":
        return of_classifier(network, drawn.render_crops(work, drawn.SIGNS[1], workers, progress), classes)
    if task == "detect":
        streets = dataset.render(work, dataset.STREETS[1], workers, progress)
        return of_detector(network, streets, classes, dataset.INPUT_SIZE)
    of_view: dict[str, Callable[..., dict[str, Any]]] = {"segment": of_segmenter, "semantic": of_semantic}
    if task not in of_view:
        raise SightlineError(
            f"models of task {task!r} are not measured again; detect, classify, segment, semantic are"
        )
    return of_view[task](
        network, views.render_views(work, drawn.VIEWS[1], workers, progress), classes, dataset.INPUT_SIZE
    )


def measure(name: str, lines: Lines) -> dict[str, Any]:
    """Measure one shipped model and write its record, which is returned. Raises SightlineError."""
    folder = shipped_card(name).parent
    record: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="sightline-measure-") as work:
        network = OnnxNetwork(folder / "model.onnx")
        found = measured(record.get("task", "detect"), network, tuple(record["classes"]), Path(work), lines)
    record["held_out"] = {**record["held_out"], **found, "measured": now()}
    save_record(folder, record)
    return record


def main() -> None:
    """The command."""
    lines = Lines(lambda line: print(line, file=sys.stderr))
    for name in sys.argv[1:]:
        held = measure(name, lines)["held_out"]
        plain = {key: value for key, value in held.items() if not isinstance(value, (dict, list))}
        print(name, json.dumps(plain))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Stage NAME_network: the trained network on one CPU core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sightline.builders.stages.cpu_engine import ENGINE_FILE, open_engine
from sightline.builders.stages.stage import Outputs, Stage, input_array
from sightline.builders.stages.wire import raw_name


class TritonPythonModel(Stage):
    """TENSOR -> RAW, RAW_1, …"""

    def prepare(self, args: dict[str, str]) -> None:
        """Compile the engine of this version of the model."""
        self._engine = open_engine(Path(args["model_repository"]) / args["model_version"] / ENGINE_FILE)
        self._shapes = self._engine.output_shapes[: self.parameters["outputs"]]

    def answer(self, request: Any) -> Outputs:
        """One request, item by item: with one thread a batch gains nothing."""
        tensor = input_array(request, "TENSOR")
        outputs = [np.empty((len(tensor), *shape[1:]), np.float32) for shape in self._shapes]
        for index in range(len(tensor)):
            item = slice(index, index + 1)
            self._engine.run_into(tensor[item], [output[item] for output in outputs])
        return {raw_name(index): output for index, output in enumerate(outputs)}

# SPDX-License-Identifier: Apache-2.0
"""Stage NAME_postprocess: the network's outputs to answers in pixels of the picture sent."""

from __future__ import annotations

from typing import Any

from sightline.builders.stages.decoders import DECODERS
from sightline.builders.stages.stage import Outputs, Stage, input_array
from sightline.builders.stages.wire import raw_name


class TritonPythonModel(Stage):
    """RAW, RAW_1, …, GEOMETRY -> the outputs of the task."""

    def prepare(self, args: dict[str, str]) -> None:
        """Choose the decoder of the card's head."""
        self._decode = DECODERS[self.parameters["head"]](self.parameters)

    def answer(self, request: Any) -> Outputs:
        """One request."""
        raw = [input_array(request, raw_name(index)) for index in range(self.parameters["outputs"])]
        return self._decode(raw, input_array(request, "GEOMETRY"))

# SPDX-License-Identifier: Apache-2.0
"""Stage NAME_vN_network of engine.kind onnxruntime: the network's input to its outputs, one thread an instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.stages.cpu_engine import ONNX_FILE, OnnxEngine
from sightline.builders.stages.stage import Outputs, Stage, input_array
from sightline.builders.stages.wire import raw_name


class TritonPythonModel(Stage):
    """TENSOR -> RAW, RAW_1, … (as many as the parameter "outputs" says)."""

    def prepare(self, args: dict[str, str]) -> None:
        """Load the engine that lies beside the stage."""
        self._names = [raw_name(index) for index in range(int(self.parameters["outputs"]))]
        self._engine = OnnxEngine(Path(args["model_repository"], args["model_version"], ONNX_FILE))
        missing = set(self._names) - set(self._engine.output_names)
        if missing:
            raise ValueError(
                f"the engine has no output {', '.join(sorted(missing))}; run `sightline build` again"
            )

    def answer(self, request: Any) -> Outputs:
        """One request; its items are run one after the other, as with one thread a batch is no faster."""
        tensor: NDArray[np.float32] = input_array(request, "TENSOR")
        answers = [self._run(tensor[index : index + 1]) for index in range(len(tensor))]
        if len(answers) == 1:
            return answers[0]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in self._names}

    def _run(self, image: NDArray[np.float32]) -> Outputs:
        outputs = dict(zip(self._engine.output_names, self._engine.run(image), strict=True))
        return {name: outputs[name] for name in self._names}

# SPDX-License-Identifier: Apache-2.0
"""Stage NAME_decode with DALI's CPU operators in place of Pillow and the C core; the same wire.

`sightline build` takes it for the target local where it measured that it is the faster one.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.stages.checked import checked_picture
from sightline.builders.stages.stage import Outputs, PictureStage, input_array
from sightline.builders.stages.wire import BAD_IMAGE
from sightline.errors import BadInputError
from sightline.preprocess_ext.dali import DaliPictures


class TritonPythonModel(PictureStage):
    """IMAGE -> TENSOR, GEOMETRY, ERROR."""

    def prepare(self, args: dict[str, str]) -> None:
        """Make the pipeline, of one picture at a time and one thread: the instances share the cores."""
        warnings.simplefilter("ignore")
        super().prepare(args)
        self.card_input: dict[str, Any] = {"size": self.size, **self.parameters["letterbox"]}
        self.pictures = DaliPictures(self.card_input, "decode", batch=1, threads=1)

    def answer(self, request: Any) -> Outputs:
        """One request; each item is one file, zero-padded at the end."""
        images = input_array(request, "IMAGE")
        return self.answer_items(images, len(images), self._convert)

    def _convert(self, encoded: NDArray[np.uint8], out: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            file = checked_picture(encoded, self.card_input)
            tensors, geometry = self.pictures.files([np.frombuffer(file, np.uint8)])
        except BadInputError as error:
            raise BadInputError(f"{BAD_IMAGE} {error}") from error
        out[:] = tensors[0]
        return geometry.reshape(-1)

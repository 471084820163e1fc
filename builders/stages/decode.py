# SPDX-License-Identifier: Apache-2.0
"""Stage NAME_decode: encoded pictures to the network's input."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.stages.images import decode_image, target_of
from sightline.builders.stages.stage import Outputs, PictureStage, input_array
from sightline.builders.stages.wire import BAD_IMAGE
from sightline.errors import BadInputError
from sightline.frame import Frame
from sightline.preprocess_ext import letterbox


class TritonPythonModel(PictureStage):
    """IMAGE -> TENSOR, GEOMETRY, ERROR."""

    def prepare(self, args: dict[str, str]) -> None:
        """Keep Pillow's remarks on odd files out of the server's log: anybody could fill it with them."""
        warnings.simplefilter("ignore")
        super().prepare(args)
        self.target = target_of(self.size, self.letterbox)

    def answer(self, request: Any) -> Outputs:
        """One request; each item is one file, zero-padded at the end."""
        images = input_array(request, "IMAGE")
        return self.answer_items(images, len(images), self._convert)

    def _convert(self, encoded: NDArray[np.uint8], out: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            image = decode_image(encoded, target=self.target)
            geometry = letterbox(Frame.from_rgb(image.pixels), out, **self.letterbox).as_array()
        except BadInputError as error:
            raise BadInputError(f"{BAD_IMAGE} {error}") from error
        return image.in_full_size(geometry)

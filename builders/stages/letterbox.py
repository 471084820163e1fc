# SPDX-License-Identifier: Apache-2.0
"""Stage NAME_letterbox: raw frames to the network's input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.stages.stage import Outputs, PictureStage, input_array
from sightline.builders.stages.wire import BAD_FRAME
from sightline.errors import BadInputError
from sightline.frame import ColourSpace, Frame, PixelFormat
from sightline.preprocess_ext import letterbox


class TritonPythonModel(PictureStage):
    """FRAME, FRAME_INFO -> TENSOR, GEOMETRY, ERROR."""

    def answer(self, request: Any) -> Outputs:
        """One request; each item is one packed frame, which may be followed by padding."""
        frames, infos = input_array(request, "FRAME"), input_array(request, "FRAME_INFO")
        return self.answer_items(zip(frames, infos, strict=True), len(frames), self._convert)

    def _convert(
        self, item: tuple[NDArray[np.uint8], NDArray[np.int32]], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        try:
            return letterbox(_frame(*item), out, **self.letterbox).as_array()
        except BadInputError as error:
            raise BadInputError(f"{BAD_FRAME} {error}") from error


def _frame(data: NDArray[np.uint8], info: NDArray[np.int32]) -> Frame:
    width, height, pixel_format, colour = info.tolist()
    try:
        return Frame(data, width, height, PixelFormat(pixel_format), ColourSpace(colour))
    except ValueError as error:
        raise BadInputError(
            f"FRAME_INFO is {info.tolist()}; it must be [width, height, pixel format 0..3, colour 0..3]"
        ) from error

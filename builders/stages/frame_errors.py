# SPDX-License-Identifier: Apache-2.0
"""Stage NAME_frame_errors, behind DALI's letterbox: says what was wrong with the frames whose geometry is not valid.

DALI has no texts. The frames themselves do not come here, so that nothing large is copied into Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sightline.builders.stages.checked import check_crop
from sightline.builders.stages.stage import Outputs, Stage, input_array
from sightline.builders.stages.wire import BAD_FRAME
from sightline.errors import BadInputError
from sightline.frame import MAX_PIXELS, ColourSpace, PixelFormat, frame_bytes

_MAX_SIDE_PIXELS = 65_535


class TritonPythonModel(Stage):
    """FRAME_INFO, GEOMETRY -> ERROR. A bad frame that is alone in its request is the request's error."""

    def prepare(self, args: dict[str, str]) -> None:
        """Read how the network's input is made."""
        self.card_input: dict[str, Any] = {"size": self.parameters["size"], **self.parameters["letterbox"]}

    def answer(self, request: Any) -> Outputs:
        """One request of one or more frames."""
        infos, geometry = input_array(request, "FRAME_INFO"), input_array(request, "GEOMETRY")
        errors = np.full((len(infos), 1), b"", object)
        for index, info in enumerate(infos):
            if geometry[index, 0] != 1:
                errors[index, 0] = f"{BAD_FRAME} {self._reason([int(value) for value in info])}".encode()
        if len(errors) == 1 and errors[0, 0]:
            raise BadInputError(errors[0, 0].decode())
        return {"ERROR": errors}

    def _reason(self, info: list[int]) -> str:
        width, height, pixel_format, colour = info
        if pixel_format not in tuple(PixelFormat) or colour not in tuple(ColourSpace):
            return f"FRAME_INFO is {info}; it must be [width, height, pixel format 0..3, colour 0..3]"
        if min(width, height) < 1 or width * height > MAX_PIXELS:
            return f"frame is {width}x{height}; width and height must be at least 1 and their product at most {MAX_PIXELS}"
        if max(width, height) > _MAX_SIDE_PIXELS:
            return f"frame is {width}x{height}; width and height must be at most {_MAX_SIDE_PIXELS} pixels"
        try:
            check_crop(width, height, self.card_input)
        except BadInputError as error:
            return str(error)
        kind = PixelFormat(pixel_format)
        need = frame_bytes(width, height, kind)
        return f"frame data has too few bytes; {width}x{height} {kind.name} needs {need}"

# SPDX-License-Identifier: Apache-2.0
"""Stage NAME_check, in front of DALI: a bad file gets its own error, and a tiny good picture takes its place."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from sightline.builders.stages.checked import checked_picture, tiny_picture
from sightline.builders.stages.stage import Outputs, Stage, input_array
from sightline.builders.stages.wire import BAD_IMAGE
from sightline.errors import BadInputError


class TritonPythonModel(Stage):
    """IMAGE -> CHECKED (uint8 [-1], zero-padded to the longest), VALID (int32 [1]), ERROR.

    A bad file that is alone in its request is the request's error.
    """

    def prepare(self, args: dict[str, str]) -> None:
        """Keep Pillow's remarks on odd files out of the server's log: anybody could fill it with them."""
        warnings.simplefilter("ignore")
        self.card_input: dict[str, Any] = {"size": self.parameters["size"], **self.parameters["letterbox"]}

    def answer(self, request: Any) -> Outputs:
        """One request; each item is one file, zero-padded at the end."""
        images = input_array(request, "IMAGE")
        files: list[bytes] = []
        errors = np.full((len(images), 1), b"", object)
        for index, encoded in enumerate(images):
            try:
                files.append(checked_picture(encoded, self.card_input))
            except BadInputError as error:
                text = f"{BAD_IMAGE} {error}"
                if len(images) == 1:
                    raise BadInputError(text) from error
                errors[index, 0] = text.encode()
                files.append(tiny_picture())
        checked = np.zeros((len(files), max(map(len, files), default=0)), np.uint8)
        for row, file in zip(checked, files, strict=True):
            row[: len(file)] = np.frombuffer(file, np.uint8)
        valid = np.array([[text == b""] for text in errors[:, 0]], np.int32).reshape(-1, 1)
        return {"CHECKED": checked, "VALID": valid, "ERROR": errors}

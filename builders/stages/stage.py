# SPDX-License-Identifier: Apache-2.0
"""What all stages share: one answer a request, errors that stay with the request they belong to.

Only importable inside Triton's Python backend, which supplies triton_python_backend_utils.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from sightline.builders.stages.wire import GEOMETRY_FIELDS, letterbox_arguments, stage_parameters
from sightline.errors import BadInputError

Outputs = dict[str, NDArray[Any]]


class Stage(ABC):
    """Base of the stages. A subclass has `answer`, which gives one request's outputs by name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Called by Triton once."""
        self.parameters = stage_parameters(args["model_config"])
        self.prepare(args)

    @abstractmethod
    def prepare(self, args: dict[str, str]) -> None:
        """Load what the stage needs."""

    @abstractmethod
    def answer(self, request: Any) -> Outputs:
        """Outputs of one request. Raises BadInputError where the request cannot be used."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Called by Triton; requests that it put together are answered one by one."""
        return [self._response(request) for request in requests]

    def _response(self, request: Any) -> Any:
        try:
            outputs = self.answer(request)
        except BadInputError as error:
            return _failed(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:  # a fault of ours: this request fails, the stage lives on
            pb_utils.Logger.log_error(traceback.format_exc())
            return _failed(f"{type(self).__module__}: {error}", pb_utils.TritonError.INTERNAL)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in outputs.items()])


class PictureStage(Stage):
    """A stage that makes the network's input; in a request of several items a bad one fails alone."""

    def prepare(self, args: dict[str, str]) -> None:
        """Read the network's input size and normalisation."""
        self.size: tuple[int, int] = tuple(self.parameters["size"])
        self.letterbox: dict[str, Any] = letterbox_arguments(self.parameters["letterbox"])

    def answer_items(
        self,
        items: Iterable[Any],
        count: int,
        convert: Callable[[Any, NDArray[np.float32]], NDArray[np.float32]],
    ) -> Outputs:
        """TENSOR, GEOMETRY and ERROR.

        `convert` fills one item's tensor and gives its geometry, or raises BadInputError.
        """
        width, height = self.size
        tensor = np.empty((count, 3, height, width), np.float32)
        geometry = np.zeros((count, GEOMETRY_FIELDS), np.float32)
        errors = np.full((count, 1), b"", object)
        for index, item in enumerate(items):
            try:
                geometry[index] = convert(item, tensor[index])
            except BadInputError as error:
                if count == 1:
                    raise
                tensor[index] = 0
                errors[index, 0] = str(error).encode()
        return {"TENSOR": tensor, "GEOMETRY": geometry, "ERROR": errors}


def input_array(request: Any, name: str) -> NDArray[Any]:
    """An input of the request as an array of shape (items, …), a view of Triton's memory."""
    array: NDArray[Any] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return array


def _failed(text: str, code: int) -> Any:
    return pb_utils.InferenceResponse([], pb_utils.TritonError(text, code))

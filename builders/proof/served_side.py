# SPDX-License-Identifier: Apache-2.0
"""The answers of the real server: through the public client, and stage by stage."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.proof.subject import ProofSubject
from sightline.builders.repository import CONFIG
from sightline.builders.stages.wire import raw_name
from sightline.card import Limits
from sightline.errors import BuildError, MissingDependencyError
from sightline.frame import Frame
from sightline.naming import stage_model
from sightline.results import Result
from sightline.runtime import TOKEN_KEY

Floats = NDArray[np.float32]
_START_SECONDS = 180.0
_REQUEST_SECONDS = 60.0


class ServedSide:
    """A tritonserver of its own on the trial repository, for as long as the proof takes."""

    def __init__(self, subject: ProofSubject) -> None:
        from sightline.deploy.local.server import LocalServer

        self._name, self._number = subject.card.name, subject.number
        self._repository = subject.repository
        self._outputs = len(subject.network.shapes)
        self._server = LocalServer(subject.repository, restart=False)
        self._client: Any = None
        self._triton: Any = None
        self._stages: Any = None

    def __enter__(self) -> ServedSide:
        import tritonclient.grpc as triton

        from sightline.clients import Client

        try:
            self._server.start(_START_SECONDS)
        except MissingDependencyError as error:
            raise MissingDependencyError(
                f"the proof asks a real tritonserver: {error}. Or build with --no-proof"
            ) from error
        try:
            self._client = Client(self._server.grpc_address, timeout_seconds=_REQUEST_SECONDS)
            self._triton = triton
            self._stages = triton.InferenceServerClient(self._server.grpc_address)
        except BaseException:  # Ctrl-C may come at any line
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        """At once: nobody else asks this server, so that there is nothing to drain."""
        try:
            for client in (self._client, self._stages):
                if client is not None:
                    client.close()
        finally:
            self._server.kill()
            self._server.stop()

    def file(self, picture: NDArray[np.uint8]) -> Result:
        """The answer to the picture as a PNG file."""
        result: Result = self._client.infer(self._name, png(picture))
        return result

    def frame(self, picture: NDArray[np.uint8]) -> Result:
        """The answer to the picture as a raw frame."""
        result: Result = self._client.infer(self._name, picture)
        return result

    def decode(self, picture: NDArray[np.uint8]) -> Floats:
        """TENSOR of the stage for files, without the batch."""
        image = np.frombuffer(png(picture), np.uint8)[None]
        tensor: Floats = self._ask("decode", {"IMAGE": image}, ("TENSOR",))[0][0]
        return tensor

    def letterbox(self, picture: NDArray[np.uint8]) -> Floats:
        """TENSOR of the stage for raw frames, without the batch."""
        frame = Frame.from_rgb(picture)
        inputs: dict[str, NDArray[Any]] = {
            "FRAME": frame.data.reshape(1, -1),
            "FRAME_INFO": frame.info.reshape(1, 4),
        }
        tensor: Floats = self._ask("letterbox", inputs, ("TENSOR",))[0][0]
        return tensor

    def network(self, tensor: Floats) -> tuple[Floats, ...]:
        """RAW, RAW_1, … of the engine for a tensor (3, h, w), without the batch."""
        names = tuple(raw_name(index) for index in range(self._outputs))
        return tuple(output[0] for output in self._ask("network", {"TENSOR": tensor[None]}, names))

    def postprocess(
        self, raw: tuple[Floats, ...], geometry: Floats, names: tuple[str, ...]
    ) -> dict[str, NDArray[Any]]:
        """Answers of the post-processing stage, with the batch."""
        inputs: dict[str, NDArray[Any]] = {
            raw_name(index): np.ascontiguousarray(tensor[None], np.float32)
            for index, tensor in enumerate(raw)
        }
        inputs["GEOMETRY"] = geometry[None]
        return dict(zip(names, self._ask("postprocess", inputs, names), strict=True))

    def ask_from(self, limits: Limits) -> None:
        """From now on the same server answers with more: its post-processing stage is loaded once more with these limits."""
        from google.protobuf import json_format, text_format
        from tritonclient.grpc import model_config_pb2

        model = stage_model(self._name, self._number, "postprocess")
        text = (self._repository / model / CONFIG).read_text(encoding="utf-8")
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        told = {"score": limits.score, "detections": limits.detections}
        parameter = config.parameters["sightline"]
        parameter.string_value = json.dumps({**json.loads(parameter.string_value), **told})
        try:
            self._stages.load_model(
                model,
                headers={f"triton-grpc-protocol-{TOKEN_KEY}": self._server.token},
                config=json_format.MessageToJson(config, preserving_proto_field_name=True),
                client_timeout=_REQUEST_SECONDS,
            )
        except self._triton.InferenceServerException as error:
            raise BuildError(f"the stage {model} cannot be loaded with {told}: {error.message()}") from error

    def _ask(
        self, stage: str, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...]
    ) -> list[NDArray[Any]]:
        types = {"uint8": "UINT8", "int32": "INT32", "float32": "FP32"}
        tensors = []
        for name, values in inputs.items():
            tensor = self._triton.InferInput(name, values.shape, types[str(values.dtype)])
            tensor.set_data_from_numpy(np.ascontiguousarray(values))
            tensors.append(tensor)
        model = stage_model(self._name, self._number, stage)
        try:
            answer = self._stages.infer(model, tensors, client_timeout=_REQUEST_SECONDS)
        except self._triton.InferenceServerException as error:
            raise BuildError(f"the stage {model} does not answer: {error.message()}") from error
        return [answer.as_numpy(name) for name in outputs]


def png(picture: NDArray[np.uint8]) -> bytes:
    """The picture as a file that loses nothing."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()

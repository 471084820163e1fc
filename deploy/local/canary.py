# SPDX-License-Identifier: Apache-2.0
"""Canary inferences: the proof that a server answers, not only that it says so."""

from __future__ import annotations

import importlib
import io
import queue
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.deploy.local.engine import INSTALL_HINT
from sightline.deploy.local.supervisor import Health
from sightline.errors import MissingDependencyError
from sightline.frame import PixelFormat, frame_bytes
from sightline.runtime import TOKEN_KEY

WIDTH, HEIGHT = 320, 240
DEADLINE_SECONDS = 3.0
LEFT_SECONDS = 60.0
"""What a server has to answer a canary that is not waited for any more."""
_CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
]
# Answers of a server that is alive but has more work than it may queue.
_OVERLOADED = ("Exceeds maximum queue size", "Request timeout expired")
_DEAD = ("is not healthy",)
_UNLOADED = "unknown model"
_LATE = f"no answer within {DEADLINE_SECONDS:g} s"
UNIT_TOLERANCE = 1e-3

Values = dict[str, "np.ndarray[Any, Any] | None"]


@dataclass(frozen=True)
class Target:
    """One ensemble of ours: its input tells which canary it gets."""

    name: str
    encoded: bool
    outputs: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Probe:
    """What one round of canaries found."""

    health: Health
    reason: str = ""


class Canary:
    """Probes every Sightline ensemble of one server over gRPC. Use it from one thread."""

    def __init__(self, address: str, token: str) -> None:
        try:
            triton: Any = importlib.import_module("tritonclient.grpc")
        except ImportError as error:
            raise MissingDependencyError(f"tritonclient is not installed: {INSTALL_HINT}") from error
        self._triton = triton
        self._client = triton.InferenceServerClient(address, channel_args=_CHANNEL_OPTIONS)
        self._headers = {f"triton-grpc-protocol-{TOKEN_KEY}": token}
        self._targets: tuple[Target, ...] | None = None
        self._names: set[str] = set()
        self._rounds = 0
        self._progress: dict[str, int] = {}

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the ensembles that are probed."""
        return tuple(target.name for target in self._targets or ())

    def probe(self) -> Probe:
        """Ready, and every ensemble answers a drawn picture with sound tensors."""
        self._rounds += 1
        try:
            if not self._client.is_server_ready(client_timeout=DEADLINE_SECONDS):
                return Probe(Health.FAILED, "the server says that it is not ready")
            names = self.ready_models()
            if self._targets is None or names != self._names:  # or loaded through the model control API
                self._targets, self._names = self._discover(names), names
            for target in self._targets:
                found = self._probe_target(target)
                if found.health is not Health.OK:
                    return found
        except self._triton.InferenceServerException as error:
            return Probe(Health.FAILED, _text(error))
        return Probe(Health.OK)

    def ready_models(self) -> set[str]:
        """Names of all models that the server has loaded."""
        index = self._client.get_model_repository_index(
            headers=self._headers, client_timeout=DEADLINE_SECONDS
        )
        return {model.name for model in index.models if model.state == "READY"}

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _discover(self, names: set[str]) -> tuple[Target, ...]:
        targets = []
        for name in sorted(names):
            try:
                config = self._client.get_model_config(name, client_timeout=DEADLINE_SECONDS).config
            except self._triton.InferenceServerException as error:
                if _UNLOADED in _text(error):  # meanwhile; the next round sees other names
                    continue
                raise
            if config.platform == "ensemble" and "sightline" in config.parameters:
                targets.append(_target_from_config(config))
        return tuple(targets)

    def _probe_target(self, target: Target) -> Probe:
        answer, error = self._ask(target)
        if error:
            return self._judge(target, error)
        fault = check_answer(target.outputs, {name: answer.as_numpy(name) for name, _, _ in target.outputs})
        return Probe(Health.FAILED, f"canary of {target.name}: {fault}") if fault else Probe(Health.OK)

    def _ask(self, target: Target) -> tuple[Any, str]:
        """Its answer, or an error. A late one is left to its end: cancelling over gRPC may crash a server before 2.59."""
        answers: queue.SimpleQueue[tuple[Any, str]] = queue.SimpleQueue()
        self._client.async_infer(
            target.name,
            self._inputs(target),
            callback=lambda result, error: answers.put((result, _text(error) if error else "")),
            client_timeout=DEADLINE_SECONDS + LEFT_SECONDS,
        )
        try:
            return answers.get(timeout=DEADLINE_SECONDS)
        except queue.Empty:
            return None, _LATE

    def _judge(self, target: Target, text: str) -> Probe:
        health = health_of_error(text)
        if health is not Health.FAILED:
            return Probe(health, f"canary of {target.name}: {text}")
        if text == _LATE and self._has_progress(target):
            return Probe(Health.OK)  # slow because of others' requests: a restart would make it worse
        if target.name not in self.ready_models():
            self._targets = None  # unloaded through the model control API: nothing to probe any more
            return Probe(Health.OK)
        return Probe(Health.FAILED, f"canary of {target.name}: {text}")

    def _has_progress(self, target: Target) -> bool:
        statistics = self._client.get_inference_statistics(target.name, client_timeout=DEADLINE_SECONDS)
        done = sum(item.inference_stats.success.count for item in statistics.model_stats)
        before = self._progress.get(target.name)
        self._progress[target.name] = done
        return before is not None and done > before

    def _inputs(self, target: Target) -> list[Any]:
        if target.encoded:
            return [self._tensor("IMAGE", encoded_picture(self._rounds)[None])]
        info = np.array([[WIDTH, HEIGHT, PixelFormat.I420, 0]], dtype=np.int32)
        return [self._tensor("FRAME", raw_picture(self._rounds)[None]), self._tensor("FRAME_INFO", info)]

    def _tensor(self, name: str, values: np.ndarray[Any, Any]) -> Any:
        tensor = self._triton.InferInput(name, values.shape, "UINT8" if values.dtype == np.uint8 else "INT32")
        tensor.set_data_from_numpy(values)
        return tensor


def health_of_error(text: str) -> Health:
    """OK where the server only sheds load (a restart would make it worse), DEAD where a stub has died."""
    if any(words in text for words in _OVERLOADED):
        return Health.OK
    return Health.DEAD if any(words in text for words in _DEAD) else Health.FAILED


def check_answer(outputs: Sequence[tuple[str, str, int]], values: Values) -> str:
    """What is wrong with an ensemble's answer to a batch of one, '' where it is sound.

    outputs: (name, Triton data type without TYPE_, rank with the batch) of each output.
    """
    for name, data_type, rank in outputs:
        value = values.get(name)
        if value is None:
            return f"output {name} is missing"
        if value.dtype != _NUMPY_TYPES.get(data_type, value.dtype):
            return f"output {name} is {value.dtype}; it must be {data_type}"
        if value.ndim != rank or value.shape[0] != 1:
            return f"output {name} has shape {value.shape}; it must have {rank} dimensions, the first 1"
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return f"output {name} holds values that are not finite"
    return _check_count(values) or _check_error(values) or _check_task(values)


def encoded_picture(number: int = 0) -> np.ndarray[Any, Any]:
    """A drawn street-like picture as a JPEG file, uint8 of shape (n_bytes,); each number gives other bytes, not pixels.

    So an answer out of Triton's response cache does not hide a dead stage.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_drawn()).save(file, format="JPEG", quality=90, comment=f"canary {number}".encode())
    return np.frombuffer(file.getvalue(), dtype=np.uint8)


def raw_picture(number: int = 0) -> np.ndarray[Any, Any]:
    """A drawn picture as packed I420, uint8 of shape (n_bytes,); its first pixels are the number."""
    frame = np.full(frame_bytes(WIDTH, HEIGHT, PixelFormat.I420), 128, dtype=np.uint8)
    frame[: WIDTH * HEIGHT] = _drawn()[..., 1].reshape(-1)
    frame[:4] = np.frombuffer(np.uint32(number % (1 << 32)).tobytes(), np.uint8)
    return frame


def _drawn() -> np.ndarray[Any, Any]:
    """Sky, road and one block, so that the picture has edges; uint8 of shape (HEIGHT, WIDTH, 3)."""
    picture = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture[: HEIGHT // 2] = (150, 180, 210)
    picture[HEIGHT // 2 :] = (90, 90, 95)
    picture[HEIGHT // 2 - 20 : HEIGHT // 2 + 50, WIDTH // 3 : WIDTH // 2] = (160, 30, 30)
    return picture


def _target_from_config(config: Any) -> Target:
    batched = 1 if config.max_batch_size > 0 else 0
    type_names = config.DESCRIPTOR.fields_by_name["output"].message_type.fields_by_name["data_type"].enum_type
    outputs = tuple(
        (
            output.name,
            type_names.values_by_number[output.data_type].name.removeprefix("TYPE_"),
            len(output.dims) + batched,
        )
        for output in config.output
    )
    return Target(config.name, any(item.name == "IMAGE" for item in config.input), outputs)


def _check_count(values: Values) -> str:
    count, boxes, error = values.get("COUNT"), values.get("BOXES"), values.get("ERROR")
    if count is None or count.size != 1:
        return ""
    if int(count.flat[0]) < 0:
        reason = error.flat[0] if error is not None and error.size else b""
        return f"COUNT is {int(count.flat[0])}: {_words(reason)}"
    if boxes is not None and boxes.ndim == 3 and int(count.flat[0]) > boxes.shape[1]:
        return f"COUNT is {int(count.flat[0])} but there are {boxes.shape[1]} boxes"
    return ""


def _check_error(values: Values) -> str:
    error = values.get("ERROR")
    words = error.flat[0] if error is not None and error.size else b""
    return f"ERROR says {_words(words)}" if words else ""


def _check_task(values: Values) -> str:
    """What only a sound model of the task answers to the drawn picture."""
    classes, vector, class_map = values.get("CLASSES"), values.get("EMBEDDING"), values.get("CLASS_MAP")
    if values.get("COUNT") is None and classes is not None and not (classes >= 0).any():
        return "CLASSES holds no class"
    if vector is not None:
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if abs(length - 1.0) > UNIT_TOLERANCE:
            return f"EMBEDDING has the length {length:.4f}; it must be 1"
    if class_map is not None and class_map.shape != (1, HEIGHT, WIDTH):
        return f"CLASS_MAP has shape {class_map.shape}; it must be that of the picture, {(1, HEIGHT, WIDTH)}"
    return _check_masks(values)


def _check_masks(values: Values) -> str:
    from sightline.preprocess_ext import rle_counts

    masks, count = values.get("MASKS"), values.get("COUNT")
    if masks is None or count is None or count.size != 1:
        return ""
    texts = masks.reshape(-1)[: int(count.flat[0])].tolist()
    if len(texts) != int(count.flat[0]):
        return f"COUNT is {int(count.flat[0])} but there are {len(texts)} masks"
    try:
        for text in texts:
            rle_counts(text, WIDTH, HEIGHT)
    except (ValueError, TypeError) as error:
        return f"MASKS cannot be read: {error}"
    return ""


def _words(text: Any) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _text(error: Any) -> str:
    return str(error.message() or error)


_NUMPY_TYPES: dict[str, Any] = {
    "BOOL": np.dtype(bool),
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "STRING": np.dtype(object),
}

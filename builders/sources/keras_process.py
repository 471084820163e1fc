# SPDX-License-Identifier: Apache-2.0
"""The builder's side of the process in which TensorFlow loads, exports and runs a model."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from sightline.builders.sources import keras_wire
from sightline.builders.sources.base import Floats, Reference
from sightline.errors import BuildError, CardError, ModelFileError, SightlineError

WORKER = "sightline.builders.sources.keras_worker"
MOST_SECONDS = 900.0  # loading and exporting; a hostile file may never end
_ERRORS: dict[str, type[SightlineError]] = {
    "CardError": CardError, "ModelFileError": ModelFileError, "BuildError": BuildError,
}  # fmt: skip
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "upb",
}
_NOISE_CHARACTERS = 400


@dataclass(frozen=True)
class LoadedModel:
    """A model that the process has loaded and exported.

    content: the ONNX. origin: framework, versions and name. defaults: card fields that the model knows. channels_last: the
    layout of its input. run: the original's outputs for float32 (N, 3, height, width); it keeps the process alive.
    """

    content: bytes = field(repr=False)
    origin: str
    defaults: Mapping[str, Any]
    channels_last: bool
    run: Reference = field(repr=False)


class KerasProcess:
    """Loads models and answers their `run` until it is closed or forgotten. Starting it takes seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        self._finalizer = weakref.finalize(self, _end, self._process, self._noise)

    def load(self, order: Mapping[str, Any], report: Callable[[str], None]) -> LoadedModel:
        """Load and export one model: path, size (width, height), branch or None, signature.

        Raises ModelFileError, CardError or BuildError as the worker found them.
        """
        head, blocks = self._call({"load": dict(order)}, [], report)
        number = int(head["number"])

        def run(images: Floats) -> list[NDArray[Any]]:
            block = keras_wire.block_of(np.asarray(images, np.float32))
            _, answers = self._call({"run": number}, [block], lambda _: None)
            return [keras_wire.array_of(answer) for answer in answers]

        return LoadedModel(blocks[0], str(head["origin"]), head["defaults"], bool(head["channels_last"]), run)

    def close(self) -> None:
        """End the process."""
        self._finalizer()

    def _call(
        self, head: dict[str, Any], blocks: list[bytes], report: Callable[[str], None]
    ) -> tuple[dict[str, Any], list[bytes]]:
        guard = threading.Timer(MOST_SECONDS, self._process.kill)
        guard.daemon = True
        guard.start()
        try:
            with self._lock:
                keras_wire.send(cast(BinaryIO, self._process.stdin), head, blocks)
                while True:
                    answer, answers = keras_wire.receive(cast(BinaryIO, self._process.stdout))
                    if "progress" not in answer:
                        break
                    report(str(answer["progress"]))
        except (EOFError, OSError, ValueError) as error:
            raise self._died() from error
        except BaseException:
            self.close()
            raise
        finally:
            guard.cancel()
        if "error" in answer:
            raise _ERRORS.get(str(answer.get("kind")), BuildError)(str(answer["error"]))
        return answer, answers

    def _died(self) -> BuildError:
        self._process.kill()
        code = self._process.wait()
        self._noise.seek(0)
        noise = self._noise.read().decode(errors="replace").strip()[-_NOISE_CHARACTERS:]
        self.close()
        reason = f"signal {-code}" if code < 0 else f"status {code}"
        hint = " It may have run out of memory or time." if code == -9 else ""
        return BuildError(
            f"the process in which TensorFlow loads the model ended with {reason}.{hint} {noise}".strip()
        )


def _end(process: subprocess.Popen[bytes], noise: Any) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                process.kill()
    process.kill()
    process.wait()
    noise.close()

# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from typing import Any

Outputs = list[tuple[str, str, tuple[int, ...], Any]]
Tensors = list[tuple[bytes, bytes, tuple[int, ...], Any]]

class TritonError(Exception):
    code_word: str
    text: str
    def __init__(self, code: str, text: str) -> None: ...

def load(library: bytes) -> None: ...
def preload(library: bytes) -> None: ...

class Block: ...

class Call:
    def cancel(self) -> None: ...

class Host:
    calls: set[Call]
    def open(
        self,
        repository: bytes,
        backends: bytes,
        log_file: bytes,
        models: list[bytes],
        settings: list[tuple[bytes, bytes, bytes]],
        exit_seconds: int,
        load_threads: int,
    ) -> None: ...
    def close(self) -> None: ...
    def ready(self, model: bytes | None) -> bool: ...
    def config(self, model: bytes) -> str: ...
    def index(self) -> str: ...
    def start(
        self,
        model: bytes,
        inputs: Tensors,
        own: Tensors,
        callback: Callable[[Outputs | None, Exception | None], None] | None,
    ) -> Call: ...
    def finish(self, call: Call, seconds: float) -> Outputs: ...

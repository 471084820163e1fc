# SPDX-License-Identifier: Apache-2.0
"""The bare loop that serving is compared with: the same engine, the same settings, nothing around it.

As a process: `python -m sightline.perf.analyzer.bare ENGINE TENSORS THREADS`. Each line of stdin is a number of
seconds; it runs that long on THREADS engines of one thread each and answers one line of JSON. It ends with stdin.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BuildError

if TYPE_CHECKING:
    from sightline.builders.stages.cpu_engine import CpuEngine

_FAILED = "the engine could not be run outside the server"


@dataclass(frozen=True)
class BareRun:
    """One stretch of the bare loop."""

    frames: int
    seconds: float
    cpu_seconds: float

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds


class BareLoop:
    """The bare loop in a process of its own, which waits between stretches without using a core."""

    def __init__(self, engine: Path, tensors: Path, threads: int) -> None:
        command = [
            sys.executable,
            "-m",
            "sightline.perf.analyzer.bare",
            str(engine),
            str(tensors),
            str(threads),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if self._answer() != {"ready": True}:
                raise BuildError(_FAILED)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, seconds: float) -> BareRun:
        """Run flat out for so long."""
        if self._process.stdin is None:
            raise BuildError(_FAILED)
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answer = self._answer()
        return BareRun(int(answer["frames"]), answer["seconds"], answer["cpu_seconds"])

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise BuildError(f"{_FAILED}: see its message above")
        return dict(json.loads(line))


def _loop(engine: CpuEngine, tensors: NDArray[np.float32], until: float, done: list[int]) -> None:
    count = 0
    while time.monotonic() < until:
        engine.run(tensors[count % len(tensors)][None])
        count += 1
    done.append(count)


def main() -> None:
    from sightline.builders.stages.cpu_engine import open_engine

    engine_path, tensors_path, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    tensors = np.load(tensors_path, allow_pickle=False)
    engines = [open_engine(engine_path) for _ in range(threads)]
    for engine in engines:
        for tensor in tensors:
            engine.run(tensor[None])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        done: list[int] = []
        start, cpu = time.monotonic(), sum(os.times()[:2])
        until = start + float(line)
        workers = [threading.Thread(target=_loop, args=(engine, tensors, until, done)) for engine in engines]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds, cpu_seconds = time.monotonic() - start, sum(os.times()[:2]) - cpu
        print(json.dumps({"frames": sum(done), "seconds": seconds, "cpu_seconds": cpu_seconds}), flush=True)


if __name__ == "__main__":
    main()

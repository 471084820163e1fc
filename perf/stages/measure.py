# SPDX-License-Identifier: Apache-2.0
"""Runs perf_analyzer over system shared memory, A and B in turns, after their answers were found equal."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sightline.errors import InferenceError
from sightline.perf.analyzer.binary import find_analyzer
from sightline.perf.analyzer.run import Load, exclusive_use, run_load
from sightline.perf.analyzer.statistics import ServerStatistics
from sightline.perf.stages import models

ROUNDS = 5
SECONDS = 1.5
CLIENTS = (1, 2)
HEADS = ((2, 100), (11, 1764), (80, 8400))
"""Classes and anchors: nearly nothing, the shipped detector's, a YOLOv8 at 640x640."""
POSTPROCESS_GOAL = 2.0
STAGE_GOAL_MS = 0.1

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One line of the table: medians over the rounds.

    ours, peer: requests/s of post-processing, or milliseconds (p50) with and without the stage. value:
    their ratio, or their difference in milliseconds; values: of each round.
    """

    measure: str
    case: str
    ours: float
    peer: float
    value: float
    values: tuple[float, ...]
    goal: float

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "values": list(self.values)}


def measure_stages(
    *, rounds: int = ROUNDS, seconds: float = SECONDS, progress: Progress = print
) -> tuple[Row, ...]:
    """All rows, on a server of our own. Raises MissingDependencyError, ServerError, InferenceError."""
    from sightline.builders import repository_from_card
    from sightline.card import load_card
    from sightline.deploy import LocalServer
    from sightline.model_repository import shipped_card

    with exclusive_use(), tempfile.TemporaryDirectory(prefix="sightline-stages-") as name:
        folder = Path(name)
        repository = folder / "repository"
        repository.mkdir()
        repository_from_card(load_card(shipped_card("street_detect")), repository)
        models.write_models(repository)
        with LocalServer(repository, log_dir=folder / "log") as server:
            bench = _Bench(server, folder, rounds, seconds, progress)
            try:
                return bench.run()
            finally:
                bench.close()


class _Bench:
    def __init__(self, server: Any, folder: Path, rounds: int, seconds: float, progress: Progress) -> None:
        from sightline.deploy.local.engine import find_engine

        self._server, self._folder = server, folder
        self._rounds, self._seconds, self._progress = rounds, seconds, progress
        self._analyzer, self._argfile = find_analyzer(), find_engine().argfile
        self._statistics = ServerStatistics(server.grpc_address)

    def close(self) -> None:
        self._statistics.close()

    def run(self) -> tuple[Row, ...]:
        rows = [self._postprocess(clients) for clients in CLIENTS]
        return (*rows, *(self._extra_stage(*head) for head in HEADS))

    def _postprocess(self, clients: int) -> Row:
        """Requests/s of the native stage ÷ those of the Python model."""
        path = self._folder / "head.json"
        tensors = models.head_tensors()
        models.write_input(path, tensors)
        self._check_equal(tensors)
        names = (models.NATIVE, models.PYTHON)
        runs = self._in_turns([self._load(name, path) for name in names], clients, "frames_per_second")
        ratios = tuple(ours / peer for ours, peer in zip(*runs, strict=True))
        return _row(
            "native post-processing ÷ Python model", f"{clients} clients", runs, ratios, POSTPROCESS_GOAL
        )

    def _extra_stage(self, classes: int, anchors: int) -> Row:
        """p50 of an ensemble with a native stage (one copy) before its post-processing - p50 without."""
        path = self._folder / "chain.json"
        tensors = models.head_tensors(classes, anchors)
        models.write_input(path, tensors)
        loads = [self._load(models.chain_name(stages), path) for stages in (1, 0)]
        runs = self._in_turns(loads, 1, "p50_ms")
        extra = tuple(more - less for more, less in zip(*runs, strict=True))
        kilobytes = round(tensors["RAW"].nbytes / 1000)
        return _row("latency of an extra native stage, ms", f"{kilobytes} kB", runs, extra, STAGE_GOAL_MS)

    def _load(self, model: str, path: Path) -> Load:
        server = self._server
        return Load(self._analyzer, server.grpc_address, model, path, server.token, self._argfile)

    def _in_turns(self, loads: Sequence[Load], clients: int, figure: str) -> list[list[float]]:
        """The figure of each round, by load; forwards and backwards, so that a drift hits all alike."""
        found: list[list[float]] = [[] for _ in loads]
        for number in range(self._rounds):
            order = range(len(loads)) if number % 2 == 0 else reversed(range(len(loads)))
            for index in order:
                load = loads[index]
                self._progress(f"round {number + 1}/{self._rounds}: {load.model}, {clients} in flight")
                point = run_load(load, clients, self._seconds, self._statistics, None)
                found[index].append(getattr(point.latency, figure))
        return found

    def _check_equal(self, tensors: dict[str, Any]) -> None:
        import tritonclient.grpc as triton

        client = triton.InferenceServerClient(self._server.grpc_address)
        inputs = []
        for name, array in tensors.items():
            inputs.append(triton.InferInput(name, [1, *array.shape], "FP32"))
            inputs[-1].set_data_from_numpy(array[None])
        answers = [client.infer(model, inputs) for model in (models.NATIVE, models.PYTHON)]
        client.close()
        for name in ("COUNT", "BOXES", "SCORES", "CLASSES"):
            ours, peer = (answer.as_numpy(name) for answer in answers)
            if ours.shape != peer.shape or ours.tobytes() != peer.tobytes():
                raise InferenceError(f"native and Python post-processing differ in {name}")


def _row(measure: str, case: str, runs: list[list[float]], values: tuple[float, ...], goal: float) -> Row:
    ours, peer = (statistics.median(run) for run in runs)
    return Row(measure, case, ours, peer, statistics.median(values), values, goal)

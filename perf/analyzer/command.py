# SPDX-License-Identifier: Apache-2.0
"""What `sightline perf` does."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from sightline.errors import BadInputError, MissingDependencyError
from sightline.naming import MANIFEST
from sightline.perf.analyzer import inputs
from sightline.perf.analyzer.bare import BareLoop
from sightline.perf.analyzer.binary import Analyzer, find_analyzer
from sightline.perf.analyzer.document import Setting, document, write_document
from sightline.perf.analyzer.picture import draw_picture
from sightline.perf.analyzer.processes import ServerProcesses
from sightline.perf.analyzer.report import LoadPoint
from sightline.perf.analyzer.run import Load, exclusive_use, run_load
from sightline.perf.analyzer.statistics import ServerStatistics
from sightline.perf.analyzer.table import print_points, print_tax
from sightline.perf.analyzer.tax import ServingTax, engine_file, measure_tax
from sightline.runtime import ServerState, read_state

TAX_ROUNDS = 5
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Plan:
    """What the user asked for. seconds: of each concurrency, and of each half of a tax round."""

    model: str
    address: str
    concurrencies: tuple[int, ...]
    input: str
    seconds: float
    output: Path
    tax: bool | None
    rounds: int = TAX_ROUNDS


def parsed_concurrencies(text: str) -> tuple[int, ...]:
    """'1,2,4' as (1, 2, 4). Raises BadInputError."""
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        numbers = ()
    if not numbers or numbers[0] < 1 or numbers[-1] > 256:
        raise BadInputError(
            f"concurrency is {text!r}; write numbers from 1 to 256 with commas, such as 1,2,4,8"
        )
    return numbers


def local_state(address: str) -> ServerState | None:
    """State of the server when it runs on this machine for this user."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise BadInputError(
            f"server is {address!r}; write HOST:PORT, the port of gRPC, such as localhost:8001"
        )
    return read_state(int(port)) if host in _LOCAL_HOSTS else None


def run_perf(plan: Plan, console: Console) -> dict[str, Any]:
    """Measure, print, and write perf.json and perf.png into the output folder; returns what perf.json holds."""
    analyzer = find_analyzer()
    state = local_state(plan.address)
    statistics = ServerStatistics(plan.address)
    try:
        with exclusive_use(), tempfile.TemporaryDirectory(prefix="sightline-perf-") as folder:
            bench = _Bench(plan, analyzer, state, statistics, Path(folder), console)
            content = bench.run()
    finally:
        statistics.close()
    write_document(content, plan.output / "perf.json")
    console.print(f"written: {plan.output / 'perf.json'}, {plan.output / 'perf.png'}")
    return content


class _Bench:
    """One measurement from the first input to the finished figures."""

    def __init__(
        self,
        plan: Plan,
        analyzer: Analyzer,
        state: ServerState | None,
        statistics: ServerStatistics,
        folder: Path,
        console: Console,
    ) -> None:
        self._plan, self._state, self._statistics = plan, state, statistics
        self._folder, self._console = folder, console
        self._triton = statistics.version()
        self._server = ServerProcesses(state.supervisor_pid) if state else None
        argfile = _argfile_library() if state else None
        number = self._manifest()["number"] if plan.input == "network" else 1
        model = inputs.target(plan.model, plan.input, number).model
        token = state.token if state and argfile else None
        self._load = Load(analyzer, plan.address, model, folder / "input.json", token, argfile)
        statistics.stages(model)  # an unknown model fails here, before anything is drawn

    def run(self) -> dict[str, Any]:
        """Measure and print; returns the content of perf.json."""
        wants_tax = self._wants_tax()
        with self._progress() as progress:
            progress("drawing the input frames")
            frames = inputs.drawn_frames()
            card_input = self._card_input() if wants_tax or self._plan.input == "network" else None
            size = inputs.write_inputs(self._load.input_file, self._plan.input, frames, card_input)
            points = self._points(progress)
            tax = self._tax(frames, card_input or {}, points, progress) if wants_tax else None
        plan = self._plan
        shared = self._load.shared_memory
        setting = Setting(
            self._load.model, plan.input, plan.address, self._triton, shared, size, plan.seconds
        )
        print_points(self._console, setting, points)
        if tax:
            print_tax(self._console, tax)
        draw_picture(setting, points, plan.output / "perf.png")
        return document(setting, points, tax)

    @contextmanager
    def _progress(self) -> Iterator[Callable[[str], None]]:
        """A line that changes on a terminal; a line for each step elsewhere."""
        if not self._console.is_terminal:
            yield self._console.print
            return
        with self._console.status("") as status:
            yield status.update

    def _points(self, progress: Callable[[str], None]) -> list[LoadPoint]:
        points: list[LoadPoint] = []
        for number, concurrency in enumerate(self._plan.concurrencies, 1):
            done = (
                f" (at {points[-1].latency.concurrency}: {points[-1].latency.frames_per_second:.1f} frames/s)"
                if points
                else ""
            )
            progress(f"{number}/{len(self._plan.concurrencies)}: {concurrency} requests in flight{done}")
            points.append(self._serve(concurrency))
        return points

    def _serve(self, concurrency: int) -> LoadPoint:
        return run_load(self._load, concurrency, self._plan.seconds, self._statistics, self._server)

    def _tax(
        self,
        frames: Sequence[NDArray[np.uint8]],
        card_input: dict[str, Any],
        points: Sequence[LoadPoint],
        progress: Callable[[str], None],
    ) -> ServingTax:
        if self._state is None:
            raise BadInputError("the serving tax needs a server on this machine")
        tensors = self._folder / "tensors.npy"
        np.save(tensors, inputs.network_tensors(list(frames), card_input))
        best = max(points, key=lambda point: point.latency.frames_per_second).latency.concurrency
        cores = len(os.sched_getaffinity(0))
        progress("compiling the engine for the bare loop")
        with BareLoop(engine_file(Path(self._state.repository), self._plan.model), tensors, cores) as bare:
            return measure_tax(
                lambda: self._serve(best),
                bare,
                model=self._load.model,
                concurrency=best,
                cores=cores,
                rounds=self._plan.rounds,
                seconds=self._plan.seconds,
                progress=lambda text: progress(f"serving tax, {text}"),
            )

    def _wants_tax(self) -> bool:
        """Asked for, or possible: the server's repository lies on this machine."""
        if self._plan.tax and self._state is None:
            raise BadInputError(
                f"--tax needs the server's repository; {self._plan.address} is no server of yours on this machine"
            )
        return self._state is not None if self._plan.tax is None else self._plan.tax

    def _card_input(self) -> dict[str, Any]:
        return dict(self._manifest()["card"]["input"])

    def _manifest(self) -> dict[str, Any]:
        if self._state is None:
            raise BadInputError("--input network needs the server's repository, so a server on this machine")
        path = Path(self._state.repository) / self._plan.model / MANIFEST
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError) as error:
            raise BadInputError(
                f"{path} is no manifest of a built model ({error}); run: sightline build"
            ) from error


def _argfile_library() -> Path | None:
    """The library that hides the token from argv; None where the server's extra is not installed."""
    from sightline.deploy.local.engine import find_engine

    try:
        return find_engine().argfile
    except MissingDependencyError:
        return None


def perf(plan: Plan) -> None:
    """Entry of the command."""
    if plan.input not in inputs.INPUTS:
        raise typer.BadParameter(f"input is {plan.input!r}; it must be one of {', '.join(inputs.INPUTS)}")
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # clean up as after Ctrl-C
    run_perf(plan, Console())

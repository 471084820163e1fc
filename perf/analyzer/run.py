# SPDX-License-Identifier: Apache-2.0
"""One run of perf_analyzer against one model at one concurrency, with the server watched from outside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sightline.errors import InferenceError, ServerError
from sightline.perf.analyzer.binary import Analyzer
from sightline.perf.analyzer.processes import ServerProcesses, cpu_between
from sightline.perf.analyzer.regions import regions, remove_regions
from sightline.perf.analyzer.report import CpuSeconds, LoadPoint, parse_csv
from sightline.perf.analyzer.statistics import ServerStatistics, stage_times
from sightline.redact import redact
from sightline.runtime import TOKEN_KEY, runtime_folder

WINDOWS = 3
"""perf_analyzer wants three windows that agree; -s 900 lets a busy machine's windows pass, their mean counts."""
_STABILITY_PERCENT = 900
_START_SECONDS, _STOP_SECONDS = 60.0, 2.0
_ATTEMPTS = 3
_EMPTY_WINDOW = ("No valid requests", "Failed to obtain stable measurement")


class _EmptyWindowError(InferenceError):
    """A window passed in which nothing was answered, which ends perf_analyzer without figures."""


@dataclass(frozen=True)
class Load:
    """What is run: perf_analyzer, the server's gRPC address, the model and its input file.

    token, argfile: open the server's shared-memory calls; without them the tensors go through gRPC.
    """

    analyzer: Analyzer
    address: str
    model: str
    input_file: Path
    token: str | None = None
    argfile: Path | None = None

    @property
    def shared_memory(self) -> bool:
        return bool(self.token and self.argfile)


@contextmanager
def exclusive_use() -> Iterator[None]:
    """perf_analyzer names its shared-memory regions after the tensors, so two at once would share them.

    Raises ServerError where another one of this user runs.
    """
    path = runtime_folder() / "perf.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServerError(
                "another `sightline perf` of yours is running; wait until it has ended"
            ) from error
        yield
    finally:
        os.close(descriptor)


def run_load(
    load: Load,
    concurrency: int,
    seconds: float,
    statistics: ServerStatistics,
    server: ServerProcesses | None,
) -> LoadPoint:
    """Load the model for about `seconds`, or longer where a machine is so busy that no answer came in a part of it.

    Raises InferenceError where perf_analyzer gives no figures.
    """
    for attempt in range(1, _ATTEMPTS):
        with contextlib.suppress(_EmptyWindowError):
            point = _run_once(load, concurrency, seconds, statistics, server)
            return replace(point, attempts=attempt)
        seconds *= 2
    return replace(_run_once(load, concurrency, seconds, statistics, server), attempts=_ATTEMPTS)


def _run_once(
    load: Load,
    concurrency: int,
    seconds: float,
    statistics: ServerStatistics,
    server: ServerProcesses | None,
) -> LoadPoint:
    models = [load.model, *(name for name in statistics.stages(load.model) if name != load.model)]
    counts = statistics.counts(models)
    cpu = server.cpu_seconds() if server else {}
    start = time.monotonic()
    text, own_cpu_seconds = _analyze(load, concurrency, seconds)
    wall_seconds = time.monotonic() - start
    parts = cpu_between(cpu, server.cpu_seconds()) if server else {}
    times = stage_times(counts, statistics.counts(models))
    return LoadPoint(
        latency=parse_csv(text)[0],
        stages=times[1:] or times,
        cpu=CpuSeconds(times[0].requests, {**parts, "perf_analyzer": own_cpu_seconds}),
        wall_seconds=wall_seconds,
    )


def arguments(load: Load, concurrency: int, seconds: float, csv_path: Path) -> list[str]:
    """perf_analyzer's arguments without secrets."""
    window_ms = max(200, round(seconds * 1000 / WINDOWS))
    fixed = ["-i", "grpc", "-r", str(WINDOWS), "-s", str(_STABILITY_PERCENT), "--verbose-csv"]
    return [
        *("-m", load.model, "-u", load.address, *fixed),
        *("-p", str(window_ms), "--concurrency-range", str(concurrency)),
        *("--input-data", str(load.input_file), "-f", str(csv_path)),
    ]


def _analyze(load: Load, concurrency: int, seconds: float) -> tuple[str, float]:
    """The CSV of one run and the CPU seconds that perf_analyzer used."""
    with tempfile.TemporaryDirectory(prefix="sightline-perf-") as folder:
        csv_path = Path(folder) / "report.csv"
        command = [str(load.analyzer.executable), *arguments(load, concurrency, seconds, csv_path)]
        environment = dict(load.analyzer.environment)
        if load.token and load.argfile:
            command += ["--shared-memory", "system", _private_arguments(Path(folder), load.token)]
            # The library also ends perf_analyzer when we are killed.
            environment |= {"LD_PRELOAD": str(load.argfile), "SIGHTLINE_PARENT_PID": str(os.getpid())}
        before = regions()
        try:
            output, status, cpu_seconds = _run(command, environment, _START_SECONDS + 2 * seconds)
        finally:
            if load.token:
                remove_regions(regions() - before, load.address, load.token)
        if status != 0 or not csv_path.exists():
            reason = redact(output.strip()[-1500:]) or f"status {status}"
            is_empty = any(words in output for words in _EMPTY_WINDOW)
            kind = _EmptyWindowError if is_empty else InferenceError
            raise kind(f"perf_analyzer measured nothing at concurrency {concurrency}: {reason}")
        return csv_path.read_text(encoding="utf-8"), cpu_seconds


def _private_arguments(folder: Path, token: str) -> str:
    """The token through a file that only we may read: perf_analyzer takes headers in argv, where all could see it."""
    path = folder / "header"
    path.touch(mode=0o600)
    path.write_text(f"-H\ntriton-grpc-protocol-{TOKEN_KEY}:{token}\n", encoding="ascii")
    return f"@args:{path}"


def _run(command: Sequence[str], environment: dict[str, str], limit_seconds: float) -> tuple[str, int, float]:
    """Output, exit status and CPU seconds of a process; it is ended when the limit passes or we are interrupted."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            cpu_seconds = _wait(process, limit_seconds)
        except BaseException:
            _end(process)
            raise
        if cpu_seconds is None:
            _end(process)
            raise InferenceError(
                f"perf_analyzer did not end within {limit_seconds:.0f} s; is the server stuck?"
            )
        output.seek(0)
        return output.read(), process.returncode, cpu_seconds


def _wait(process: subprocess.Popen[bytes], limit_seconds: float) -> float | None:
    """CPU seconds of the process, reaped here because only that tells them; None when the limit passed."""
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime
        time.sleep(0.02)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """The first interrupt makes it finish its window, the second end at once."""
    for order in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
        if process.returncode is not None:
            return
        process.send_signal(order)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)

# SPDX-License-Identifier: Apache-2.0
"""What a load test found, and the reader of perf_analyzer's CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

from sightline.errors import ProtocolError

_COLUMNS = {
    "frames_per_second": "Inferences/Second",
    "average_ms": "Avg latency",
    "p50_ms": "p50 latency",
    "p90_ms": "p90 latency",
    "p95_ms": "p95 latency",
    "p99_ms": "p99 latency",
    "client_send_ms": "Client Send",
    "client_receive_ms": "Client Recv",
}
_MICROSECONDS = 1000.0


@dataclass(frozen=True)
class Latency:
    """perf_analyzer's own figures of one concurrency; times in milliseconds, seen by the client."""

    concurrency: int
    frames_per_second: float
    average_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    client_send_ms: float
    client_receive_ms: float


@dataclass(frozen=True)
class StageTime:
    """Triton's statistics of one model over a run: mean milliseconds a request.

    queue: waiting for an instance. input, infer, output: the three parts of the execution.
    """

    model: str
    requests: int
    failed: int
    queue_ms: float
    input_ms: float
    infer_ms: float
    output_ms: float

    @property
    def total_ms(self) -> float:
        return self.queue_ms + self.input_ms + self.infer_ms + self.output_ms


@dataclass(frozen=True)
class CpuSeconds:
    """CPU time that the processes of one run used while `frames` were answered.

    parts: seconds by part: 'tritonserver', the name of each model whose stub ran, 'perf_analyzer'.
    """

    frames: int
    parts: dict[str, float] = field(default_factory=dict)

    def ms_a_frame(self) -> dict[str, float]:
        """Milliseconds of one core that each part used for a frame."""
        return {part: seconds * 1000 / max(self.frames, 1) for part, seconds in self.parts.items()}


@dataclass(frozen=True)
class LoadPoint:
    """One concurrency. stages: the ensemble's models in the order of the frame's way.

    attempts: how often it was measured, more than once where nothing was answered for a part of the time.
    """

    latency: Latency
    stages: tuple[StageTime, ...]
    cpu: CpuSeconds
    wall_seconds: float
    attempts: int = 1


def parse_csv(text: str) -> list[Latency]:
    """Rows of a perf_analyzer CSV (option -f). Raises ProtocolError where a column is missing or no number."""
    table = text.split("\n\n", 1)[0]  # with some options other tables follow
    rows = []
    for row in csv.DictReader(io.StringIO(table.strip())):
        try:
            values = {name: float(row[column]) for name, column in _COLUMNS.items()}
            concurrency = int(row["Concurrency"])
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"perf_analyzer's CSV cannot be read: {error} in {row}") from error
        rate = values.pop("frames_per_second")
        times = {name: value / _MICROSECONDS for name, value in values.items()}
        rows.append(Latency(concurrency, rate, **times))
    if not rows:
        raise ProtocolError(f"perf_analyzer's CSV holds no row: {text[:200]!r}")
    return sorted(rows, key=lambda row: row.concurrency)

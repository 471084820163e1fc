# SPDX-License-Identifier: Apache-2.0
"""Times every way in turns with a plain copy of the same tensor, after the answers were found equal to what was sent."""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.perf.transport.repository import write_identity
from sightline.perf.transport.ways import Tensor, Way, in_process, plain_grpc, ring, stock_shared_memory

SHAPE = (3, 640, 640)  # 4.9 MB: the network's input of one picture
GOALS = {"in-process": 3.0, "ring, in place": 3.0}
ROUNDS = 15
STRETCH_SECONDS = 0.05


def transport_rows(rounds: int = ROUNDS, shape: tuple[int, ...] = SHAPE) -> list[dict[str, Any]]:
    """One row a way: way, bytes, copies, remark, memcpy_ms, mean_ms, p50_ms, p99_ms, memcpys, goal.

    `memcpys` is the median over the rounds of the way's mean time ÷ that of a copy between two arrays, which is timed
    in the same round. `copies` is counted in the sources (see Way). Raises ValueError where an answer differs.
    """
    from sightline.deploy import LocalServer

    tensor = np.random.default_rng(1).random((1, *shape), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="sightline-transport-") as name, contextlib.ExitStack() as opened:
        repository = write_identity(Path(name) / "repository", shape)
        server = opened.enter_context(LocalServer(repository, log_dir=Path(name) / "log", restart=False))
        inside, end = in_process(repository, tensor)
        opened.callback(end)
        in_place, copied = opened.enter_context(ring(server.grpc_address, tensor))
        stock = opened.enter_context(stock_shared_memory(server.grpc_address, server.token, tensor))
        grpc = opened.enter_context(plain_grpc(server.grpc_address, tensor))
        return _measure(tensor, [inside, in_place, copied, stock, grpc], rounds)


def _measure(tensor: Tensor, ways: Sequence[Way], rounds: int) -> list[dict[str, Any]]:
    for way in ways:
        if not np.array_equal(way.call(), tensor):
            raise ValueError(f"{way.name} gives another tensor back")
    target = np.empty_like(tensor)
    calls: dict[str, Callable[[], object]] = {"": lambda: np.copyto(target, tensor)}
    calls |= {way.name: way.call for way in ways}
    seconds: dict[str, list[list[float]]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in calls if number % 2 == 0 else reversed(calls):
            seconds[name].append(_stretch(calls[name]))
    units = [statistics.fmean(times) for times in seconds.pop("")]
    return [_row(way, tensor.nbytes, seconds[way.name], units) for way in ways]


def _stretch(call: Callable[[], object]) -> list[float]:
    """Times of single calls, for a while."""
    times: list[float] = []
    call()
    end = time.perf_counter() + STRETCH_SECONDS
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def _row(way: Way, size_bytes: int, rounds: list[list[float]], units: list[float]) -> dict[str, Any]:
    means = [statistics.fmean(times) for times in rounds]
    single = np.array([t for times in rounds for t in times]) * 1e3
    return {
        "way": way.name,
        "bytes": size_bytes,
        "copies": way.copies,
        "remark": way.remark,
        "memcpy_ms": round(statistics.median(units) * 1e3, 4),
        "mean_ms": round(statistics.median(means) * 1e3, 4),
        "p50_ms": round(float(np.percentile(single, 50)), 4),
        "p99_ms": round(float(np.percentile(single, 99)), 4),
        "memcpys": round(statistics.median(m / u for m, u in zip(means, units, strict=True)), 2),
        "goal": GOALS.get(way.name),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rows as a table, and as JSON where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    rows = transport_rows(max(1, chosen.rounds))
    print(f"{rows[0]['bytes']} bytes there and back; one memcpy of them takes {rows[0]['memcpy_ms']:.3f} ms")
    for row in rows:
        print(
            f"{row['way']:>24}: {row['memcpys']:7.2f} memcpys, p50 {row['p50_ms']:.3f} ms, p99 {row['p99_ms']:.3f} ms "
            f"({row['copies']} copies: {row['remark']})"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

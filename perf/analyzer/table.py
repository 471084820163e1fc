# SPDX-License-Identifier: Apache-2.0
"""The figures as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from sightline.perf.analyzer.document import Setting
from sightline.perf.analyzer.report import LoadPoint
from sightline.perf.analyzer.tax import ServingTax

_QUIET_CORE_SHARE = 0.9


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", header_style="dim")
    return table


def print_points(console: Console, setting: Setting, points: Sequence[LoadPoint]) -> None:
    """Latency and throughput of each concurrency, then the stages at the best one."""
    way = "shared memory" if setting.shared_memory else "gRPC"
    title = f"{setting.model}, {setting.input} through {way}, {setting.request_bytes / 1e6:.2f} MB a request"
    columns = (
        "in flight",
        "frames/s",
        "p50 ms",
        "p90 ms",
        "p95 ms",
        "p99 ms",
        "server CPU s",
        "client CPU s",
        "wall s",
    )
    table = _table(title, columns)
    for point in points:
        latency, client = point.latency, point.cpu.parts["perf_analyzer"]
        server = sum(point.cpu.parts.values()) - client
        values = (
            latency.p50_ms,
            latency.p90_ms,
            latency.p95_ms,
            latency.p99_ms,
            server,
            client,
            point.wall_seconds,
        )
        row = [
            f"{latency.concurrency}",
            f"{latency.frames_per_second:.1f}",
            *(f"{value:.1f}" for value in values),
        ]
        if not server:
            row[6] = "-"
        table.add_row(*row)
    console.print(table)
    for point in points:
        if point.attempts > 1:
            again = f"measured {point.attempts} times, each twice as long as the one before"
            console.print(
                f"{point.latency.concurrency} in flight: {again}, since nothing was answered for a while"
            )
    console.print(_stage_table(points))


def _stage_table(points: Sequence[LoadPoint]) -> Table:
    best = max(points, key=lambda point: point.latency.frames_per_second)
    stages = _table(
        f"\nTriton's own times at {best.latency.concurrency} in flight, mean ms a request",
        ("stage", "waiting", "tensors in", "work", "tensors out", "sum", "failed"),
    )
    for stage in best.stages:
        times = (stage.queue_ms, stage.input_ms, stage.infer_ms, stage.output_ms, stage.total_ms)
        stages.add_row(stage.model, *(f"{value:.2f}" for value in times), str(stage.failed))
    return stages


def print_tax(console: Console, tax: ServingTax) -> None:
    """The tax, exactly what it is, and where the rest goes."""
    low, high = min(tax.ratios), max(tax.ratios)
    console.print(
        f"\n[bold]Serving tax: {tax.ratio:.2f}[/bold] of the bare speed is left "
        f"({tax.served_frames_per_second:.1f} of {tax.bare_frames_per_second:.1f} frames/s)"
    )
    console.print(
        f"Frames/s through {tax.model} at {tax.concurrency} in flight, driven by perf_analyzer on the same "
        f"{tax.cores} cores, ÷ frames/s of a bare OpenVINO loop with the same engine on {tax.cores} threads; "
        f"median of {len(tax.ratios)} rounds in turns, from {low:.2f} to {high:.2f}.",
        style="dim",
    )
    if tax.bare_core_share < _QUIET_CORE_SHARE:
        console.print(
            f"This machine was busy: the bare loop got {tax.bare_core_share:.0%} of its {tax.cores} cores. The ratio of the "
            "frame rates then says little; compare CPU time, or measure again on a quiet machine.",
            style="yellow",
        )
    parts = tax.served_cpu_ms
    if parts.keys() == {"perf_analyzer"}:
        return
    table = _table("\nWhere it goes: CPU ms a frame", ("part", "ms", "of bare"))
    table.add_row("bare loop", f"{tax.bare_cpu_ms:.2f}", "1.00")
    for part, value in sorted(parts.items(), key=lambda item: -item[1]):
        table.add_row(part, f"{value:.2f}", f"{value / tax.bare_cpu_ms:.2f}")
    table.add_row(
        "all of it served", f"{sum(parts.values()):.2f}", f"{sum(parts.values()) / tax.bare_cpu_ms:.2f}"
    )
    console.print(table)
    console.print(
        f"By CPU time the ratio is {tax.cpu_ratio:.2f}, and {tax.server_cpu_ratio:.2f} without perf_analyzer (its start, "
        "in which it reads the frames, counts too). What the frame rates lose beyond that is idle cores.",
        style="dim",
    )

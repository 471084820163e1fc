# SPDX-License-Identifier: Apache-2.0
"""python -m sightline.perf.gpu --out FILE.json: what this NVIDIA machine can do, step by step.

Nothing has to be installed but the package itself: a step whose library is missing says so. Without a GPU it runs
through as well and says for each step that it was not run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sightline import __version__
from sightline.builders.engines.gpu_query import find_gpus
from sightline.builders.engines.store_files import replace_file
from sightline.card import load_card
from sightline.errors import SightlineError
from sightline.model_repository import shipped_card, shipped_models
from sightline.perf.gpu import dali_steps, machine_steps, network_steps, server_steps
from sightline.perf.gpu.step import Context, Network, Step, run_step
from sightline.perf.machine import machine

STEPS = (
    Step("device", machine_steps.device),
    Step("versions", machine_steps.versions, needs_gpu=False),
    Step("memory", machine_steps.memory),
    Step("torch", network_steps.torch),
    Step("tensorrt", network_steps.tensorrt),
    Step("rtx", network_steps.rtx),
    Step("dali_files", dali_steps.dali_files),
    Step("dali_frames", dali_steps.dali_frames),
    Step("cuda_shared_memory", server_steps.cuda_shared_memory),
    Step("server_gpu_instances", server_steps.gpu_instances),
)


def shipped_networks(names: Sequence[str] = ()) -> tuple[Network, ...]:
    """The networks of the shipped models, or of those named. Raises CardError."""
    networks = []
    for name in names or shipped_models():
        card = shipped_card(name)
        content = (card.parent / "model.onnx").read_bytes()
        networks.append(Network(name, content, load_card(card).input.size))
    return tuple(networks)


def measure(
    context: Context, steps: Sequence[Step] = STEPS, *, progress: Callable[[str], None] | None = None
) -> Iterator[dict[str, Any]]:
    """Run the steps, one after the other, and give the document after each: a script that is ended leaves what it has."""
    tell = progress or (lambda _: None)
    entries: list[dict[str, Any]] = []
    for step in steps:
        tell(f"{step.name} …")
        entry = run_step(step, context)
        entries.append(entry)
        tell(f"{step.name}: {'ran' if entry['ran'] else entry['reason']}")
        yield document(context, entries)


def document(context: Context, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All that is known so far, as JSON types."""
    return {
        "sightline": __version__,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "gpu": context.report.gpus[0].name if context.report.gpus else None,
        "networks": [
            {
                "name": network.name,
                "size": list(network.size),
                "sha256": hashlib.sha256(network.content).hexdigest(),
            }
            for network in context.networks
        ],
        "seconds_a_rate": context.seconds,
        "ran": [entry["step"] for entry in entries if entry["ran"]],
        "not_run": {entry["step"]: entry["reason"] for entry in entries if not entry["ran"]},
        "steps": list(entries),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0 where the document was written, whatever could be run."""
    parser = argparse.ArgumentParser(prog="python -m sightline.perf.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument(
        "--model", action="append", default=[], help="a shipped model; all where none is named"
    )
    parser.add_argument("--step", action="append", default=[], choices=[step.name for step in STEPS])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each rate (%(default)s)")
    parser.add_argument(
        "--batch", type=int, action="append", default=[], help="batch size; 1, 8 and 32 by default"
    )
    chosen = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="sightline-gpu-") as folder:
            context = Context(
                find_gpus(),
                shipped_networks(chosen.model),
                Path(folder),
                chosen.seconds,
                tuple(sorted(chosen.batch)) or (1, 8, 32),
            )
            steps = [step for step in STEPS if not chosen.step or step.name in chosen.step]
            for content in measure(context, steps, progress=_say):
                replace_file(chosen.out, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    except SightlineError as error:
        _say(str(error))
        return 1
    _say(f"written: {chosen.out}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

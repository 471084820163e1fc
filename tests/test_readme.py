# SPDX-License-Identifier: Apache-2.0
"""Runs what README.md tells people to type, in the order in which it stands there."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sightline.builders import repository_from_card
from sightline.card import load_card
from sightline.cli import app
from sightline.clients.config.reading import watch_file_from_text
from sightline.perf.cameras import CameraServer
from tests.onnx_models import write_pictures, yolov8_like
from tests.perf_parts import only_perf_analyzer
from tests.ports import lasting_port

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python|yaml)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
OUTSIDE = ("make demo", "make test")  # tests/test_demo.py runs the first; the second runs this file


@pytest.fixture
def workplace(tmp_path: Path, cameras: CameraServer) -> Iterator[dict[str, str]]:
    """A new user's folder with a model, labels and photos, and what is typed in place of addresses and long times."""
    from PIL import Image

    from sightline.scenes import Scene

    yolov8_like(tmp_path / "my.onnx", classes=3, size=(640, 640), batch=1, box_scale=400.0)
    (tmp_path / "names.txt").write_text("car\nbus\nperson\n")
    Image.fromarray(Scene(seed=5).frame(1.0)[0]).save(tmp_path / "photo.jpg")
    write_pictures(tmp_path / "photos")
    http, grpc, metrics, page = (lasting_port() for _ in range(4))
    yield {
        "sightline serve &": f"sightline serve --http-port {http} --grpc-port {grpc} --metrics-port {metrics} "
        "> serve.log 2>&1 & echo $! > serve.pid; "
        "timeout 240 sh -c 'until grep -q ready serve.log; do sleep 0.5; done'",
        "localhost:8000": f"localhost:{http}",
        "localhost:8001": f"localhost:{grpc}",
        "rtsp://user:password@192.0.2.7/stream1": cameras.urls[0],
        "--page 8080": f"--page {page}",
        "sightline build my.onnx ": "sightline build my.onnx --images photos ",
        "--seconds 20": "--seconds 5",
        "sightline infer ": f"sightline infer --server localhost:{grpc} ",
        "sightline perf ": f"sightline perf --server localhost:{grpc} --seconds 1 --concurrency 1 --no-tax ",
        "sightline watch ": f"sightline watch --server localhost:{grpc} ",
    }
    pid_file = tmp_path / "serve.pid"
    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGTERM)


def test_blocks_are_found() -> None:
    """The pattern above still matches the document."""
    assert [kind for kind, _ in BLOCKS].count("python") == 2
    assert [kind for kind, _ in BLOCKS].count("sh") == 4


@pytest.mark.timeout(600)
def test_every_command(tmp_path: Path, workplace: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All shell, Python and YAML blocks do what they promise."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for kind, text in BLOCKS:
        if kind == "yaml" and "cameras" in yaml.safe_load(text):
            monkeypatch.setenv("HOOK_SECRET", "whsec_abcdefgh")
            assert watch_file_from_text(text, tmp_path / "yard.yaml").cameras["yard"].rules
            continue
        if kind == "yaml":
            (tmp_path / "my_card.yaml").write_text(text)
            card = load_card(tmp_path / "my_card.yaml")
            assert card.source == str(tmp_path / "my.onnx")
            assert repository_from_card(card, tmp_path / "from_card").labels == ("car", "bus", "person")
            continue
        lines = [line for line in text.splitlines() if line not in OUTSIDE]
        body = "\n".join(lines)
        for shown, used in workplace.items():
            body = body.replace(shown, used)
        command = [sys.executable, "-c", body] if kind == "python" else ["sh", "-ec", body]
        with only_perf_analyzer() if "sightline perf" in body else nullcontext():
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
            )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "drawn").is_dir()
    assert (tmp_path / "answer.bin").stat().st_size > 0
    assert (tmp_path / "sightline_data" / "events.sqlite").exists()


@pytest.mark.parametrize(
    "document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
)
def test_links_resolve(document: str) -> None:
    """Relative links and pictures point at files that exist."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+?)\)", text):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), f"{document} points at {target}"


COMMANDS = (
    *("build", "serve", "doctor", "models", "infer", "watch", "pipe", "bulk", "events", "page-password"),
    *("perf", "bench", "bench-streams", "cameras", "train", "demo"),
)


def test_help_teaches() -> None:
    """Each command has help with an example."""
    for command in COMMANDS:
        done = CliRunner().invoke(app, [command, "--help"])
        assert done.exit_code == 0, done.output
        assert f"sightline {command}" in done.output


def shipped_rows() -> list[str]:
    """The table of shipped models, from their records."""
    held_out = {}
    for name in ("sign_classify", "street_segment", "road_semantic", "street_embed"):
        record = json.loads((ROOT / f"model_repository/{name}/record.json").read_text())
        held_out[name] = record["held_out"], f"{record['onnx_bytes'] / 1e6:.1f} MB"
    signs, segment, road, embed = (figures for figures, _ in held_out.values())
    said = (
        f"accuracy {signs['accuracy']:.2f} on {signs['pictures']} pictures of {len(signs['recall'])} signs",
        f"mask mAP50 {segment['masks']['map50']:.2f}, box mAP50 {segment['boxes']['map50']:.2f} on "
        f"{segment['masks']['frames']} frames",
        f"mIoU {road['miou']:.2f}, pixel accuracy {road['pixel_accuracy']:.2f} on {road['frames']} frames",
        f"recall@1 {embed['recall_at_1']:.2f} on hard portraits of {embed['identities']} identities, "
        f"{embed['in_scenes']['recall_at_1']:.2f} in whole scenes",
    )
    return [f"{text} | {size} |" for text, (_, size) in zip(said, held_out.values(), strict=True)]


def test_figures_are_the_measured_ones() -> None:
    """README's speeds and accuracy are those of docs/*.json and the detector's record."""
    perf = json.loads((ROOT / "docs/perf.json").read_text())
    record = json.loads((ROOT / "model_repository/street_detect/record.json").read_text())
    tax, cost = perf["serving_tax"], perf["serving_tax"]["served_cpu_ms_a_frame"]
    bare = tax["bare_cpu_ms_a_frame"]
    inside = json.loads((ROOT / "docs/serving.json").read_text())["rows"][0]
    ways = {row["way"]: row for row in json.loads((ROOT / "docs/transport.json").read_text())["rows"]}
    stages = json.loads((ROOT / "docs/stages.json").read_text())["rows"]
    streams = json.loads((ROOT / "docs/streams.json").read_text())
    decoded = [row["ratios"]["libavcodec"]["by_cpu_time"] for row in streams["decoding"]["rows"]]
    loops = {row["case"]: row["ratios"]["OpenCV loop"]["by_cpu_time"] for row in streams["decoding"]["rows"]}
    large = [ratio for case, ratio in loops.items() if case.endswith("to 640x640")]
    small = [ratio for case, ratio in loops.items() if not case.endswith("to 640x640")]
    carried = {row["rate"]: row for row in streams["network"]["cameras"]}
    peers = streams["ultralytics"]["rows"][0]
    theirs = max(peers["ultralytics_one_call"], peers["ultralytics_a_thread_a_camera"])
    p50 = {point["concurrency"]: point["p50_ms"] for point in perf["points"]}
    shown = [
        *shipped_rows(),
        f"p50 {p50[4]:.0f} ms with four requests in flight; {p50[1]:.0f} ms for one alone",
        f"**Serving tax: {tax['ratio']:.2f} of the bare speed is left**",
        f"({statistics.median(tax['bare_frames_per_second']):.0f} frames/s, five rounds in turns, "
        f"{min(tax['ratios']):.2f} to {max(tax['ratios']):.2f})",
        f"{statistics.median(tax['served_frames_per_second']):.0f} frames/s through the whole ensemble",
        f"bare network {bare:.1f}; tritonserver with letterbox, network and post-processing {cost['tritonserver']:.1f}; "
        f"the load generator, on the same cores, {cost['perf_analyzer']:.1f}.",
        f"it is {inside['ratio']:.2f} by rate and {inside['cpu_ratio']:.2f} by CPU time",
        f"{ways['ring, in place']['memcpys']:.1f} copies' time through the ring, "
        f"{ways['in-process']['memcpys']:.1f} in process, "
        f"{ways['stock shared memory']['memcpys']:.1f} through stock shared memory and "
        f"{ways['gRPC']['memcpys']:.0f} through gRPC",
        f"One more native stage costs {stages[2]['value']:.2f} ms ({stages[4]['value']:.2f} ms where",
        f"post-processing is {stages[0]['value']:.1f} times faster",
        f"{min(decoded):.2f} to {max(decoded):.2f} of what bare libavcodec decodes",
        f"{large[0]:.1f} times an OpenCV loop",
        f"{min(small):.1f} to {max(small):.1f} times at the shipped detector's 384x224",
        f"{streams['network']['answered']['ratio']:.2f} of the bare engine's rate is answered",
        f"{carried[5]['cameras']} cameras of 720p at 5 frames a second, or {carried[10]['cameras']} at 10.",
        f"With {carried[10]['cameras_at_80_percent']} at 10 a second results are "
        f"{carried[10]['ages_ms']['p50']:.0f} ms old at p50 and {carried[10]['ages_ms']['p99']:.0f} ms at p99 "
        f"({carried[10]['inference_ms']:.0f} ms of it the network; the goal "
        f"for p99 is {carried[10]['p99_limit_ms']:.0f}), over {carried[10]['minutes']:.0f} minutes, in the worst of which "
        f"p99 is {carried[10]['p99_worst_window']:.0f} ms; p95 is {carried[10]['p95_by_p50']:.1f} times p50",
        f"carries {theirs} cameras at {peers['rate']} frames a second with the same network: {peers['ratio']:.1f} times fewer",
        f"mAP50 {record['held_out']['map50']:.2f} on {record['held_out']['frames']} drawn frames",
        f"{record['onnx_bytes'] / 1e6:.1f} MB of ONNX",
    ]
    flat = " ".join(README.split())
    assert [text for text in shown if text not in flat] == []

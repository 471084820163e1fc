# SPDX-License-Identifier: Apache-2.0
"""The state of a watch as Prometheus reads it.

Format: Prometheus text exposition format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).
Labels are the cameras' names and fixed words; addresses, and what may be in them, are not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sightline.clients.streams.reconnect import LinkState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_Samples = list[tuple[str, Mapping[str, str], float]]


def prometheus_text(state: Mapping[str, Any]) -> str:
    """The text of GET /metrics, from Watch.state()."""
    cameras = state.get("cameras", ())
    families = [*_watch_families(state), *_count_families(cameras), *_health_families(cameras)]
    return "".join(_family(*family) for family in families)


def _watch_families(state: Mapping[str, Any]) -> Iterable[tuple[str, str, str, _Samples]]:
    yield (
        "uptime_seconds",
        "gauge",
        "Seconds since the watch was started.",
        [("", {}, state.get("uptime_seconds", 0))],
    )
    is_up = {"up": 1.0, "down": 0.0}.get(state.get("server", ""))
    yield (
        "server_up",
        "gauge",
        "Whether the model server answers.",
        [] if is_up is None else [("", {}, is_up)],
    )
    yield "cameras", "gauge", "Cameras that are watched.", [("", {}, len(state.get("cameras", ())))]
    errors = state.get("output_errors", {})
    samples: _Samples = [("_total", {"output": name}, n) for name, n in sorted(errors.items())]
    yield "output_errors", "counter", "Results that an output did not take.", samples


def _count_families(cameras: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str, str, _Samples]]:
    cameras = list(cameras)
    for key, text in (
        ("received", "Pictures that the camera sent."),
        ("answered", "Pictures with a result."),
        ("connections", "Connections that gave a picture."),
        ("restarts", "Times that the camera's thread was started again."),
    ):
        samples: _Samples = [("_total", _camera(c), c.get(key, 0)) for c in cameras]
        yield f"camera_{key}", "counter", text, samples
    dropped: _Samples = [
        ("_total", {**_camera(c), "reason": reason}, n)
        for c in cameras
        for reason, n in sorted(c["dropped"].items())
    ]
    yield "camera_dropped", "counter", "Pictures without a result, by reason.", dropped
    yield (
        "camera_pending",
        "gauge",
        "Pictures on their way.",
        [("", _camera(c), c["pending"]) for c in cameras],
    )
    latencies: _Samples = [sample for c in cameras for sample in _histogram(c)]
    text = "From the decoded picture to its result."
    yield "camera_latency_seconds", "histogram", text, latencies


def _health_families(cameras: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str, str, _Samples]]:
    cameras = list(cameras)
    states: _Samples = [
        ("", {**_camera(c), "state": s.value}, float(c["state"] == s.value))
        for c in cameras
        for s in LinkState
    ]
    yield "camera_state", "gauge", "1 for the state in which the camera is.", states
    ages: _Samples = [("", _camera(c), c["age_ms"] / 1000) for c in cameras if c.get("age_ms") is not None]
    yield "camera_age_seconds", "gauge", "Age of the newest answered picture.", ages
    behind: _Samples = [
        ("", _camera(c), c["behind_ms"] / 1000) for c in cameras if c.get("behind_ms") is not None
    ]
    yield "camera_behind_seconds", "gauge", "How long pictures wait before they are decoded.", behind


def _histogram(camera: Mapping[str, Any]) -> _Samples:
    latency = camera.get("latency")
    if not latency:
        return []
    labels = _camera(camera)
    buckets: _Samples = [("_bucket", {**labels, "le": f"{edge:g}"}, n) for edge, n in latency["buckets"]]
    return [
        *buckets,
        ("_bucket", {**labels, "le": "+Inf"}, latency["count"]),
        ("_sum", labels, latency["sum_seconds"]),
        ("_count", labels, latency["count"]),
    ]


def _camera(camera: Mapping[str, Any]) -> dict[str, str]:
    return {"camera": camera["name"]}


def _family(name: str, kind: str, text: str, samples: _Samples) -> str:
    full = f"sightline_{name}"
    head = f"{full}_total" if kind == "counter" else full
    lines = [f"# HELP {head} {text}\n", f"# TYPE {head} {kind}\n"]
    return "".join(
        lines + [f"{full}{suffix}{_labels(labels)} {value:.10g}\n" for suffix, labels, value in samples]
    )


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

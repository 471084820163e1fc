# SPDX-License-Identifier: Apache-2.0
"""Triton's own statistics of an ensemble's stages, as the difference between two moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightline.errors import ModelNotFoundError, ServerUnavailable
from sightline.perf.analyzer.report import StageTime

_TIMEOUT_SECONDS = 10.0
Counts = dict[str, tuple[int, int]]
"""Count and nanoseconds of 'success', 'fail', 'queue', 'compute_input', 'compute_infer', 'compute_output'."""


class ServerStatistics:
    """Reads statistics and configurations over gRPC; those calls need no token."""

    def __init__(self, address: str) -> None:
        import tritonclient.grpc as triton

        self._address = address
        self._client = triton.InferenceServerClient(address)
        self._error: type[Exception] = triton.InferenceServerException

    def close(self) -> None:
        self._client.close()

    def version(self) -> str:
        """Version of the server. Raises ServerUnavailable."""
        try:
            return str(self._client.get_server_metadata(client_timeout=_TIMEOUT_SECONDS).version)
        except self._error as error:
            raise ServerUnavailable(
                f"no server answers at {self._address}: {error}; start one with: sightline serve"
            ) from error

    def stages(self, model: str) -> list[str]:
        """Names of an ensemble's models in the order of its steps; the model itself where it is no ensemble.

        Raises ModelNotFoundError.
        """
        try:
            config = self._client.get_model_config(model, client_timeout=_TIMEOUT_SECONDS).config
        except self._error as error:
            raise ModelNotFoundError(
                f"the server at {self._address} does not serve {model!r}: {error}"
            ) from error
        return [step.model_name for step in config.ensemble_scheduling.step] or [model]

    def counts(self, models: Sequence[str]) -> dict[str, Counts]:
        """What each model has counted since it was loaded."""
        found: dict[str, Counts] = {}
        for model in models:
            try:
                answer = self._client.get_inference_statistics(model, client_timeout=_TIMEOUT_SECONDS)
            except self._error as error:
                raise ServerUnavailable(f"the server gives no statistics of {model!r}: {error}") from error
            found[model] = _sum(answer.model_stats)
        return found


def _sum(versions: Any) -> Counts:
    fields = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    sums = {}
    for field in fields:
        parts = [getattr(version.inference_stats, field) for version in versions]
        sums[field] = (sum(part.count for part in parts), sum(part.ns for part in parts))
    return sums


def stage_times(before: dict[str, Counts], after: dict[str, Counts]) -> tuple[StageTime, ...]:
    """Mean times of each model between two readings; a model that answered nothing has zeros."""
    times = []
    for model, end in after.items():
        start = before[model]
        requests = end["success"][0] - start["success"][0]

        def mean_ms(field: str, start: Counts = start, end: Counts = end) -> float:
            count = end[field][0] - start[field][0]
            return (end[field][1] - start[field][1]) / 1e6 / count if count > 0 else 0.0

        failed = end["fail"][0] - start["fail"][0]
        parts = [mean_ms(field) for field in ("queue", "compute_input", "compute_infer", "compute_output")]
        times.append(StageTime(model, requests, failed, *parts))
    return tuple(times)

# SPDX-License-Identifier: Apache-2.0
"""Runs the DALI graphs in this process, on CPU operators or on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sightline.errors import BadInputError, MissingDependencyError
from sightline.frame import Frame

Kind = Literal["decode", "letterbox"]
Floats = NDArray[np.float32]
Pictures = tuple[Floats, Floats]

_DEFAULTS: Mapping[str, Any] = {"filter": "bilinear", "pad": 114.0}
_FIELDS = ("resize", "filter", "pad", "mean", "std", "colour")


def dali_version() -> str | None:
    """Version of the installed DALI; None where there is none."""
    try:
        return str(_import_dali().__version__)
    except MissingDependencyError:
        return None


def _import_dali() -> Any:
    """The package nvidia.dali. Raises MissingDependencyError."""
    try:
        import nvidia.dali
    except ImportError as error:
        raise MissingDependencyError(
            f"NVIDIA DALI is not installed ({error}); run: pip install 'sightline[dali]'"
        ) from error
    return nvidia.dali


def graph_settings(card_input: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Plain values of graph.Settings from the card's `input` as a mapping; filter, pad and short_side may be left out."""
    width, height = card_input["size"]
    given = {**_DEFAULTS, **card_input}
    values = {name: given[name] for name in _FIELDS}
    return {
        "width": int(width),
        "height": int(height),
        "short_side": int(card_input.get("short_side") or 0),
        "device": device,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
    }


class DaliPictures:
    """Files or raw frames to the network's input, many at a time.

    card_input: the card's `input` as a mapping. kind: "decode" takes encoded files, "letterbox" raw frames. device_id:
    the GPU; None runs CPU operators. Raises MissingDependencyError.
    """

    def __init__(
        self,
        card_input: Mapping[str, Any],
        kind: Kind,
        *,
        batch: int = 8,
        threads: int = 1,
        device_id: int | None = None,
    ) -> None:
        dali = _import_dali()
        from sightline.preprocess_ext.dali import graph

        settings = graph.Settings(**graph_settings(card_input, "cpu" if device_id is None else "gpu"))
        build = graph.encoded_pictures if kind == "decode" else graph.raw_frames
        self._most = batch

        @dali.pipeline_def(enable_conditionals=True)
        def pictures() -> Any:
            return build(settings)

        self._make: Callable[[], Any] = lambda: pictures(
            batch_size=batch,
            num_threads=threads,
            device_id=device_id,
            prefetch_queue_depth=1,
            exec_async=False,
            exec_pipelined=False,
        )
        self._pipeline: Any = self._make()
        self._pipeline.build()

    def files(self, files: Sequence[NDArray[np.uint8]], valid: Sequence[bool] | None = None) -> Pictures:
        """TENSOR (N, 3, h, w) and GEOMETRY (N, 7) of encoded files, uint8 of one dimension each, zeros behind them ignored.

        valid: where False, GEOMETRY is 0. Raises BadInputError where DALI cannot read one of them: it tells not which.
        """
        flags = [np.array([flag], np.int32) for flag in (valid or [True] * len(files))]
        return self._run({"IMAGE": list(files), "VALID": flags})

    def frames(self, frames: Sequence[Frame]) -> Pictures:
        """TENSOR (N, 3, h, w) and GEOMETRY (N, 7) of raw frames. Raises BadInputError where DALI fails."""
        return self.packed([frame.data for frame in frames], [frame.info for frame in frames])

    def packed(self, frames: Sequence[NDArray[np.uint8]], infos: Sequence[NDArray[np.int32]]) -> Pictures:
        """The same from the wire's FRAME and FRAME_INFO; a bad item's GEOMETRY is 0."""
        return self._run({"FRAME": list(frames), "FRAME_INFO": list(infos)})

    def _run(self, inputs: Mapping[str, list[Any]]) -> Pictures:
        count = len(next(iter(inputs.values())))
        if not 1 <= count <= self._most:
            raise ValueError(f"there are {count} items; there must be 1..{self._most}")
        try:
            for name, arrays in inputs.items():
                self._pipeline.feed_input(name, arrays)
            outputs = self._pipeline.run()
        except RuntimeError as error:  # the pipeline cannot be used any more
            self._pipeline = self._make()
            self._pipeline.build()
            raise BadInputError(f"DALI cannot read a picture of this batch: {_reason(error)}") from error
        tensors, geometry = (_on_host(output) for output in outputs)
        return tensors, geometry


def _on_host(output: Any) -> Floats:
    output = output.as_cpu() if hasattr(output, "as_cpu") else output
    return np.array(output.as_array(), np.float32)


def _reason(error: RuntimeError) -> str:
    """DALI's own words without the traceback of the graph."""
    text = str(error).partition("encountered:")[2].strip() or str(error)
    return text.partition("C++ context")[0].strip().replace("\n", " ")[:300]

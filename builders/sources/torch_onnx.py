# SPDX-License-Identifier: Apache-2.0
"""A PyTorch module into self-contained ONNX, compared with the module itself.

The ways are tried in order until one gives the module's numbers: torch.export with an open batch, the TorchScript
exporter with an open batch, and the same with batches of one.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.builders.sources.base import ExportedModel, Floats, Reference
from sightline.builders.sources.torch_network import (
    Progress,
    TorchNetwork,
    digest,
    import_torch,
    outputs_of,
    pictures,
)
from sightline.card import InputSpec
from sightline.errors import BuildError, MissingDependencyError

OPSET = 18  # the first that torch.export's operators are written for
MOST_ERROR = 1e-3  # largest difference of an output, as a share of its spread
_ROWS_AGREE = 0.98  # of outputs that are rows of objects: share of numbers within MOST_ERROR
_MAX_BATCH = 256
_CHECKED_BATCH = 2
_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class _Way:
    name: str
    batch: int
    export: Callable[[Any, Any, int, bool], bytes]

    @property
    def open_batch(self) -> bool:
        return self.batch > 1


def export_network(network: TorchNetwork, spec: InputSpec, progress: Progress | None = None) -> ExportedModel:
    """Export the network for the card's input.

    Raises BuildError where no way gives the network's own numbers; the text names each way and what went wrong.
    """
    report = progress or (lambda _: None)
    reference = reference_of(network)
    inputs = pictures(spec, _CHECKED_BATCH)
    wanted = _wanted(reference, inputs.numpy(), network)
    wrapped = _flat(network.module)
    failures = []
    for way in _ways(network):
        report(f"export: {way.name}")
        try:
            with _quiet(), import_torch().no_grad():
                content = way.export(wrapped, inputs[: way.batch], len(wanted), way.open_batch)
            report("compare with PyTorch")
            run = _runner(content)
            for count in {way.batch, 1}:  # an exporter may have written the batch that it saw into the graph
                _compare(run(inputs[:count].numpy()), [w[:count] for w in wanted], network.rows)
        except Exception as error:  # exporters raise all sorts; the last resort tells them all
            failures.append(f"{way.name}: {_first_lines(error)}")
            continue
        origin = f"{network.origin}; exported by {way.name}"
        return ExportedModel(
            content, origin, digest(network.module, network.origin), reference, network.defaults
        )
    raise BuildError(f"{network.origin} could not be exported to ONNX:\n  " + "\n  ".join(failures))


def reference_of(network: TorchNetwork) -> Reference:
    """Runs the original module on float32 (N, 3, height, width); single networks picture by picture."""
    torch = import_torch()
    module = network.original if network.original is not None else network.module

    def run(images: Floats) -> list[NDArray[Any]]:
        with torch.no_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(images, np.float32))
            parts = tensor.split(1) if network.single else [tensor]
            answers = [[t.float().numpy() for t in outputs_of(module(part))] for part in parts]
        return [np.concatenate(output) for output in zip(*answers, strict=True)]

    return run


def compare_with(content: bytes, images: Floats, wanted: list[NDArray[Any]], rows: bool = False) -> float:
    """Largest difference between the ONNX model (in float32 on the CPU) and `wanted`, as a share of the spread.

    rows: a few rows may change places. Raises BuildError naming the output and its error above MOST_ERROR.
    """
    return _compare(_runner(content)(images), wanted, rows)


def _compare(found: list[NDArray[Any]], wanted: list[NDArray[Any]], rows: bool) -> float:
    if len(found) != len(wanted):
        raise BuildError(f"the export has {len(found)} outputs, the network {len(wanted)}")
    worst = 0.0
    for number, (have, want) in enumerate(zip(found, wanted, strict=True)):
        name = output_name(number)
        if have.shape != want.shape:
            raise BuildError(f"output {name} has shape {have.shape}, the network's is {want.shape}")
        spread = float(want.max() - want.min()) or float(np.abs(want).max()) or 1.0
        errors = np.abs(have - want) / spread
        error = float(np.quantile(errors, _ROWS_AGREE)) if rows else float(errors.max())
        if not error <= MOST_ERROR:
            raise BuildError(
                f"output {name} differs by {error:.2g} of its spread; at most {MOST_ERROR} is allowed"
            )
        worst = max(worst, error)
    return worst


def output_name(number: int) -> str:
    """RAW, RAW_1, RAW_2, …"""
    return f"RAW_{number}" if number else "RAW"


def _wanted(reference: Reference, images: Floats, network: TorchNetwork) -> list[NDArray[Any]]:
    try:
        wanted = reference(images)
    except BuildError:
        raise
    except Exception as error:  # the user's own module
        raise BuildError(
            f"{network.origin} does not run on an input of shape {images.shape}: {_first_lines(error)}. "
            "Check input.size in the card"
        ) from error
    for number, output in enumerate(wanted):
        if not np.isfinite(output).all():
            raise BuildError(
                f"output {output_name(number)} of {network.origin} has values that are not finite on pictures; "
                "check the weights"
            )
        if output.ndim < 1 or output.shape[0] != images.shape[0]:
            raise BuildError(
                f"output {output_name(number)} of {network.origin} has shape {output.shape} for {images.shape[0]} "
                "pictures; its first dimension must be the batch"
            )
    return wanted


def _ways(network: TorchNetwork) -> list[_Way]:
    batches = (1,) if network.single else (_CHECKED_BATCH, 1)
    ways = []
    for batch in batches:
        kind = "open batch" if batch > 1 else "batch 1"
        if not network.script:
            ways.append(_Way(f"torch.export, {kind}", batch, _by_torch_export))
        ways.append(_Way(f"TorchScript exporter, {kind}", batch, _by_torchscript))
    return ways


def _by_torch_export(module: Any, inputs: Any, count: int, open_batch: bool) -> bytes:
    torch = import_torch()
    try:
        from onnxscript import optimizer
    except ImportError as error:
        raise MissingDependencyError("torch.export needs: pip install 'sightline[torch]'") from error
    shapes = ({0: torch.export.Dim("N", min=1, max=_MAX_BATCH)},) if open_batch else None
    from sightline.builders.sources.torch_fuse import fused

    with _not_in_place(module), fused(module, inputs[:1]):
        program = torch.onnx.export(
            module,
            (inputs,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=shapes,
            input_names=["TENSOR"],
            output_names=[output_name(number) for number in range(count)],
            external_data=False,
            verbose=False,
            optimize=False,
        )
    for simplify in (optimizer.inline, optimizer.fold_constants, optimizer.remove_unused_nodes):
        simplify(program.model)  # no rewriting: engines do it faster
    return bytes(program.model_proto.SerializeToString())


@contextlib.contextmanager
def _not_in_place(module: Any) -> Iterator[None]:
    """Activations give new tensors meanwhile: torch.export works some changed ones (Hardswish's) out very slowly."""
    changed = [part for part in module.modules() if getattr(part, "inplace", None) is True]
    for part in changed:
        part.inplace = False
    try:
        yield
    finally:
        for part in changed:
            part.inplace = True


def _by_torchscript(module: Any, inputs: Any, count: int, open_batch: bool) -> bytes:
    torch = import_torch()
    names = [output_name(number) for number in range(count)]
    buffer = io.BytesIO()
    torch.onnx.export(
        module.inner if isinstance(module.inner, torch.jit.ScriptModule) else module,
        (inputs,),
        buffer,
        dynamo=False,
        opset_version=OPSET,
        dynamic_axes={name: {0: "N"} for name in ["TENSOR", *names]} if open_batch else None,
        input_names=["TENSOR"],
        output_names=names,
    )
    return buffer.getvalue()


def _flat(module: Any) -> Any:
    from sightline.builders.sources.torch_modules import Flat

    return Flat(module).eval()


def _runner(content: bytes) -> Callable[[Floats], list[NDArray[Any]]]:
    """The ONNX model in float32 on the CPU."""
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError("comparing an export needs: pip install 'sightline[build]'") from error
    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}
    compiled = core.compile_model(core.read_model(content), "CPU", config)

    def run(images: Floats) -> list[NDArray[Any]]:
        answer = compiled({0: images})
        return [np.array(answer[port]) for port in compiled.outputs]

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters talk a lot about operators that nobody here can change."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _first_lines(error: Exception) -> str:
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return f"{type(error).__name__}: {text[:_REASON_CHARACTERS]}" if text else type(error).__name__

# SPDX-License-Identifier: Apache-2.0
"""What an engine is and where it runs: its identity, its manifest, and whether it fits a machine.

An engine's key is the hash of all that decides its bytes: network, runtime and version, GPU, system, precision, shapes,
options. The manifest beside the engine tells the same to people, and what was measured when it was built.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from sightline.errors import BuildError

EngineKind = Literal["openvino", "onnxruntime", "tensorrt", "rtx"]
KIND_NAMES: dict[EngineKind, str] = {
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
    "rtx": "TensorRT-RTX",
}
GPU_KINDS: tuple[EngineKind, ...] = ("tensorrt", "rtx")
FORMAT = 1
Scalar = bool | int | float | str | None
Dims = tuple[int, ...]


@dataclass(frozen=True)
class EngineTensor:
    """An input or output of an engine. data_type: such as "float32"; dims with the batch, -1 is an open one."""

    name: str
    data_type: str
    dims: Dims


@dataclass(frozen=True)
class ShapeRange:
    """An optimization profile's shapes of one input, batch included."""

    minimum: Dims
    optimum: Dims
    maximum: Dims


@dataclass(frozen=True)
class EngineKey:
    """All that decides an engine's bytes.

    onnx_sha256: of the canonical ONNX. sm: compute capabilities such as (87,), empty for a CPU. device: name of the GPU,
    empty where the engine is not bound to one model of GPU. batch: smallest, tuned and largest; size: width and height
    in pixels, for networks whose sides are open. options: what else was set, JSON scalars.
    """

    onnx_sha256: str
    kind: EngineKind
    version: str
    system: str
    architecture: str
    precision: str
    sm: Dims = ()
    device: str = ""
    batch: Dims = ()
    size: Dims = ()
    options: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits; equal keys, whatever the order of their options, have equal digests."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def text(self) -> str:
        """Runtime, version and device for people: "TensorRT 10.16.0.72 for SM 87"."""
        return f"{KIND_NAMES[self.kind]} {self.version} for {_sm_text(self.sm)}"


@dataclass(frozen=True)
class FileFacts:
    """Size in bytes and SHA-256 of one file of an engine."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class EngineManifest:
    """Stands beside each engine.

    seconds: how long the build took; built: when, UTC, ISO 8601; cuda, device: of the GPU that built it, empty without
    one; shapes: the optimization profile of each input.
    """

    key: EngineKey
    files: Mapping[str, FileFacts]
    seconds: float
    built: str
    cuda: str = ""
    device: str = ""
    inputs: tuple[EngineTensor, ...] = ()
    outputs: tuple[EngineTensor, ...] = ()
    shapes: Mapping[str, ShapeRange] = field(default_factory=dict)

    def to_json(self) -> str:
        """The manifest's text, one JSON object."""
        content = {"written_by": "sightline", "format": FORMAT, **asdict(self)}
        return json.dumps(content, indent=2, sort_keys=True) + "\n"


def manifest_from_json(text: str) -> EngineManifest:
    """Read a manifest back. Raises BuildError where it is damaged or of a later format."""
    try:
        values = json.loads(text)
        if values["written_by"] != "sightline" or values["format"] != FORMAT:
            raise ValueError(f"format {values.get('format')!r}, known is {FORMAT}")
        return EngineManifest(
            key=_key(values["key"]),
            files={
                _file_name(name): FileFacts(int(one["bytes"]), str(one["sha256"]))
                for name, one in values["files"].items()
            },
            seconds=float(values["seconds"]),
            built=str(values["built"]),
            cuda=str(values["cuda"]),
            device=str(values["device"]),
            inputs=_tensors(values["inputs"]),
            outputs=_tensors(values["outputs"]),
            shapes={
                str(name): ShapeRange(_dims(one["minimum"]), _dims(one["optimum"]), _dims(one["maximum"]))
                for name, one in values["shapes"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BuildError(
            f"the engine's manifest is damaged ({type(error).__name__}: {error}); the engine is built again"
        ) from error


def _key(values: Mapping[str, Any]) -> EngineKey:
    if values["kind"] not in get_args(EngineKind):
        raise ValueError(f"kind is {values['kind']!r}")
    texts = {
        name: str(values[name])
        for name in ("onnx_sha256", "version", "system", "architecture", "precision", "device")
    }
    return EngineKey(
        kind=values["kind"],
        sm=_dims(values["sm"]),
        batch=_dims(values["batch"]),
        size=_dims(values["size"]),
        options=dict(values["options"]),
        **texts,
    )


def _tensors(values: list[Mapping[str, Any]]) -> tuple[EngineTensor, ...]:
    return tuple(EngineTensor(str(one["name"]), str(one["data_type"]), _dims(one["dims"])) for one in values)


def _dims(values: Any) -> Dims:
    return tuple(int(value) for value in values)


def _file_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"file name {name!r}")
    return name


@dataclass(frozen=True)
class Machine:
    """Where an engine is to run. versions: of the runtimes that are installed; sm and device: of the GPU, where one is.

    is_jetson: NVIDIA's hardware-compatible engines exist for discrete GPUs only.
    """

    system: str
    architecture: str
    versions: Mapping[EngineKind, str]
    sm: int | None = None
    device: str = ""
    cuda: str = ""
    is_jetson: bool = False


@dataclass(frozen=True)
class Fit:
    """Whether an engine runs on a machine, and why (not), in a sentence for people."""

    ok: bool
    why: str


def fits(manifest: EngineManifest, machine: Machine) -> Fit:
    """Whether the engine runs on the machine. A pure function of both.

    Rules: NVIDIA's support matrix (Engine Portability) and "Engine Compatibility" of TensorRT 11.4.
    """
    key = manifest.key
    have = machine.versions.get(key.kind)
    if have is None:
        return Fit(False, f"the engine is for {KIND_NAMES[key.kind]}, which is not installed here")
    here = _here(key.kind, have, machine)
    problem = (
        _system_problem(key, machine)
        or _version_problem(key, have)
        or (_gpu_problem(key, manifest.device, machine) if key.kind in GPU_KINDS else "")
    )
    built = f"built with {key.text}"
    if problem:
        return Fit(False, f"{built}, this is {here}: {problem}; it is built again here")
    return Fit(True, f"{built}, this is {here}")


def _here(kind: EngineKind, version: str, machine: Machine) -> str:
    where = f"SM {machine.sm}" if machine.sm else "a machine without a GPU"
    return f"{KIND_NAMES[kind]} {version} on {where if kind in GPU_KINDS else 'this CPU'}"


def _system_problem(key: EngineKey, machine: Machine) -> str:
    if key.kind in GPU_KINDS and (key.system, key.architecture) != (machine.system, machine.architecture):
        return f"it is for {key.system} {key.architecture}, not {machine.system} {machine.architecture}"
    return ""


def _version_problem(key: EngineKey, have: str) -> str:
    """All four parts of TensorRT's version must be equal, unless the engine is version-compatible."""
    if key.version == have:
        return ""
    built, here = _numbers(key.version), _numbers(have)
    if key.kind not in GPU_KINDS:
        return "" if here >= built else "it was made by a later version"
    if key.kind == "rtx" or not key.options.get("version_compatible"):
        return "an engine runs in the version that built it only"
    if here < built:
        return "a version-compatible engine runs in later versions, not in earlier ones"
    if built[:1] == here[:1] or (built[:1], here[:1]) == ((10,), (11,)):
        return ""
    return f"version-compatible engines of TensorRT {built[0]} do not run in {here[0]}"


def _gpu_problem(key: EngineKey, device: str, machine: Machine) -> str:
    if key.kind == "rtx":
        known = machine.sm is None or machine.sm in key.sm
        return "" if known else f"it was not built for SM {machine.sm}"
    if machine.sm is None:
        return "it needs an NVIDIA GPU"
    hardware = key.options.get("hardware", "this")
    if hardware == "ampere_plus":
        if machine.is_jetson:
            return "engines for Ampere and later run on discrete GPUs only"
        return "" if machine.sm >= 80 else f"SM {machine.sm} is older than Ampere (SM 80)"
    if machine.sm not in key.sm:
        return "the GPU's compute capability is another one"
    if hardware == "this" and device and machine.device and device != machine.device:
        return (
            f"it was tuned on {device}, this GPU is {machine.device} (engine.hardware: same_capability in the card "
            "makes one engine for both)"
        )
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: "2026.4.1-20959-abc" is (2026, 4, 1)."""
    numbers = []
    for part in version.split("-")[0].split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _sm_text(sm: Dims) -> str:
    return f"SM {', '.join(map(str, sm))}" if sm else "CPU"

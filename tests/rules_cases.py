# SPDX-License-Identifier: Apache-2.0
"""Small repositories that break exactly one of Triton's rules each.

The whole one: `single` and the ensemble `pair` of `first` and `second`, all of the native backend's stage identity; for
the targets with a GPU also `plan` (TensorRT, to be built on first start), `dali` and `script` (Python).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from sightline.builders.entries.context import Target

DIMS = (3, 4, 8)
BATCH = 8


@dataclass
class World:
    """A repository to be written. configs, files, extra (text behind a configuration): by model; keys are short names."""

    prefix: str = ""
    configs: dict[str, pb.ModelConfig] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.configs[key]

    def name(self, key: str) -> str:
        """The model's folder."""
        return f"{self.prefix}{key}"

    def write(self, folder: Path) -> Path:
        """Write all models; returns the folder."""
        for key, config in self.configs.items():
            place = folder / self.name(key)
            place.mkdir(parents=True)
            text = text_format.MessageToString(config) + self.extra.get(key, "")
            (place / "config.pbtxt").write_text(text, encoding="utf-8")
            for name, content in self.files[key].items():
                (place / name).parent.mkdir(exist_ok=True)
                (place / name).write_bytes(content)
        return folder

    def add(self, key: str, config: pb.ModelConfig, files: dict[str, bytes]) -> None:
        config.name = self.name(key)
        self.configs[key], self.files[key] = config, files

    def step(self, model: str, inputs: dict[str, str], outputs: dict[str, str]) -> None:
        """One more step of `pair`."""
        step = self["pair"].ensemble_scheduling.step.add(model_name=self.name(model), model_version=-1)
        step.input_map.update(inputs)
        step.output_map.update(outputs)

    def warmup(self, **values: Any) -> Any:
        """A warm-up of `single`; returns its input."""
        sample = self["single"].model_warmup.add(name="warm", **{"batch_size": 1, **values})
        tensor = sample.inputs["TENSOR"]
        tensor.data_type = pb.TYPE_FP32
        tensor.dims.extend(DIMS)
        tensor.zero_data = True
        return tensor


def world(prefix: str = "", *, gpu: bool = False) -> World:
    """The repository that breaks no rule."""
    made = World(prefix)
    for key in ("single", "first", "second"):
        made.add(key, stage(), {"1/.keep": b""})
    pair = pb.ModelConfig(platform="ensemble", max_batch_size=BATCH)
    pair.input.add(name="X", data_type=pb.TYPE_FP32, dims=DIMS)
    pair.output.add(name="Z", data_type=pb.TYPE_FP32, dims=DIMS)
    made.add("pair", pair, {"1/.keep": b""})
    made.step("first", {"TENSOR": "X"}, {"TENSOR": "Y"})
    made.step("second", {"TENSOR": "Y"}, {"TENSOR": "Z"})
    if gpu:
        plan = stage("", pb.ModelInstanceGroup.KIND_GPU)
        plan.platform = "tensorrt_plan"
        request = {"options": {"batch": [1, BATCH, BATCH], "size": [DIMS[2], DIMS[1]]}}
        made.add("plan", plan, {"1/engine.json": json.dumps(request).encode(), "1/model.onnx": b"x"})
        made.add(
            "dali",
            stage("dali", pb.ModelInstanceGroup.KIND_GPU, count=1),
            {"1/dali.py": b"", "1/graph.py": b""},
        )
        made.add("script", stage("python"), {"1/model.py": b""})
    return made


def stage(
    backend: str = "sightline", kind: Any = pb.ModelInstanceGroup.KIND_CPU, count: int = 2
) -> pb.ModelConfig:
    """TENSOR -> TENSOR, with a bounded queue."""
    config = pb.ModelConfig(backend=backend, max_batch_size=BATCH)
    config.input.add(name="TENSOR", data_type=pb.TYPE_FP32, dims=DIMS)
    config.output.add(name="TENSOR", data_type=pb.TYPE_FP32, dims=DIMS)
    config.instance_group.add(kind=kind, count=count)
    config.dynamic_batching.preferred_batch_size.append(1)
    policy = config.dynamic_batching.default_queue_policy
    policy.max_queue_size, policy.default_timeout_microseconds = 8, 1_000_000
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
    config.parameters["sightline"].string_value = json.dumps({"stage": "identity"})
    return config


Break = Callable[[World], None]


@dataclass(frozen=True)
class Broken:
    """How a rule is broken. model: which one then breaks it. says: what the real server answers; "" where it loads it.

    None where it cannot judge here: a GPU or a backend is missing, it would take the model, or (python-file) it waits for
    the stub as long as a stub may take.
    """

    rule: str
    model: str
    how: Break
    says: str | None = None
    target: Target = "local"
    release: str = "24.10"

    def world(self, prefix: str = "") -> World:
        made = world(prefix, gpu=self.target != "local")
        if self.target == "jetson":
            made.configs.pop("dali", None)
        self.how(made)
        return made


def _set(key: str, path: str, value: Any) -> Break:
    """Set a field such as "dynamic_batching.default_queue_policy.max_queue_size" or "input[0].name"."""

    def change(made: World) -> None:
        *parents, last = path.split(".")
        message: Any = made[key]
        for part in parents:
            name, _, index = part.partition("[")
            message = getattr(message, name)
            message = message[int(index[:-1])] if index else message
        if isinstance(value, list):
            del getattr(message, last)[:]
            getattr(message, last).extend(value)
        else:
            setattr(message, last, value)

    return change


def _all(*changes: Break) -> Break:
    def change(made: World) -> None:
        for one in changes:
            one(made)

    return change


def _clear(key: str, name: str) -> Break:
    return lambda made: made[key].ClearField(name)


def _filled(key: str, name: str) -> Break:
    """A message field that is there and empty."""
    return lambda made: getattr(made[key], name).SetInParent()


def _extra(key: str, text: str) -> Break:
    return lambda made: made.extra.update({key: text})


def _lose(key: str, name: str) -> Break:
    return lambda made: made.files[key].pop(name) and None


def _group(key: str, **values: Any) -> Break:
    def change(made: World) -> None:
        del made[key].instance_group[:]
        made[key].instance_group.add(**{"count": 1, **values})

    return change


def _step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> Break:
    return lambda made: made.step(model, inputs, outputs)


def _pair_step(index: int, name: str, value: Any) -> Break:
    return _set("pair", f"ensemble_scheduling.step[{index}].{name}", value)


def _tensor(kind: str, name: str) -> Break:
    return lambda made: getattr(made["pair"], kind).add(name=name, data_type=pb.TYPE_FP32, dims=DIMS) and None


def _warm(**values: Any) -> Break:
    """A warm-up of `single`, whose input has these fields."""

    def change(made: World) -> None:
        tensor = made.warmup()
        for name, value in values.items():
            if name == "dims":
                del tensor.dims[:]
                tensor.dims.extend(value)
            elif value is None:
                tensor.ClearField(name)
            else:
                setattr(tensor, name, value)

    return change


def _itself(made: World) -> None:
    step = made["pair"].ensemble_scheduling.step[1]
    step.model_name = made.name("pair")
    step.input_map.clear()
    step.output_map.clear()
    step.input_map["X"], step.output_map["Z"] = "Y", "Z"


def _network(made: World) -> None:
    made["single"].parameters["sightline"].string_value = json.dumps({"stage": "network", "outputs": 1})


def _priority(made: World) -> None:
    made["single"].dynamic_batching.priority_levels = 2


def _python(made: World) -> None:
    made["single"].backend = "python"


def _ghost(made: World) -> None:
    made["pair"].ensemble_scheduling.step[1].input_map["GHOST"] = "Y"


def _batch_input(made: World) -> None:
    made["single"].batch_input.add(
        kind=pb.BatchInput.BATCH_ELEMENT_COUNT,
        target_name=["n"],
        data_type=pb.TYPE_FP32,
        source_input=["none"],
    )


def _two_levels(made: World) -> None:
    batching = made["single"].dynamic_batching
    batching.priority_levels, batching.default_priority_level, batching.preserve_ordering = 2, 1, True


def _pair_warmup(made: World) -> None:
    made["pair"].model_warmup.add(name="warm", batch_size=1)


def _other_input(made: World) -> None:
    made.warmup()
    other = made["single"].model_warmup[0].inputs["OTHER"]
    other.data_type, other.zero_data = pb.TYPE_FP32, True
    other.dims.append(1)
    del made["single"].model_warmup[0].inputs["TENSOR"]


GPU, CPU = pb.ModelInstanceGroup.KIND_GPU, pb.ModelInstanceGroup.KIND_CPU
_ONE = "input[0]"
_QUEUE = "dynamic_batching.default_queue_policy"

CASES: tuple[Broken, ...] = (
    Broken("config-readable", "single", _extra("single", "no_such_field: 1"), "failed to read text proto"),
    Broken(
        "batching-exclusive", "single", _extra("single", "sequence_batching { }"), "failed to read text proto"
    ),
    Broken("name-is-folder", "single", _set("single", "name", "other"), "unexpected directory name"),
    Broken("version-folder", "single", _lose("single", "1/.keep"), "at least one version must be available"),
    Broken("version-named", "single", _set("single", "version_policy.specific.versions", [1, 7]), ""),
    Broken("label-file", "single", _set("single", "output[0].label_filename", "none.txt"), "none.txt"),
    Broken("python-file", "single", _python),
    Broken("native-file", "single", _network, "model.xml"),
    Broken("tensorrt-file", "plan", _lose("plan", "1/engine.json"), target="server"),
    Broken("dali-file", "dali", _lose("dali", "1/dali.py"), target="server"),
    Broken(
        "backend-known", "single", _set("single", "backend", "nonesuch"), "unable to find backend library"
    ),
    Broken(
        "backend-platform",
        "plan",
        _all(_set("plan", "backend", "tensorrt"), _set("plan", "platform", "onnxruntime_onnx")),
        "unexpected 'platform' and 'backend' pair",
        target="server",
    ),
    Broken("tensor-name", "single", _set("single", f"{_ONE}.name", ""), "must specify 'name'"),
    Broken("tensor-type", "single", _set("single", f"{_ONE}.data_type", 0), "must specify 'data_type'"),
    Broken(
        "tensor-dims", "single", _set("single", f"{_ONE}.dims", [3, 0, 8]), "dimension must be integer >= 1"
    ),
    Broken("dims-exclude-batch", "single", _set("single", f"{_ONE}.dims", [-1, *DIMS])),
    Broken("tensor-reshape", "single", _set("single", f"{_ONE}.reshape.shape", [7]), "has different size"),
    Broken(
        "tensor-format",
        "single",
        _all(
            _set("single", f"{_ONE}.format", pb.ModelInput.FORMAT_NCHW),
            _set("single", f"{_ONE}.dims", [4, 8]),
        ),
        "require 3 dims",
    ),
    Broken(
        "tensor-tensorrt-only", "single", _set("single", f"{_ONE}.is_shape_tensor", True), "shape tensors"
    ),
    Broken(
        "max-batch-size",
        "single",
        _all(
            _set("single", "max_batch_size", -1), _set("single", "dynamic_batching.preferred_batch_size", [])
        ),
        "'max_batch_size' must be non-negative",
    ),
    Broken(
        "preferred-batch-size",
        "single",
        _set("single", "dynamic_batching.preferred_batch_size", [4, 99]),
        "must be <= max batch size",
    ),
    Broken("queue-bounded", "single", _set("single", f"{_QUEUE}.max_queue_size", 0), ""),
    Broken("queue-timeout", "single", _set("single", f"{_QUEUE}.default_timeout_microseconds", 0), ""),
    Broken("priority-levels", "single", _priority, "default priority level must be in range"),
    Broken("ordering", "single", _two_levels, "Only one priority level is allowed"),
    Broken(
        "ragged-tensorrt",
        "plan",
        _all(_set("plan", f"{_ONE}.allow_ragged_batch", True), _set("plan", f"{_ONE}.dims", [-1, *DIMS[1:]])),
        target="server",
    ),
    Broken("ragged-open", "single", _set("single", f"{_ONE}.allow_ragged_batch", True), ""),
    Broken("batch-input", "single", _batch_input, "unknown source input name"),
    Broken(
        "cache-decoupled",
        "single",
        _all(
            _set("single", "response_cache.enable", True),
            _set("single", "model_transaction_policy.decoupled", True),
        ),
        "'decoupled' transaction policy",
    ),
    Broken(
        "cache-sequence",
        "single",
        _all(_set("single", "response_cache.enable", True), _filled("single", "sequence_batching")),
        "sequence batching scheduler",
    ),
    Broken("cache-ensemble", "pair", _set("pair", "response_cache.enable", True), "", release="24.04"),
    Broken("instance-kind", "single", _group("single", kind=pb.ModelInstanceGroup.KIND_AUTO), ""),
    Broken("instance-gpus", "single", _group("single", kind=CPU, gpus=[0]), "specifies one or more GPUs"),
    Broken("instance-gpu-here", "single", _group("single", kind=GPU), "KIND_GPU"),
    Broken(
        "instance-profile", "single", _group("single", kind=CPU, profile=["0"]), "specifies profile field"
    ),
    Broken("tensorrt-gpu", "plan", _group("plan", kind=CPU), target="server"),
    Broken("dali-count", "dali", _group("dali", kind=GPU, count=2), target="server"),
    Broken("jetson-python", "script", _group("script", kind=GPU), target="jetson"),
    Broken("tensorrt-batch", "plan", _set("plan", "max_batch_size", BATCH + 1), target="jetson"),
    Broken("tensorrt-size", "plan", _set("plan", f"{_ONE}.dims", [3, 8, 4]), target="server"),
    Broken("warmup-inputs", "single", _other_input, "TENSOR"),
    Broken("warmup-dims", "single", _warm(dims=[-1, 4, 8]), "all variable-size dimensions are specified"),
    Broken("warmup-data", "single", _warm(zero_data=None), "to have input_data_type set"),
    Broken("warmup-file", "single", _warm(input_data_file="none.bin"), "none.bin"),
    Broken("warmup-batch", "single", lambda made: made.warmup(batch_size=BATCH + 1) and None),
    Broken(
        "ensemble-platform", "pair", _clear("pair", "ensemble_scheduling"), "ensemble scheduling must be set"
    ),
    Broken("ensemble-instances", "pair", _group("pair", kind=CPU), "instance group should not be specified"),
    Broken("ensemble-optimization", "pair", _filled("pair", "optimization"), "optimization should not be"),
    Broken("ensemble-warmup", "pair", _pair_warmup, "model_warmup can not be specified"),
    Broken("ensemble-steps", "pair", _step("first", {"TENSOR": "X"}, {}), "must specify 'output_map'"),
    Broken("ensemble-models", "pair", _pair_step(1, "model_name", "gone"), "not available or ambiguous"),
    Broken("ensemble-circular", "pair", _itself, "circular dependency"),
    Broken("ensemble-version", "pair", _pair_step(1, "model_version", 5), "version 5 is not loaded"),
    Broken("ensemble-batch", "pair", _set("second", "max_batch_size", 2), "allows maximum batch size"),
    Broken("ensemble-maps", "pair", _ghost, "non-existing input GHOST"),
    Broken(
        "ensemble-types", "pair", _set("pair", "output[0].data_type", pb.TYPE_INT32), "inconsistent data type"
    ),
    Broken("ensemble-shapes", "pair", _set("pair", "output[0].dims", [3, 4, 9]), "inconsistent shape"),
    Broken("ensemble-written-once", "pair", _step("first", {"TENSOR": "X"}, {"TENSOR": "Z"}), "only once"),
    Broken("ensemble-inputs-used", "pair", _tensor("input", "W"), "is not used"),
    Broken("ensemble-outputs-written", "pair", _tensor("output", "V"), "is not used"),
    Broken(
        "ensemble-connected",
        "pair",
        _all(_step("first", {"TENSOR": "Q"}, {"TENSOR": "R"}), _tensor("output", "R")),
        "is not written",
    ),
    Broken(
        "ensemble-cycle",
        "pair",
        _all(
            _step("first", {"TENSOR": "P"}, {"TENSOR": "Q"}),
            _step("second", {"TENSOR": "Q"}, {"TENSOR": "P"}),
        ),
        "is unused",
    ),
    Broken("ensemble-tensors-used", "pair", _step("first", {"TENSOR": "X"}, {"TENSOR": "R"}), "is unused"),
)


def prefix_of(case: Broken) -> str:
    """For the names of the case's models, where many cases share a repository."""
    return re.sub(r"\W", "_", case.rule) + "_"

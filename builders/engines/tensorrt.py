# SPDX-License-Identifier: Apache-2.0
"""ONNX to a TensorRT engine: one way for TensorRT 10 and 11 and for TensorRT-RTX.

Networks are strongly typed: precision is what the ONNX says (casts to fp16 or bf16, Q/DQ nodes). The one exception is a
DLA under TensorRT 10, see `_network`. trtexec is not needed. TensorRT-RTX builds without a GPU where the compute
capabilities are named.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal

from sightline.builders.engines import rtx
from sightline.builders.engines.gpu_query import find_gpus
from sightline.builders.engines.manifest import EngineTensor, Scalar, ShapeRange
from sightline.builders.engines.tensorrt_api import Api, LogKeeper, TensorRTKind, load_api, make_logger
from sightline.builders.engines.tensorrt_cache import TimingCache
from sightline.builders.engines.tensorrt_errors import build_error, parser_error
from sightline.builders.engines.tensorrt_progress import BuildTracker, Progress, make_monitor
from sightline.errors import BuildError

if TYPE_CHECKING:
    from sightline.card import ModelCard

Hardware = Literal["this", "same_capability", "ampere_plus"]
_HARDWARE_MEMBERS: dict[Hardware, str] = {
    "this": "NONE",
    "same_capability": "SAME_COMPUTE_CAPABILITY",
    "ampere_plus": "AMPERE_PLUS",
}


@dataclass(frozen=True)
class TensorRTOptions:
    """How an engine is built.

    batch: smallest, tuned and largest batch, for an input whose first dimension is open. size: width and height in
    pixels, for an input (N, 3, H, W) whose sides are open. precision: told in the manifest; the ONNX decides.
    capabilities: TensorRT-RTX only, the SMs to build for, such as (86, 89); left out: this machine's GPU.
    effort: the builder's optimization level 0..5; None is its own choice.
    """

    kind: TensorRTKind = "tensorrt"
    precision: str = "fp32"
    batch: tuple[int, int, int] = (1, 1, 1)
    size: tuple[int, int] | None = None
    workspace_mib: int = 2048
    version_compatible: bool = False
    hardware: Hardware = "this"
    dla: int | None = None
    capabilities: tuple[int, ...] = ()
    effort: int | None = None

    def __post_init__(self) -> None:
        smallest, tuned, largest = self.batch
        if not 1 <= smallest <= tuned <= largest:
            raise BuildError(f"batch is {list(self.batch)}; it must be smallest <= tuned <= largest, from 1")
        if self.dla is not None and largest != 1:
            raise BuildError(
                f"engine.dla is set and engine.batch goes up to {largest}; a DLA runs fixed shapes: set batch to [1]"
            )

    @property
    def scalars(self) -> dict[str, Scalar]:
        """What belongs into an engine's key beside precision and shapes."""
        return {
            "workspace_mib": self.workspace_mib,
            "version_compatible": self.version_compatible,
            "hardware": self.hardware,
            "dla": self.dla,
            "effort": self.effort,
        }


def options_from_card(card: ModelCard, *, kind: TensorRTKind = "tensorrt") -> TensorRTOptions:
    """What the card says of the engine. The tuned batch is the middle one of engine.batch, or the last of two."""
    engine = card.engine
    return TensorRTOptions(
        kind=kind,
        precision=engine.precision,
        batch=(1, engine.batch[len(engine.batch) // 2], engine.batch[-1]),
        size=card.input.size,
        workspace_mib=engine.workspace_mib,
        version_compatible=engine.version_compatible,
        hardware=engine.hardware,
        dla=engine.dla,
    )


@dataclass(frozen=True)
class BuiltEngine:
    """A built engine. plan: the serialized engine. shapes: the profile of each input, batch included.

    sm: compute capabilities for which it was built; device and cuda: of the GPU it was built on, empty without one.
    """

    plan: bytes = field(repr=False)
    kind: TensorRTKind
    version: str
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    shapes: dict[str, ShapeRange]
    sm: tuple[int, ...]
    device: str
    cuda: str
    seconds: float


def tensorrt_engine(
    onnx: bytes,
    options: TensorRTOptions,
    *,
    progress: Progress | None = None,
    timing_cache: TimingCache | None = None,
) -> BuiltEngine:
    """Build an engine out of a self-contained ONNX.

    progress: called with a fraction 0..1 and the builder's phase, from a thread of the builder. timing_cache: measured
    tactics are read from it, and written to it on the way (TensorRT only). Ctrl-C ends the build at its next step.
    Raises BuildError and ModelFileError, which name the node; MissingDependencyError; OutputError of the timing cache.
    """
    api = load_api(options.kind)
    targets = engine_targets(api, options)
    keeper = LogKeeper()
    started = time.monotonic()
    build = _Build(api, keeper, make_logger(api, keeper), options, targets)
    network = build.parse(onnx)
    config = build.configure(network)
    cache = timing_cache if options.kind == "tensorrt" else None
    attached = cache.attach(config) if cache is not None else None
    tracker = BuildTracker(progress, (lambda: cache.keep(attached)) if cache is not None else None)
    plan = _serialized(api, build.builder, network, config, tracker, keeper)
    if cache is not None:
        cache.save(attached)
    gpus = find_gpus().gpus
    return BuiltEngine(
        plan=plan,
        kind=options.kind,
        version=api.version,
        inputs=_tensors(network.get_input, network.num_inputs),
        outputs=_tensors(network.get_output, network.num_outputs),
        shapes=build.shapes,
        sm=targets,
        device=gpus[0].name if gpus else "",
        cuda=gpus[0].driver_cuda if gpus else "",
        seconds=time.monotonic() - started,
    )


def engine_targets(api: Api, options: TensorRTOptions) -> tuple[int, ...]:
    """The SMs for which is built. Raises BuildError where there is neither a GPU nor a name of one."""
    report = find_gpus()
    if options.kind == "rtx":
        return rtx.targets(api, options.capabilities, report)
    if options.capabilities:
        raise BuildError("capabilities are for TensorRT-RTX; TensorRT builds for the GPU that it runs on")
    if not report.gpus:
        raise BuildError(
            f"{api.title} builds only where a GPU is: {report.why_none}. Put the entry on the target machine: its "
            "engine is built there on first start"
        )
    return (report.gpus[0].sm,)


def _tensors(get: Callable[[int], Any], count: int) -> tuple[EngineTensor, ...]:
    tensors = [get(index) for index in range(count)]
    return tuple(
        EngineTensor(tensor.name, _type_name(tensor.dtype), tuple(tensor.shape)) for tensor in tensors
    )


def _type_name(data_type: Any) -> str:
    names = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
    return names.get(data_type.name, str(data_type.name).lower())


class _Build:
    """The objects of one build, in the order in which TensorRT wants them. shapes: known after `configure`."""

    def __init__(
        self, api: Api, keeper: LogKeeper, logger: Any, options: TensorRTOptions, targets: tuple[int, ...]
    ) -> None:
        self.api, self.keeper, self.options, self.targets = api, keeper, options, targets
        self.logger = logger  # TensorRT keeps a bare pointer to it
        try:
            self.builder = api.module.Builder(logger)
        except TypeError as error:  # how the binding says that the factory gave nothing
            raise build_error(api, keeper) from error
        self.shapes: dict[str, ShapeRange] = {}
        if options.dla is not None:
            _check_dla(api, options, self.builder.num_DLA_cores)

    @property
    def _weakly_typed(self) -> bool:
        return self.options.dla is not None and self.api.major == 10

    def parse(self, onnx: bytes) -> Any:
        """The network. Raises BuildError with the parser's complaints."""
        network = _network(self.api, self.builder, strongly_typed=not self._weakly_typed)
        parser = self.api.module.OnnxParser(network, self.logger)
        if self.options.version_compatible:
            native = self.api.member("OnnxParserFlag", "NATIVE_INSTANCENORM")
            if native is not None:  # else instance normalisation becomes a plugin outside the plan
                parser.set_flag(native)
        adjust = self.api.member("OnnxParserFlag", "ADJUST_FOR_DLA")
        if self.options.dla is not None and adjust is not None:
            parser.set_flag(adjust)
        if not parser.parse(onnx):
            raise parser_error(self.api, parser)
        self._parser = parser  # owns the weights that the network refers to
        return network

    def configure(self, network: Any) -> Any:
        """The builder's configuration, with the profile of all inputs."""
        options, api = self.options, self.api
        config = self.builder.create_builder_config()
        workspace = api.needed("MemoryPoolType", "WORKSPACE", "engine.workspace_mib")
        config.set_memory_pool_limit(workspace, options.workspace_mib << 20)
        if options.effort is not None:
            config.builder_optimization_level = options.effort
        if options.kind == "rtx":
            rtx.check_options(api, version_compatible=options.version_compatible, hardware=options.hardware)
            rtx.set_targets(api, config, options.capabilities)
        else:
            _set_portability(api, config, options)
        if options.dla is not None:
            _set_dla(api, config, options.dla, weakly_typed=self._weakly_typed)
        self._add_profile(network, config)
        return config

    def _add_profile(self, network: Any, config: Any) -> None:
        profile = self.builder.create_optimization_profile()
        is_open = False
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            dims = tuple(tensor.shape)
            shape = _range(tensor.name, dims, self.options)
            self.shapes[tensor.name] = shape
            if -1 in dims:
                is_open = True
                profile.set_shape(tensor.name, shape.minimum, shape.optimum, shape.maximum)
        if is_open and config.add_optimization_profile(profile) < 0:
            raise build_error(self.api, self.keeper)


def _network(api: Api, builder: Any, *, strongly_typed: bool) -> Any:
    """An empty network. From TensorRT 11 on all networks are strongly typed and the flag is on its way out.

    TensorRT 10 runs DLAs with weak typing and the FP16 flag, as its own trtexec does.
    """
    flag = api.member("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")
    wanted = strongly_typed and flag is not None and (api.major == 10 or api.kind == "rtx")
    return builder.create_network(1 << int(flag) if wanted else 0)


def _range(name: str, dims: tuple[int, ...], options: TensorRTOptions) -> ShapeRange:
    """The profile of one input. Raises BuildError where an open dimension has no size."""
    shapes = []
    for batch in options.batch:
        shape = list(dims)
        if shape and shape[0] == -1:
            shape[0] = batch
        if len(shape) == 4 and options.size is not None:
            width, height = options.size
            shape[2:] = [
                side if side != -1 else known for side, known in zip(shape[2:], (height, width), strict=True)
            ]
        if -1 in shape:
            raise BuildError(
                f"input {name!r} has shape {dims}: dimension {shape.index(-1)} is open and has no size. Export the "
                "model with a fixed height and width"
            )
        shapes.append(tuple(shape))
    return ShapeRange(*shapes)


def _set_portability(api: Api, config: Any, options: TensorRTOptions) -> None:
    if options.version_compatible:
        config.set_flag(api.needed("BuilderFlag", "VERSION_COMPATIBLE", "engine.version_compatible"))
    if options.hardware != "this":
        level = api.needed(
            "HardwareCompatibilityLevel",
            _HARDWARE_MEMBERS[options.hardware],
            f"engine.hardware: {options.hardware}",
        )
        config.hardware_compatibility_level = level


def _check_dla(api: Api, options: TensorRTOptions, cores: int) -> None:
    if cores == 0:
        raise BuildError(
            f"engine.dla is {options.dla}; {api.title} shows no DLA here. Orin has them, with TensorRT 10.3 to 10.7 or "
            "from 11.4.1 on; leave engine.dla out elsewhere"
        )
    if options.dla is not None and options.dla >= cores:
        raise BuildError(f"engine.dla is {options.dla}; this machine has the DLA cores 0 to {cores - 1}")
    if options.precision == "int8" and api.major == 10:
        raise BuildError(
            f"a DLA under {api.title} does not run quantized ONNX; set engine.precision to fp16, or use TensorRT 11.4.1 "
            "or later"
        )


def _set_dla(api: Api, config: Any, core: int, *, weakly_typed: bool) -> None:
    config.default_device_type = api.needed("DeviceType", "DLA", "engine.dla")
    config.DLA_core = core
    config.set_flag(api.needed("BuilderFlag", "GPU_FALLBACK", "engine.dla"))
    if weakly_typed:
        config.set_flag(api.needed("BuilderFlag", "FP16", "engine.dla"))


def _serialized(
    api: Api, builder: Any, network: Any, config: Any, tracker: BuildTracker, keeper: LogKeeper
) -> bytes:
    """The plan. In a thread of its own, so that Ctrl-C reaches this one while the builder is in native code."""
    monitor = make_monitor(api, tracker)
    if monitor is not None:
        config.progress_monitor = monitor
    plan = _interruptible(lambda: builder.build_serialized_network(network, config), tracker)
    if tracker.failure is not None:
        raise tracker.failure
    if plan is None:
        raise build_error(api, keeper)
    tracker.finish()
    return bytes(memoryview(plan))


def _interruptible(work: Callable[[], Any], tracker: BuildTracker) -> Any:
    """Result of `work`, run in a thread; what interrupts the wait cancels the build and is raised once it has ended."""
    result: list[Any] = []
    failure: list[BaseException] = []
    done = Event()

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)
        finally:
            done.set()

    Thread(target=run, name="tensorrt-build", daemon=True).start()
    try:
        while not done.wait(0.5):
            pass
    except BaseException:
        tracker.cancel()
        done.wait()
        raise
    if failure:
        raise failure[0]
    return result[0]

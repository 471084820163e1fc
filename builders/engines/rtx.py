# SPDX-License-Identifier: Apache-2.0
"""What is TensorRT-RTX's own: it builds for named compute capabilities, with or without a GPU at hand.

The engine is compiled for the GPU when it is loaded; it runs on GeForce and RTX boards, not on Jetson, and Triton has
no backend for it.
"""

from __future__ import annotations

from typing import Any

from sightline.builders.engines.gpu_query import GpuReport
from sightline.builders.engines.tensorrt_api import Api
from sightline.errors import BuildError


def known_capabilities(api: Api) -> tuple[int, ...]:
    """The SMs for which this version builds, ascending."""
    members = api.module.ComputeCapability.__members__
    return tuple(sorted(int(name[2:]) for name in members if name[:2] == "SM" and name[2:].isdigit()))


def targets(api: Api, capabilities: tuple[int, ...], report: GpuReport) -> tuple[int, ...]:
    """The SMs to build for: those named, else this machine's GPU. Raises BuildError where there is none or unknown."""
    known = known_capabilities(api)
    listed = ", ".join(map(str, known))
    for sm in capabilities:
        if sm not in known:
            raise BuildError(f"{api.title} does not build for SM {sm}; it builds for SM {listed}")
    if capabilities:
        return tuple(sorted(set(capabilities)))
    if not report.gpus:
        raise BuildError(
            f"{report.why_none}; name the compute capabilities to build for, of SM {listed}, such as 86 and 89"
        )
    if report.gpus[0].sm not in known:
        raise BuildError(
            f"{report.gpus[0].name} has SM {report.gpus[0].sm}; {api.title} builds for SM {listed}"
        )
    return (report.gpus[0].sm,)


def check_options(api: Api, *, version_compatible: bool, hardware: str) -> None:
    """Refuse what TensorRT-RTX has not. Raises BuildError."""
    if version_compatible:
        raise BuildError(
            f"{api.title} has no version-compatible engines; leave engine.version_compatible out"
        )
    if hardware != "this":
        raise BuildError(
            f"engine.hardware is {hardware}; {api.title} builds for a list of compute capabilities instead"
        )


def set_targets(api: Api, config: Any, capabilities: tuple[int, ...]) -> None:
    """Tell the builder for which SMs; none named is the current GPU."""
    wanted = sorted(set(capabilities))
    names = [f"SM{sm}" for sm in wanted] or ["CURRENT"]
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        if not config.set_compute_capability(
            api.needed("ComputeCapability", name, f"compute capability {name}"), index
        ):
            raise BuildError(f"{api.title} refuses to build for {', '.join(names)} in one engine")

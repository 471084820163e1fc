# SPDX-License-Identifier: Apache-2.0
"""This machine as `manifest.fits` wants to know it."""

from __future__ import annotations

import platform
from importlib import metadata

from sightline.builders.engines.gpu_query import find_gpus, is_jetson
from sightline.builders.engines.manifest import EngineKind, Machine
from sightline.errors import MissingDependencyError

_PACKAGES: dict[EngineKind, str] = {"openvino": "openvino", "onnxruntime": "onnxruntime"}


def this_machine() -> Machine:
    """System, GPU and the runtimes that are installed here, found anew at each call."""
    from sightline.builders.engines.tensorrt_api import load_api

    versions: dict[EngineKind, str] = {}
    for kind, package in _PACKAGES.items():
        try:
            versions[kind] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    for gpu_kind in ("tensorrt", "rtx"):
        try:
            versions[gpu_kind] = load_api(gpu_kind).version
        except MissingDependencyError:
            continue
    gpus = find_gpus().gpus
    first = gpus[0] if gpus else None
    return Machine(
        system=platform.system().lower(),
        architecture=platform.machine(),
        versions=versions,
        sm=first.sm if first else None,
        device=first.name if first else "",
        cuda=first.driver_cuda if first else "",
        is_jetson=is_jetson(),
    )

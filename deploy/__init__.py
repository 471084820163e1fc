# SPDX-License-Identifier: Apache-2.0
"""How a target is started. Target `local`: the real tritonserver of the nvidia-pytriton wheel on loopback.

with LocalServer("triton_models") as server:
    ...  # ready: a canary inference went through every model; server.grpc_address
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.deploy.local.server import LocalServer

__all__ = ["LocalServer"]


def __getattr__(name: str) -> Any:
    if name == "LocalServer":
        from sightline.deploy.local.server import LocalServer

        return LocalServer
    raise AttributeError(f"module 'sightline.deploy' has no attribute {name!r}")

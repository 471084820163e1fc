# SPDX-License-Identifier: Apache-2.0
"""Shared-memory regions that a perf_analyzer which did not end by itself leaves in /dev/shm and in the server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from sightline.runtime import TOKEN_KEY

_FOLDER = Path("/dev/shm")
_TENSOR_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_TIMEOUT_SECONDS = 5.0


def regions() -> set[str]:
    """Names of this user's regions that are named as perf_analyzer does, after tensors: FRAME_0_1, BOXES."""
    names = set()
    try:
        for entry in os.scandir(_FOLDER):
            if _TENSOR_NAME.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                names.add(entry.name)
    except OSError:
        return names
    return names


def remove_regions(names: Iterable[str], address: str, token: str) -> None:
    """Make the server at `address` let go of these regions, as far as it still answers, and delete them."""
    import tritonclient.grpc as triton

    left = sorted(names)
    if not left:
        return
    client = triton.InferenceServerClient(address)
    headers = {f"triton-grpc-protocol-{TOKEN_KEY}": token}
    try:
        for name in left:
            client.unregister_system_shared_memory(name, headers=headers, client_timeout=_TIMEOUT_SECONDS)
    except triton.InferenceServerException:
        pass  # a server that is gone holds nothing
    finally:
        client.close()
        for name in left:
            (_FOLDER / name).unlink(missing_ok=True)

# SPDX-License-Identifier: Apache-2.0
"""Checks of the machine: Python, processor, memory, disk, limits, ports, GPU."""

from __future__ import annotations

import ctypes.util
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sightline.deploy.doctor.check import Found, command_output, last_line
from sightline.deploy.local.ports import check_port
from sightline.errors import ServerError

GIB = 1 << 30
_MIN_MEMORY_BYTES = 2 * GIB
_MIN_DISK_BYTES = 2 * GIB
_MIN_SHARED_BYTES = 256 << 20
_MIN_OPEN_FILES = 1024
_NVIDIA_VENDOR = "0x10de"
# Name in the report -> flags of /proc/cpuinfo (x86 `flags`, ARM `Features`).
_FEATURES = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "amx": ("amx_tile",),
    "neon": ("asimd", "neon"),
    "dot product": ("asimddp",),
}


def python() -> Found:
    """The interpreter."""
    is_right = (3, 10) <= sys.version_info[:2] < (3, 13)
    return Found(
        is_right, f"{platform.python_version()} ({sys.executable})", "apt install python3.11 python3.11-venv"
    )


def processor() -> Found:
    """Model, cores that this process may use, features that engines make use of."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    names = [name for name, wanted in _FEATURES.items() if flags.intersection(wanted)]
    model = fields.get("model name") or fields.get("Model") or platform.machine()
    cores = len(os.sched_getaffinity(0))
    return Found(True, f"{model}, {cores} cores, {', '.join(names) or 'no vector features known'}")


def memory() -> Found:
    """Memory that this process may use: the machine's or its control group's, whichever is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return Found(total >= _MIN_MEMORY_BYTES, f"{total / GIB:.1f} GiB", "at least 2 GiB of memory are needed")


def disk() -> Found:
    """Free space of the folder in which one works."""
    free = shutil.disk_usage(Path.cwd()).free
    return Found(
        free >= _MIN_DISK_BYTES, f"{free / GIB:.1f} GiB free here", "free 2 GiB, or work on another disk"
    )


def shared_memory() -> Found:
    """/dev/shm, through which the stages of an ensemble and local clients exchange pictures."""
    try:
        usage = shutil.disk_usage("/dev/shm")
    except OSError as error:
        return Found(False, f"/dev/shm: {error.strerror}", "mount -t tmpfs tmpfs /dev/shm")
    detail = f"{usage.total / GIB:.2f} GiB, {usage.free / GIB:.2f} GiB free"
    return Found(
        usage.free >= _MIN_SHARED_BYTES,
        detail,
        "docker run --shm-size=1g, or mount -o remount,size=1G /dev/shm",
    )


def open_files() -> Found:
    """Limit of open files: each camera, client and model instance takes some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Found(soft >= _MIN_OPEN_FILES, f"{soft} (at most {hard})", f"ulimit -n {_MIN_OPEN_FILES * 4}")


def port(number: int, purpose: str, option: str) -> Callable[[], Found]:
    """A check that a default port is free."""

    def look() -> Found:
        try:
            check_port(number, option)
        except ServerError as error:
            return Found(False, f"{purpose}: {error}", f"{option} with another port")
        return Found(True, f"free ({purpose})")

    return look


def gpu() -> Found:
    """NVIDIA GPU: asked of nvidia-smi, else of the driver's files."""
    if shutil.which("nvidia-smi"):
        query = [
            "nvidia-smi",
            "--query-gpu=name,memory.total,driver_version,compute_cap",
            "--format=csv,noheader",
        ]
        status, text = command_output(query)
        if status == 0 and text.strip():
            return Found(True, "; ".join(line.strip() for line in text.strip().splitlines()))
        return Found(False, f"nvidia-smi: {last_line(text)}", "apt install --reinstall nvidia-driver")
    devices = [path.name for path in Path("/dev").glob("nvidia[0-9]*")]
    library = ctypes.util.find_library("cuda")
    if devices:
        return Found(True, f"{', '.join(sorted(devices))}, {library or 'but no libcuda'}")
    if _has_nvidia_card():
        return Found(False, "an NVIDIA card without its driver", "apt install nvidia-driver")
    return Found(False, "none, the CPU does all work")


def _has_nvidia_card() -> bool:
    for path in Path("/sys/bus/pci/devices").glob("*/vendor"):
        with suppress(OSError):
            if path.read_text(encoding="ascii").strip() == _NVIDIA_VENDOR:
                return True
    return False


def jetson() -> Found:
    """NVIDIA Jetson, told by its board support package."""
    release = Path("/etc/nv_tegra_release")
    if not release.is_file():
        return Found(False, "this is no Jetson")
    return Found(True, release.read_text(encoding="utf-8", errors="replace").splitlines()[0].lstrip("# "))

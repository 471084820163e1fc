# SPDX-License-Identifier: Apache-2.0
"""One tritonserver process: spawn it, wait for its end or for a wake-up, end it with its whole group."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sightline.deploy.local.sweep import TEMPORARY_LIST

_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_POLL_SECONDS = 0.05


class Wakeup:
    """A flag that a poll() can wait for. set() and close() may be called from any thread."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._guard = threading.RLock()  # a signal handler may interrupt set() and call it again
        self._is_open = True

    def set(self) -> None:
        """Wake whoever waits, now and later, until clear()."""
        with self._guard, suppress(BlockingIOError):
            if self._is_open:
                os.eventfd_write(self.descriptor, 1)

    def clear(self) -> None:
        """Forget the wake-ups so far."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)

    def close(self) -> None:
        """Give the descriptor back; set() does nothing from then on."""
        with self._guard:
            if self._is_open:
                self._is_open = False
                os.close(self.descriptor)


class ServerProcess:
    """A child in its own session. It gets SIGTERM when the thread that spawned it ends."""

    def __init__(
        self, arguments: Sequence[str], environment: dict[str, str], folder: Path, preload: Path
    ) -> None:
        self._child = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd=folder,
            env={
                **environment,
                "LD_PRELOAD": str(preload),
                "SIGHTLINE_PARENT_PID": str(os.getpid()),
                "SIGHTLINE_TEMPORARY_LIST": str(folder / TEMPORARY_LIST),
            },
            start_new_session=True,
            umask=0o077,  # with the preloaded fchmod: nobody else may read the pictures in /dev/shm
        )
        self.pid = self._child.pid
        self._exit_descriptor = _open_pidfd(self.pid)

    def output(self) -> int:
        """A descriptor of the output's pipe, the caller's to close."""
        if self._child.stdout is None:
            raise ValueError("the process was started without a pipe")
        descriptor = os.dup(self._child.stdout.fileno())
        self._child.stdout.close()
        return descriptor

    def wait(self, timeout_seconds: float, wakeup: Wakeup) -> bool:
        """Wait for the end, a wake-up or the timeout; True where the process has ended."""
        deadline = time.monotonic() + timeout_seconds
        poll = select.poll()
        poll.register(wakeup.descriptor, select.POLLIN)
        if self._exit_descriptor is not None:
            poll.register(self._exit_descriptor, select.POLLIN)
        while not self.has_ended():
            left = deadline - time.monotonic()
            step = left if self._exit_descriptor is not None else min(left, _POLL_SECONDS)
            if left <= 0:
                return False
            if wakeup.descriptor in [descriptor for descriptor, _ in poll.poll(max(step, 0) * 1000)]:
                return self.has_ended()
        return True

    def has_ended(self) -> bool:
        """True where it has ended; it is not reaped yet, so its group number is still its own."""
        if self._child.returncode is not None:
            return True
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None

    def terminate(self) -> None:
        """Ask the server alone to drain; its stubs serve the requests in flight until it ends them."""
        if not self.has_ended():
            self._child.send_signal(signal.SIGTERM)

    def kill_group(self) -> None:
        """SIGKILL to the server and all of its group."""
        if self._child.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> str:
        """Collect the exit status; returns it in words. Call it after kill_group()."""
        status = self._child.wait()
        if self._exit_descriptor is not None:
            os.close(self._exit_descriptor)
            self._exit_descriptor = None
        if status >= 0:
            return f"exit status {status}"
        with suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
        return f"killed by signal {-status}"


class _Subreaper:
    """Orphans of our children become our children, while at least one server needs it."""

    def __init__(self) -> None:
        self._users = 0
        self._before = 0
        self._guard = threading.Lock()

    def acquire(self) -> None:
        with self._guard:
            self._users += 1
            if self._users == 1:
                before = ctypes.c_int(0)
                _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before))
                self._before = before.value
                _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))

    def release(self) -> None:
        with self._guard:
            self._users -= 1
            if self._users == 0:
                _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(self._before))


subreaper = _Subreaper()


def _prctl(option: int, argument: object) -> None:
    unused = ctypes.c_ulong(0)
    ctypes.CDLL(None).prctl(ctypes.c_int(option), argument, unused, unused, unused)


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:  # kernel before 5.3, or a sandbox that forbids it
        return None

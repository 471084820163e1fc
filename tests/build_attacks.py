# SPDX-License-Identifier: Apache-2.0
"""`sightline build` run again and again from one process that has all imports behind it.

`python build_attacks.py` reads a JSON object a line from standard input: arguments, folder (the working folder), full_at
(the mark from which on the disk is full), missing (packages that cannot be imported). Each is a real run of the command in a
forked process. It answers with lines: "pid NUMBER", "mark TIME STEP", "mark TIME STEP: PART" (TIME: monotonic seconds),
and at the end "end STATUS OUTPUT" as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

_PIPE_BYTES = 1 << 16
_FULL_BYTES = 16


def main() -> None:
    """Serve until standard input is closed."""
    import onnxruntime  # noqa: F401
    import openvino  # noqa: F401

    import sightline.builders.build
    import sightline.builders.engines.openvino
    import sightline.builders.network
    import sightline.builders.proof
    import sightline.cli  # noqa: F401

    _quick_choice()
    for line in sys.stdin:
        order = json.loads(line)
        reading, output = os.pipe()  # no file: a limit on the size of files would meet it as well
        text = ""
        pid = os.fork()
        if pid == 0:
            _child(order, output)
        os.close(output)
        _, status = os.waitpid(pid, 0)
        os.set_blocking(reading, False)
        with contextlib.suppress(BlockingIOError):
            text = os.read(reading, _PIPE_BYTES).decode(errors="replace")
        os.close(reading)
        _tell("end " + json.dumps([os.waitstatus_to_exitcode(status), text]))


def _tell(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def _quick_choice() -> None:
    """Measuring is tested elsewhere; here it takes a moment."""
    from sightline.builders.preprocess import choice

    whole = choice.measure_preprocessing
    choice.measure_preprocessing = lambda card: whole(card, seconds=0.05)  # type: ignore[assignment]
    choice.dali_version = lambda: None


def _child(order: dict[str, Any], output: int) -> None:
    marks = os.dup(1)
    os.setsid()
    _tell(f"pid {os.getpid()}")  # now that it is a group, and before any mark
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(order["folder"])
    os.environ["XDG_CACHE_HOME"] = order["folder"]
    for name in order.get("missing", ()):
        for loaded in [key for key in sys.modules if key.partition(".")[0] == name]:
            del sys.modules[loaded]
        sys.modules[name] = None  # type: ignore[assignment]
    _mark_steps(marks, order.get("full_at", ""))
    sys.argv = ["sightline", "build", *order["arguments"]]
    status = 70
    try:
        from sightline.cli import main as command

        command()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        import atexit

        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _mark_steps(marks: int, full_at: str) -> None:
    """Tell which step a build is in. full_at: from this mark on no file gets more than a few bytes, as on a full disk."""
    from sightline.builders.build_show import BuildProgress

    step, part, current = BuildProgress.step, BuildProgress.part, [""]

    def tell(text: str) -> None:
        os.write(marks, f"mark {time.monotonic():.4f} {text}\n".encode())
        if full_at and text.startswith(full_at):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (_FULL_BYTES, _FULL_BYTES))

    def marked_step(self: BuildProgress, name: Any) -> None:
        current[0] = name
        tell(name)
        step(self, name)

    def marked_part(self: BuildProgress, what: str, done: int, total: int) -> None:
        tell(f"{current[0]}: {what} {done}")
        part(self, what, done, total)

    BuildProgress.step = marked_step  # type: ignore[method-assign]
    BuildProgress.part = marked_part  # type: ignore[method-assign]


def script() -> Path:
    """This file."""
    return Path(__file__)


if __name__ == "__main__":
    main()

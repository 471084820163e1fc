# SPDX-License-Identifier: Apache-2.0
"""Builds the engines that a repository lacks on the machine where it is to be served. Run before Triton:

    python -m sightline.builders.engines.first_start --repository R [--store S] [--model NAME ...]

Each version folder with an engine.json and without a fitting model.plan gets its engine. It may be ended at any moment,
by kill or power cut: finished engines are in the store and are never built again, measured tactics are in the timing
cache, and model.plan appears by one rename. Two at once wait for each other.

Exit codes: 0 all engines are there; 1 an engine could not be built or written; 2 the repository or a request cannot be
read; 3 TensorRT is not installed; 130 ended by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sightline.builders.engines.first_start_request import (
    MANIFEST_FILE,
    EngineRequest,
    checked_manifest,
    find_requests,
    placed_fit,
)
from sightline.builders.engines.first_start_show import Show
from sightline.builders.engines.manifest import KIND_NAMES, Machine
from sightline.builders.engines.manifest_machine import this_machine
from sightline.builders.engines.store import EngineStore, StoredEngine, default_store
from sightline.builders.engines.store_files import (
    locked_folder,
    output_errors,
    place_file,
    replace_file,
    sweep_partials,
)
from sightline.builders.engines.tensorrt_store import stored_engine
from sightline.builders.repository import public_number
from sightline.errors import MissingDependencyError, OutputError, SightlineError
from sightline.naming import STAGE_NAME

OK, FAILED, UNREADABLE, NO_TENSORRT, INTERRUPTED = 0, 1, 2, 3, 130


def first_start(
    repository: Path, store: EngineStore, show: Show, *, models: Sequence[str] = ()
) -> dict[str, str]:
    """Build and place all engines that are missing. Returns what was done, by request: kept, placed, built or failed: why.

    models: only these; where empty all, but for versions that another one has replaced. Raises BuildError where a
    request cannot be read, MissingDependencyError.
    """
    machine = this_machine()
    done: dict[str, str] = {}
    requests = [one for one in find_requests(repository) if _is_wanted(repository, one, models)]
    missing = {one.options.kind for one in requests} - set(machine.versions)
    if missing:
        raise MissingDependencyError(
            f"{' and '.join(KIND_NAMES[kind] for kind in sorted(missing))} is needed to build the engines of "
            f"{repository} and is not installed here"
        )
    for request in requests:
        try:
            done[request.name] = _provide(request, store, machine, show)
        except MissingDependencyError:
            raise
        except SightlineError as error:
            done[request.name] = f"failed: {error}"
            show.line(f"{request.name}: {error}")
    return done


def _is_wanted(repository: Path, request: EngineRequest, models: Sequence[str]) -> bool:
    """The named models; where none is named all but the stages of versions that are not public."""
    model = request.folder.parent.name
    stage = STAGE_NAME.fullmatch(model)
    if models or stage is None:
        return not models or model in models
    return public_number(repository, stage["name"]) in (None, int(stage["number"]))


def _provide(request: EngineRequest, store: EngineStore, machine: Machine, show: Show) -> str:
    """See that the engine is in its place: as it is, out of the store, or built."""
    with locked_folder(request.folder):
        sweep_partials(request.folder)
        fit = placed_fit(request, machine)
        show.line(f"{request.name}: {fit.why}")
        if fit.ok:
            return "kept"
        _remove_damaged(request)
    onnx = request.read_onnx()
    with show.bar(request.name) as bar:
        engine = stored_engine(
            onnx,
            request.options,
            store,
            progress=bar,
            on_wait=lambda pid: show.line(
                f"{request.name}: waiting for {f'process {pid}' if pid else 'another process'}, which builds it"
            ),
        )
    with locked_folder(request.folder):
        _place(request, engine)
    manifest = engine.manifest
    megabytes = sum(facts.bytes for facts in manifest.files.values()) / 1e6
    how = f"built in {manifest.seconds:.1f} s" if engine.built else "taken from the store"
    show.line(f"{request.name}: {manifest.key.text}, {megabytes:.1f} MB, {how}")
    return "built" if engine.built else "placed"


def _remove_damaged(request: EngineRequest) -> None:
    """An engine that is not the file its manifest names must not wait there for Triton while another is built."""
    if request.plan.exists() and checked_manifest(request.folder) is None:
        with output_errors(str(request.plan)):
            request.plan.unlink(missing_ok=True)
            (request.folder / MANIFEST_FILE).unlink(missing_ok=True)


def _place(request: EngineRequest, engine: StoredEngine) -> None:
    """The plan first: one without its manifest is placed again from the store, a manifest alone says nothing."""
    place_file(engine.path(), request.plan)
    replace_file(request.folder / MANIFEST_FILE, engine.manifest.to_json().encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sightline.builders.engines.first_start",
        description="Build the TensorRT engines that a model repository lacks on this machine.",
    )
    parser.add_argument("--repository", type=Path, required=True, help="folder of the model repository")
    parser.add_argument(
        "--store", type=Path, default=default_store(), help="folder where engines are kept (%(default)s)"
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="only this model, such as NAME_v1_network; may be repeated",
    )
    chosen = parser.parse_args(arguments)
    show = Show(sys.stderr)
    if not chosen.repository.is_dir():
        show.line(f"the repository {chosen.repository} is not a folder")
        return UNREADABLE
    started = time.monotonic()
    try:
        done = first_start(chosen.repository, EngineStore(chosen.store), show, models=chosen.model)
    except MissingDependencyError as error:
        show.line(str(error))
        return NO_TENSORRT
    except OutputError as error:
        show.line(str(error))
        return FAILED
    except SightlineError as error:
        show.line(str(error))
        return UNREADABLE
    except KeyboardInterrupt:
        show.line("interrupted; what is finished is kept, the rest is built at the next start")
        return INTERRUPTED
    failed = sum(text.startswith("failed") for text in done.values())
    show.line(f"{len(done) - failed} of {len(done)} engines are there ({time.monotonic() - started:.1f} s)")
    return FAILED if failed else OK


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())

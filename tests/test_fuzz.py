# SPDX-License-Identifier: Apache-2.0
"""Every fuzzer holds its invariant for SIGHTLINE_FUZZ_SECONDS (4) under AddressSanitizer and UBSan."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.native_build import BUILD_SECONDS, ROOT, fuzz_build

FUZZ = ROOT / "tests" / "fuzz"
SOURCES = sorted([*FUZZ.glob("fuzz_*.c"), *FUZZ.glob("fuzz_*.cpp")])
KEPT = ROOT / "build" / "fuzz"  # inputs that broke an invariant
SECONDS = float(os.environ.get("SIGHTLINE_FUZZ_SECONDS") or 4)
STALL_SECONDS = 20  # one input may take no longer
AT_ONCE = 2
LEAST_UNITS = 10

Outcome = tuple[int, str]


def executed_units(text: str) -> int:
    """How many inputs were tried; 0 where that is not said."""
    executed = re.search(r"number_of_executed_units: (\d+)", text)
    return int(executed[1]) if executed else 0


def _run(program: Path, found: Path) -> Outcome:
    """The committed inputs first, then new ones for the time given."""
    corpus = FUZZ / "corpus" / program.name
    known = [str(path) for path in sorted(corpus.glob("*"))]
    options = [
        f"-artifact_prefix={KEPT / program.name}-",
        f"-timeout={STALL_SECONDS}",
        "-print_final_stats=1",
        "-rss_limit_mb=0",  # what it calls its own is that of the process which started it, and that may be large
        "-malloc_limit_mb=2048",
    ]
    fresh = [f"-max_total_time={max(1, round(SECONDS))}", str(found), *([str(corpus)] if known else [])]
    longer = ["-max_total_time=60", f"-runs={10 * LEAST_UNITS}", *fresh[1:]]
    text = ""
    for arguments in (known, fresh, longer) if known else (fresh, longer):
        if arguments is longer and executed_units(text) > LEAST_UNITS:
            break  # else it hardly had a core in that time
        command = [str(program), *options, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS * 2 + 240)
        except subprocess.TimeoutExpired:
            return 1, f"{program.name} did not end by itself"
        text = (done.stdout[-2000:] + done.stderr[-6000:]).decode(errors="replace")
        if done.returncode != 0:
            return done.returncode, text
    return 0, text


@pytest.fixture(scope="session")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    """The chosen fuzzers on their way, two at a time."""
    folder = tmp_path_factory.mktemp("fuzz")
    chosen = [
        item.callspec.params["target"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_the_invariant_holds"
    ]
    programs = fuzz_build() / "tests" / "fuzz"
    KEPT.mkdir(parents=True, exist_ok=True)
    pool = ThreadPoolExecutor(AT_ONCE)
    futures = {}
    for target in chosen:
        found = folder / f"found-{target}"
        found.mkdir()
        futures[target] = pool.submit(_run, programs / target, found)
    yield futures
    pool.shutdown(cancel_futures=True)


@pytest.mark.timeout(BUILD_SECONDS + 2 * SECONDS)
@pytest.mark.parametrize("target", [source.stem for source in SOURCES])
def test_the_invariant_holds(target: str, runs: dict[str, Future[Outcome]]) -> None:
    status, text = runs[target].result()
    kept = sorted(map(str, KEPT.glob(f"{target}-*")))
    assert status == 0, f"{target} broke; inputs kept: {kept}\n{text}"
    assert executed_units(text) > LEAST_UNITS, text


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_first_line_states_the_invariant(source: Path) -> None:
    first, *rest = source.read_text().splitlines()
    assert re.match(r"/[*/] ", first), f"{source.name}: the first line must be a comment"
    assert "SPDX" not in first, f"{source.name}: the invariant comes before the licence"
    assert len(first.split()) >= 6, (
        f"{source.name}: the first line must state the invariant, it says: {first}"
    )
    assert any("SPDX-License-Identifier" in line for line in rest[:8]), f"{source.name}: no licence line"

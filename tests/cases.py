# SPDX-License-Identifier: Apache-2.0
"""Many small cases in one test: a test of its own for each costs more than the case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_SHOWN = 100  # characters of each value


@contextmanager
def about(*values: object) -> Iterator[None]:
    """Name the case in what fails within."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as error:
        raise AssertionError(
            f"case {', '.join(repr(value)[:_SHOWN] for value in values)}: {error}"
        ) from error

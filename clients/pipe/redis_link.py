# SPDX-License-Identifier: Apache-2.0
"""A connection to Redis that waits for a server that is away."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sightline.clients.events.sink_redis import host_checked
from sightline.clients.pipe.ask import StoppedError, Told
from sightline.errors import BadInputError, MissingDependencyError, OutputError
from sightline.redact import redact

TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
PASSING = re.compile(  # at the beginning, or, before Redis 7, in what a script says
    r"(?:^|: -)(?:OOM|READONLY|LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY|MISCONF|NOREPLICAS)\b"
)
PASSING_ERRORS = (  # whose text has no code any more, as far as this version of the client has them
    "OutOfMemoryError",
    "ReadOnlyError",
    "ClusterDownError",
    "MasterDownError",
    "TryAgainError",
)

T = TypeVar("T")


class Link:
    """One connection, and patience: what fails because the server is away or busy is tried again until it works.

    meanwhile: is called between the attempts of insist().
    """

    def __init__(
        self, url: str, stop: threading.Event, tell: Told, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        try:
            import redis
        except ImportError as error:
            raise MissingDependencyError(
                "the package redis is not installed, which Redis needs; pip install 'sightline[events]'"
            ) from error
        self._errors = redis.exceptions
        found = [getattr(redis.exceptions, name, None) for name in PASSING_ERRORS]
        self._passing = tuple(kind for kind in found if kind is not None)
        self._meanwhile = meanwhile
        self._stop = stop
        self._tell = tell
        self._is_away = False
        self._where = redact(url)
        try:
            self.redis: Any = redis.Redis.from_url(
                url,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                **host_checked(url),
            )
        except ValueError as error:
            raise BadInputError(
                f"{self._where} is no address of a Redis server: {redact(str(error))}"
            ) from error

    @property
    def place(self) -> tuple[Any, ...]:
        """Tells one server and database from another."""
        options = self.redis.connection_pool.connection_kwargs
        return tuple(options.get(name) for name in ("path", "host", "port", "db"))

    def attempt(self, call: Callable[[], T]) -> T | None:
        """What the call gives; None while the server is away. Raises OutputError for what will not pass."""
        try:
            value = call()
        except (self._errors.AuthenticationError, self._errors.AuthorizationError) as error:
            raise OutputError(f"{self._where} refuses the login: {redact(str(error))}") from error
        except (self._errors.ConnectionError, self._errors.TimeoutError, OSError) as error:
            self._note(error)
            return None
        except self._errors.ResponseError as error:
            if not isinstance(error, self._passing) and not PASSING.search(_said(error)):
                raise OutputError(f"{self._where} refuses: {redact(_said(error))}") from error
            self._note(error)
            return None
        if self._is_away:
            self._is_away = False
            self._tell(f"{self._where} answers again")
        return value

    def insist(self, call: Callable[[], T]) -> T:
        """What the call gives, however long that takes. Raises StoppedError or OutputError."""
        pauses = 0
        while True:
            value = self.attempt(call)
            if value is not None:
                return value
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(pauses, 10))
            pauses += 1
            self._meanwhile()
            if self._stop.wait(longest * random.uniform(0.5, 1.0)):
                raise StoppedError

    def close(self) -> None:
        """End the connection."""
        self.redis.close()

    def _note(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            self._tell(f"{self._where} does not answer; waiting for it: {redact(_said(error))}")


def _said(error: Exception) -> str:
    """What the server said, without the command that a pipeline puts before it."""
    return str(error).rpartition("caused error: ")[2]

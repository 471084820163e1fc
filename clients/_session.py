# SPDX-License-Identifier: Apache-2.0
"""What one client knows of its server: address, token, models, and whether it may share memory with it."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass, field

from sightline.clients._errors_border import Call
from sightline.clients._ring import Ring
from sightline.clients._wire import Description
from sightline.errors import BadInputError, ServerError
from sightline.runtime import ServerState, read_state

INPROC = "inproc"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORTS = {"grpc": 8001, "http": 8000}
LOOK_FOR_SERVER_SECONDS = 1.0
REST_AFTER_REFUSAL_SECONDS = 30.0

log = logging.getLogger("sightline.clients")


@dataclass(frozen=True)
class Deadline:
    """One time limit over all operations of a flow."""

    seconds: float
    end: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """A limit that starts to run now."""
        if not seconds > 0:
            raise BadInputError(f"timeout_seconds is {seconds}; it must be above 0")
        return cls(seconds, time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self.end - time.monotonic())


def split_address(address: str, protocol: str) -> tuple[str, int]:
    """Host and port of 'host', 'host:port' or '[ipv6]:port'; raises BadInputError."""
    if protocol not in DEFAULT_PORTS:
        raise BadInputError(f"protocol is {protocol!r}; it must be 'grpc' or 'http'")
    text = address.removeprefix(f"{protocol}://").rstrip("/")
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORTS[protocol])
    host = host.removeprefix("[").removesuffix("]")
    if not host or "/" in text or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadInputError(
            f"address is {address!r}; it must look like 'localhost:{DEFAULT_PORTS[protocol]}'"
        )
    return host, int(port)


def _state_of(port: int) -> ServerState | None:
    try:
        return read_state(port)
    except (OSError, ServerError):
        return None


@dataclass
class Session:
    """What one client knows of its server."""

    host: str
    port: int
    protocol: str
    shared_memory: str = "auto"
    given_token: str | None = field(default=None, repr=False)
    models: dict[str, tuple[Description, float]] = field(default_factory=dict)  # and when they were told
    ring: Ring = field(init=False)
    swept_at: float = -math.inf
    orphans: list[str] = field(default_factory=list)  # regions of killed clients that the server still knows
    unshared_results: set[str] = field(default_factory=set)  # models whose answers do not fit into a region
    _token: str = field(default="", repr=False)
    _next_look: float = 0.0
    _rest_until: float = 0.0
    _said: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.ring = Ring(port=self.port)

    @property
    def address(self) -> str:
        """'host:port', with brackets around an IPv6 host; 'inproc:PATH' of a server in this process."""
        if self.protocol == INPROC:
            return f"{INPROC}:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def call(self, model: str, deadline: Deadline) -> Call:
        """What error texts of a call name."""
        return Call(self.address, self.protocol, model, deadline.seconds)

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        return self.protocol != INPROC and self.host in LOOPBACK_HOSTS

    def token(self) -> str:
        """The token of the local server's state file, or the one given; '' where there is none."""
        if self.given_token is not None:
            return self.given_token
        with self._lock:
            now = time.monotonic()
            if not self._token and self.is_local and now >= self._next_look:
                self._next_look = now + LOOK_FOR_SERVER_SECONDS
                state = _state_of(self.port)
                self._token = state.token if state else ""
            return self._token

    def knows(self, port: int) -> bool | None:
        """Whether what a server at this port of this machine knows, ours does; None where no server is there."""
        from sightline.deploy.local.ports import listening_inodes

        if port == self.port:
            return True
        state = _state_of(port)
        if state is None:  # whoever listens may be a server of another runtime folder, whose clients know it
            return False if listening_inodes(port) else None
        return self.port in (state.grpc_port, state.http_port)

    def forget_server(self) -> None:
        """The server may be another one from now on: look for its token and models again."""
        with self._lock:
            self._token, self._next_look = "", 0.0
            self.models.clear()
            self.unshared_results.clear()

    def may_share_memory(self) -> bool:
        """Whether frames may go through shared memory now; says why where that was wanted and cannot be."""
        if self.shared_memory == "off":
            return False
        if not self.is_local:
            self.say_once("it is not on this machine", logging.INFO)
            return False
        if time.monotonic() < self._rest_until:
            return False
        if not self.token():
            self.say_once("no token of it was found; is it another user's?", logging.INFO)
            return False
        return True

    def rest_from_sharing(self, why: Exception) -> None:
        """Send frames over the socket for a while."""
        self._rest_until = time.monotonic() + REST_AFTER_REFUSAL_SECONDS
        text = f"it refuses ({why}); tried again every {REST_AFTER_REFUSAL_SECONDS:.0f} s"
        self.say_once(
            text, key=type(why).__name__
        )  # the server's words name the region, which has a new name each time

    def say_once(self, why: str, level: int = logging.WARNING, key: str = "") -> None:
        """Log the first time that frames go over the socket for this reason; key: what makes it the same one."""
        with self._lock:
            if (key or why) in self._said:
                return
            self._said.add(key or why)
        log.log(level, "frames go to %s without shared memory: %s", self.address, why)

# SPDX-License-Identifier: Apache-2.0
"""Who may see the page: password hashes, sessions, and a limit on guesses."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping

from sightline.errors import OutputError

SCHEME = "pbkdf2_sha256"
ITERATIONS = 600_000
LEAST_ITERATIONS, MOST_ITERATIONS = 100_000, 5_000_000
SALT_BYTES = 16
MIN_PASSWORD_CHARACTERS, MAX_PASSWORD_CHARACTERS = 8, 1024
COOKIE = "sightline_session"
SESSION_IDLE_SECONDS = 12 * 3600.0
SESSION_SECONDS = 7 * 24 * 3600.0
MAX_SESSIONS = 1000
FAILURES_AN_HOUR = 20
ADDRESS_FAILURES_AN_HOUR = 100
_HOUR = 3600.0
_MAX_TRACKED = 10_000


def hash_password(text: str, *, iterations: int = ITERATIONS) -> str:
    """A salted hash (PBKDF2-HMAC-SHA256, RFC 8018) that may stand in the cameras file.

    Raises OutputError for a password of fewer than 8 or more than 1024 characters.
    """
    if not MIN_PASSWORD_CHARACTERS <= len(text) <= MAX_PASSWORD_CHARACTERS:
        raise OutputError(
            f"the password has {len(text)} characters; "
            f"it must have {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS}"
        )
    salt = secrets.token_bytes(SALT_BYTES)
    derived = hashlib.pbkdf2_hmac("sha256", text.encode(), salt, iterations)
    return f"{SCHEME}${iterations}${_text(salt)}${_text(derived)}"


def password_fits(text: str, stored: str) -> bool:
    """True where the hash is of this password; takes as long for a wrong one."""
    iterations, salt, expected = _parts(stored)
    if len(text) > MAX_PASSWORD_CHARACTERS:
        return False
    derived = hashlib.pbkdf2_hmac("sha256", text.encode(), salt, iterations)
    return hmac.compare_digest(derived, expected)


def checked_users(users: Mapping[str, str] | None) -> dict[str, str]:
    """The users; raises OutputError where one of the hashes is none."""
    for name, stored in (users or {}).items():
        try:
            _parts(stored)
        except ValueError:
            raise OutputError(
                f"the password hash of the page's user {name!r} is damaged or no hash; make one with `sightline page-password`"
            ) from None
    return dict(users or {})


def _parts(stored: str) -> tuple[int, bytes, bytes]:
    try:
        scheme, iterations, salt, derived = stored.split("$")
        count, salt_bytes, derived_bytes = int(iterations), _bytes(salt), _bytes(derived)
    except (ValueError, binascii.Error):
        raise ValueError("not a password hash") from None
    if (
        scheme != SCHEME
        or not LEAST_ITERATIONS <= count <= MOST_ITERATIONS
        or len(salt_bytes) < 8
        or len(derived_bytes) != 32
    ):
        raise ValueError("not a password hash")
    return count, salt_bytes, derived_bytes


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Throttle:
    """At most FAILURES_AN_HOUR failed logins an hour of one address as one user, and five times as many of one address.

    An IPv6 address counts with its whole /64. Memory is bounded: who failed longest ago is forgotten first.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, address: str, user: str) -> float:
        """How long until the next attempt is looked at; 0: now."""
        network = _network(address)
        with self._lock:
            return max(
                self._wait((network, user), FAILURES_AN_HOUR),
                self._wait((network, ""), ADDRESS_FAILURES_AN_HOUR),
            )

    def failed(self, address: str, user: str) -> None:
        """An attempt had the wrong password."""
        network = _network(address)
        with self._lock:
            for key in ((network, user), (network, "")):
                self._failures.setdefault(key, deque(maxlen=ADDRESS_FAILURES_AN_HOUR)).append(self._now())
                self._failures.move_to_end(key)
            while len(self._failures) > _MAX_TRACKED:
                self._failures.popitem(last=False)

    def _wait(self, key: tuple[str, str], allowed: int) -> float:
        times = self._failures.get(key)
        if times is None:
            return 0.0
        now = self._now()
        while times and times[0] <= now - _HOUR:
            times.popleft()
        return times[-allowed] + _HOUR - now if len(times) >= allowed else 0.0


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4 or parsed.ipv4_mapped:
        return str(parsed if parsed.version == 4 else parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class Logins:
    """Users and their open sessions. A session ends after 12 hours without a request, or after 7 days."""

    def __init__(self, users: Mapping[str, str], now: Callable[[], float] = time.monotonic) -> None:
        self._users = dict(users)
        self._now = now
        self._sessions: OrderedDict[bytes, tuple[str, float, float]] = OrderedDict()
        self._unknown = hash_password(secrets.token_urlsafe(16)) if users else ""
        self._lock = threading.Lock()
        self.throttle = Throttle(now)

    @property
    def required(self) -> bool:
        """True where there are users."""
        return bool(self._users)

    def login(self, user: str, password: str) -> str | None:
        """A new session's token, where the password fits. Takes a tenth of a second or more, for unknown users too."""
        stored = self._users.get(user)
        fits = password_fits(password, stored or self._unknown)
        if stored is None or not fits:
            return None
        token = secrets.token_urlsafe(32)
        now = self._now()
        with self._lock:
            self._sessions[_digest(token)] = (user, now, now)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return token

    def user_of(self, token: str | None) -> str | None:
        """Whose session it is; None where there is none (any more)."""
        if not token:
            return None
        key, now = _digest(token), self._now()
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            user, begun, seen = session
            if now - seen > SESSION_IDLE_SECONDS or now - begun > SESSION_SECONDS:
                del self._sessions[key]
                return None
            self._sessions[key] = (user, begun, now)
            self._sessions.move_to_end(key)
            return user

    def logout(self, token: str | None) -> None:
        """End a session."""
        if token:
            with self._lock:
                self._sessions.pop(_digest(token), None)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()

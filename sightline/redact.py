# SPDX-License-Identifier: Apache-2.0
"""Keeps credentials of camera addresses out of logs, metrics, pages and error texts."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

MIN_SECRET_CHARACTERS = 3
_FIELDS = (
    r"user(?:name)?|usr|pass(?:wor[dt]|phrase)?|passwd|pwd|auth(?:orization)?|(?:access|auth|refresh|id)?token"
    r"|(?:api|access)?key|(?:client)?secret|sig|signature|session(?:id)?|credentials?"
)
_FIELD_OF_URL = re.compile(rf"(?<![A-Za-z0-9])(?:{_FIELDS})=([^&#]*)", re.IGNORECASE)
_NEXT_ADDRESS = re.compile(r"[\r\n]|\s(?=['\"(<]{0,2}[A-Za-z][A-Za-z0-9+.-]*://)")
_WORD = re.compile(r"\S+")
_BARE_USER = re.compile(r"(?<![^:/@'\"(<])[^\s:/@'\"(<]*:(?!//)")
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![A-Za-z0-9])(?:{_FIELDS})=(?P<secret>[^&\s]*)",
        r"(?:authorization|sightline-token)\s*[:=]\s*(?P<secret>[^\r\n]*)",
    )
)

_lock = threading.Lock()
_secrets: frozenset[str] = frozenset()  # replaced, never changed: read without the lock


def hide(secret: str) -> None:
    """From now on redact() replaces this very text; one shorter than MIN_SECRET_CHARACTERS is ignored.

    Its percent-decoded form and the form in which repr() writes it are hidden with it. Thread safe.
    """
    global _secrets
    plain = {secret, unquote(secret), unquote_plus(secret)}
    forms = plain | {repr(form)[1:-1] for form in plain}
    with _lock:
        _secrets |= {form for form in forms if len(form) >= MIN_SECRET_CHARACTERS}


def hide_credentials(address: str) -> None:
    """hide() the user part, the password and the secret query fields of a camera's address.

    The scheme may be missing. Where '@' stands after the first '/', '?' or '#' too, both readings are hidden.
    """
    rest = address.partition("://")[2] or address
    for part in (rest, re.split(r"[/?#]", rest, maxsplit=1)[0]):
        user, at, _ = part.rpartition("@")
        if at:
            hide(user)
            hide(user.partition(":")[2])
    for value in _FIELD_OF_URL.findall(address):
        hide(value)


def redact(text: str) -> str:
    """The text with hidden secrets, the user part of URLs, secret fields and auth headers replaced by '***'.

    Everything between '://' and the last '@' of the line, up to a next URL, counts as credentials, so that
    passwords with '/', '@', ':', quotes or spaces in them do not leak; so does `user:password@` without a scheme.
    """
    # All are looked for in the text as it came, for one that is replaced may be where another begins or ends.
    spans = [match.span("secret") for pattern in _PATTERNS for match in pattern.finditer(text)]
    spans += _user_parts(text)
    for secret in _secrets:
        start = text.find(secret)
        while start >= 0:
            spans.append((start, start + len(secret)))
            start = text.find(secret, start + 1)
    kept: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start > end or not kept:
            kept += [text[end:start], "***"]
        end = max(end, stop)
    return "".join(kept) + text[end:]


def _user_parts(text: str) -> Iterator[tuple[int, int]]:
    """From '://' to the last '@' of the line or before a next address; in linear time, also of hostile text."""
    breaks = [match.start() for match in _NEXT_ADDRESS.finditer(text)]
    for start, stop in zip([0, *breaks], [*breaks, len(text)], strict=True):
        begin, end = text.find("://", start, stop), text.rfind("@", start, stop)
        if begin >= 0 and begin + 3 <= end:
            yield begin + 3, end
    if "@" not in text:
        return
    for word in _WORD.finditer(text):  # `user:password@host` without a scheme
        end = word[0].rfind("@")
        user = _BARE_USER.search(word[0], 0, end) if end > 0 else None
        if user:
            yield word.start() + user.start(), word.start() + end

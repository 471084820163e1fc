# SPDX-License-Identifier: Apache-2.0
"""Digest access authentication of an RTSP server (RFC 2617 with MD5, what RTSP 1.0 clients speak)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

REALM = "Sightline cameras"
_FIELD = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def new_nonce() -> str:
    """A number that is good for one connection."""
    return secrets.token_hex(16)


def challenge(nonce: str) -> str:
    """Value of the header WWW-Authenticate."""
    return f'Digest realm="{REALM}", nonce="{nonce}"'


class DigestGuard:
    """Checks the answers of clients for one user."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._secret = _md5(f"{user}:{REALM}:{password}")

    def admits(self, method: str, authorization: str, nonce: str) -> bool:
        """Whether the header Authorization answers this nonce with the right user and password."""
        scheme, _, rest = authorization.partition(" ")
        fields = {name: quoted or plain for name, quoted, plain in _FIELD.findall(rest)}
        if scheme.lower() != "digest" or fields.get("nonce") != nonce or fields.get("username") != self._user:
            return False
        request = _md5(f"{method}:{fields.get('uri', '')}")
        expected = _md5(f"{self._secret}:{nonce}:{request}")
        return hmac.compare_digest(expected.encode(), fields.get("response", "").encode())

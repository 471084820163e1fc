# SPDX-License-Identifier: Apache-2.0
"""Where images come from and results go: a folder, a Redis channel or a Redis stream, as a person writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sightline.errors import BadInputError
from sightline.redact import hide_credentials, redact

REDIS_SCHEMES = ("redis", "rediss", "unix")
_OURS = ("channel", "stream", "group", "consumer", "field", "length")


@dataclass(frozen=True)
class FolderAddress:
    """A folder of this machine; what is in its sub-folders is left alone."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class ChannelAddress:
    """A Redis channel. LOSSY by its nature: what is published while nobody listens is gone."""

    url: str = field(repr=False)
    channel: str

    def __str__(self) -> str:
        return f"channel {self.channel} of {redact(self.url)} (lossy)"


@dataclass(frozen=True)
class StreamAddress:
    """A Redis stream. group, consumer: who reads it. field: which holds the image. length: entries kept, about; 0: all."""

    url: str = field(repr=False)
    stream: str
    group: str = "sightline"
    consumer: str = ""
    field: str = "image"
    length: int = 0

    def __str__(self) -> str:
        return f"stream {self.stream} of {redact(self.url)}"


Address = FolderAddress | ChannelAddress | StreamAddress


def address_from(text: str) -> Address:
    """A folder, or `redis://[user:password@]host[:port]/db?channel=NAME` or `…?stream=NAME&group=NAME`.

    Raises BadInputError.
    """
    scheme, separator, _ = text.partition("://")
    if not separator:
        if not text:
            raise BadInputError("a folder's name is empty")
        return FolderAddress(Path(text))
    hide_credentials(text)
    if scheme not in REDIS_SCHEMES:
        raise BadInputError(
            f"{redact(text)} is not understood; a folder, redis://…?channel=NAME or redis://…?stream=NAME is needed "
            "(folder trees and object storage: sightline bulk)"
        )
    parts = urlsplit(text)
    query = parse_qsl(parts.query, keep_blank_values=True)
    ours = {name: value for name, value in query if name in _OURS}
    rest = urlencode([(name, value) for name, value in query if name not in _OURS])
    return _redis_address(text, urlunsplit(parts._replace(query=rest)), ours)


def _redis_address(text: str, url: str, ours: dict[str, str]) -> Address:
    channel, stream = ours.get("channel", ""), ours.get("stream", "")
    if bool(channel) == bool(stream):
        raise BadInputError(
            f"{redact(text)} must name either a channel (?channel=NAME) or a stream (?stream=NAME)"
        )
    if channel:
        unfit = sorted(set(ours) - {"channel"})
        if unfit:
            raise BadInputError(f"{redact(text)}: {', '.join(unfit)} is for streams, a channel has none")
        return ChannelAddress(url, channel)
    length = ours.get("length", "0")
    if not length.isdecimal():
        raise BadInputError(f"{redact(text)}: length is {length!r}; it must be a number of entries")
    return StreamAddress(
        url,
        stream,
        ours.get("group", "") or "sightline",
        ours.get("consumer", ""),
        ours.get("field", "") or "image",
        int(length),
    )

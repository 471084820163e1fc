# SPDX-License-Identifier: Apache-2.0
"""Cameras and how they are named on the command line and in a sources file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sightline.errors import StreamError
from sightline.redact import hide_credentials, redact

NETWORK_SCHEMES = ("rtsp", "rtsps", "http", "https")
DEVICE_SCHEME = "v4l2"
MAX_SOURCES = 256
FOLDER_RATE = 10.0
MAX_RATE = 240.0
_NAME = re.compile(r"[\w][\w .-]{0,63}\Z")
_NAMED = re.compile(r"^(?P<name>[\w][\w .-]{0,63})=(?P<url>.+)$", re.DOTALL)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DEVICE = re.compile(r"v4l2://(/dev/video\d{1,3})\Z")
_MAX_FILE_BYTES = 1 << 20
_CONNECTION_FIELDS = ("url", "loop", "transport", "hardware", "paced", "tls_verify", "ca_file")


@dataclass(frozen=True)
class Source:
    """One camera: a name that is shown, and a URL, video file or folder of images, which may hold a password and is not.

    model: None for the watch's own. rate: frames a second that are sent at most; None for all. deadline_seconds: an answer
    to an older frame is of no use. transport: tcp or udp. decode: auto, all or keyframes. hardware: auto or off.
    paced: a file at its own speed; else as fast as its frames are answered, each of them, without a deadline.
    tls_verify: rtsps and https cameras need a certificate that the system, or ca_file (PEM), trusts. Raises StreamError.
    """

    name: str
    url: str = field(repr=False)
    loop: bool = False
    model: str | None = None
    rate: float | None = None
    deadline_seconds: float = 4.0
    transport: str = "tcp"
    decode: str = "auto"
    hardware: str = "auto"
    paced: bool = True
    tls_verify: bool = True
    ca_file: str | None = None

    def __post_init__(self) -> None:
        if not self.is_live and _is_local(self.url):
            _check_name(self.name)
            self._check_choices()
            return
        hide_credentials(self.url)
        _check_name(self.name)
        self._check_choices()
        if _CONTROL.search(self.url):
            raise StreamError(
                f"the URL of source {self.name!r} has a line end or another control character in it; remove it"
            )
        if self._scheme == DEVICE_SCHEME and not _DEVICE.match(self.url):
            raise StreamError(
                f"source {self.name!r} is {_without_credentials(self.url)!r}; a USB camera is v4l2:///dev/videoN"
            )
        if not self.is_live:
            raise StreamError(
                f"source {self.name!r} is {_without_credentials(self.url)!r}; it must be a URL of "
                f"{', '.join(NETWORK_SCHEMES)}, a device as v4l2:///dev/video0, or a video file or folder of images "
                "that exists"
            )

    def _check_choices(self) -> None:
        choices = {
            "transport": ("tcp", "udp"),
            "decode": ("auto", "all", "keyframes"),
            "hardware": ("auto", "off"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise StreamError(
                    f"{name} of source {self.name!r} is {getattr(self, name)!r}; it must be {' or '.join(allowed)}"
                )
        if self.rate is not None and not 0 < self.rate <= MAX_RATE:
            raise StreamError(
                f"rate of source {self.name!r} is {self.rate}; it must be above 0, at most {MAX_RATE:g}"
            )
        if not 0 < self.deadline_seconds < float("inf"):
            raise StreamError(
                f"deadline_seconds of source {self.name!r} is {self.deadline_seconds}; it must be above 0"
            )

    @property
    def kind(self) -> str:
        """'rtsp', 'rtsps', 'http', 'https', 'v4l2', 'folder' or 'file'."""
        return self._scheme or ("folder" if _is_folder(self.url) else "file")

    @property
    def _scheme(self) -> str:
        scheme, separator, _ = self.url.partition("://")
        known = bool(separator) and scheme.lower() in (*NETWORK_SCHEMES, DEVICE_SCHEME)
        return scheme.lower() if known else ""

    @property
    def is_network(self) -> bool:
        """True for a URL of a camera, False for what is on this machine."""
        return self._scheme in NETWORK_SCHEMES

    @property
    def is_live(self) -> bool:
        """True for cameras, whose time does not stand still; False for a file or folder."""
        return bool(self._scheme)

    @property
    def is_lossless(self) -> bool:
        """Each frame is wanted: the reader waits, instead of newer frames taking the place of older ones."""
        return not self.paced and not self.is_live

    @property
    def device(self) -> str:
        """Path of a v4l2 device; empty for others."""
        match = _DEVICE.match(self.url)
        return match[1] if match else ""

    @property
    def host(self) -> str:
        """Host and port by which attempts are paced; empty for what is on this machine."""
        if not self.is_network:
            return ""
        after_user = self.url.rpartition("@")[2] if "@" in self.url else self.url.partition("://")[2]
        return after_user.partition("/")[0].lower()

    @property
    def shown(self) -> str:
        """The URL without credentials and query, or the file's name."""
        return _without_credentials(self.url) if self.is_live else Path(self.url).name

    def connects_differently(self, other: Source) -> bool:
        """Whether a camera that is read as the other has to be connected anew to be read as this."""
        return any(getattr(self, name) != getattr(other, name) for name in _CONNECTION_FIELDS)


def expand(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text with each ${NAME} replaced from the environment, to keep passwords out of argv and files."""
    values = os.environ if environment is None else environment

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise StreamError(
                f"a source refers to ${{{match[1]}}}, but the environment has no such variable; export it"
            )
        return values[match[1]]

    return _VARIABLE.sub(value, text)


def parse_sources(texts: Iterable[str], *, loop: bool = False) -> list[Source]:
    """Sources from NAME=URL or plain URL or file texts; unnamed ones are named after the URL's last part."""
    parsed: list[tuple[str | None, str]] = []
    for text in texts:
        named = _NAMED.match(text)
        if named and not _is_local(text):
            parsed.append((named["name"], expand(named["url"])))
        else:
            parsed.append((None, expand(text)))
    taken = {name for name, _ in parsed if name}
    sources = []
    for position, (name, url) in enumerate(parsed, start=1):
        if name is None:
            name = _unused(_name_of(url, position), taken)
            taken.add(name)
        sources.append(Source(name, url, loop))
    return checked(sources)


def sources_from_file(path: Path, *, loop: bool = False) -> list[Source]:
    """Sources from a YAML file of `name: url` lines; ${NAME} in a URL is taken from the environment."""
    import yaml

    from sightline.card import PlainLoader

    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise StreamError(
                f"{path} is larger than {_MAX_FILE_BYTES} bytes; a sources file holds lines of 'name: url'"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StreamError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StreamError(f"{path} is not UTF-8 text; write lines of 'name: url'") from None
    try:
        document = yaml.load(text, Loader=PlainLoader)  # without aliases, of which YAML bombs are made
    except RecursionError:
        raise StreamError(f"{path} is nested too deeply; write lines of 'name: url'") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise StreamError(f"{path} is not valid YAML{where}; write lines of 'name: url'") from None
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise StreamError(f"{path} must hold lines of 'name: url' and nothing else")
    return checked([Source(str(name), expand(url), loop) for name, url in document.items()])


def checked(sources: list[Source], *, may_be_empty: bool = False) -> list[Source]:
    """The sources; an error where there are none, too many, or two of one name."""
    if not sources and not may_be_empty:
        raise StreamError(
            "no camera is named; give at least one, as in sightline watch front=rtsp://host/stream"
        )
    if len(sources) > MAX_SOURCES:
        raise StreamError(f"{len(sources)} cameras are named; one watch takes at most {MAX_SOURCES}")
    names = [s.name for s in sources]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise StreamError(f"the name {twice[0]!r} is given to more than one camera; each needs its own")
    return sources


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        hide_credentials(name)
        raise StreamError(
            f"camera name {_without_credentials(name)!r}: use 1 to 64 letters, digits, spaces, '.', '_' or '-', "
            "as in front=rtsp://…"
        )


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long, or with characters that no path has
        return False


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):
        return False


def _is_local(text: str) -> bool:
    return _is_file(text) or _is_folder(text)


def _without_credentials(text: str) -> str:
    """The address without user part, query and fragment, whatever it looks like."""
    scheme, separator, rest = text.partition("://")
    if not separator or not _SCHEME.match(scheme):
        scheme, separator, rest = "", "", text
    head, tail = re.split(r"[?#]", rest, maxsplit=1)[0], re.search(r"[?#].*@", rest, re.DOTALL)
    if (
        tail
    ):  # this '@' may end a password with '?' in it, or belong to the query: what is before it is unsure
        return f"{scheme}{separator}***"
    _, at, place = head.rpartition("@")
    return f"{scheme}{separator}{'***@' if at else ''}{redact(place)}"


def _name_of(url: str, position: int) -> str:
    """The last part of the path, without what may hold credentials."""
    path = url if _is_local(url) else _without_credentials(url)
    last = path.rstrip("/").rpartition("/")[2] if "://" in path and path.count("/") > 2 else Path(path).stem
    name = re.sub(r"[^\w.-]+", "-", last).strip("-.")[:60]
    return name if _NAME.match(name) else f"camera-{position}"


def _unused(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}-{n}" for n in range(2, MAX_SOURCES + 3) if f"{name}-{n}" not in taken)

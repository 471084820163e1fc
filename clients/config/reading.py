# SPDX-License-Identifier: Apache-2.0
"""Reads a cameras file: safe YAML, ${VARIABLES} from the environment, errors that name the line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sightline.card import PlainLoader
from sightline.clients.config.watch_file import WatchFile
from sightline.clients.streams.names import expand
from sightline.errors import ConfigError, StreamError
from sightline.redact import hide, hide_credentials, redact

MAX_FILE_BYTES = 4 << 20
_SECRET_FIELD = re.compile(r"url|secret|password|users", re.IGNORECASE)
_SQLITE = "sqlite:///"
_PATHS = {"ca_file", "path", "tls_certificate", "tls_key", "folder"}


def read_watch_file(path: Path) -> WatchFile:
    """The validated file; its relative paths are from its own folder. Raises ConfigError.

    A file of plain `name: url` lines is a cameras file too.
    """
    return watch_file_from_text(read_text(path), path)


def read_text(path: Path) -> str:
    """The file's text, of at most MAX_FILE_BYTES. Raises ConfigError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes; is it a cameras file?")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None


def watch_file_from_text(text: str, path: Path) -> WatchFile:
    """The validated document; `path` names it in errors and is where relative paths begin. Raises ConfigError."""
    node, document = _parsed(text, path)
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must begin with `cameras:` and a line `name: url` for each")
    document = with_cameras(document)
    try:
        values = _expanded({"folder": "sightline_data"} | document, path.parent)
        return WatchFile.model_validate(values)
    except StreamError as error:
        raise ConfigError(f"{path}: {error}") from None
    except ValidationError as error:
        lines = [_explained(item, node) for item in error.errors(include_url=False)]
        raise ConfigError(f"{path} is wrong:\n" + "\n".join(redact(line) for line in lines)) from None


def with_cameras(document: dict[Any, Any]) -> dict[Any, Any]:
    """The document in its full form, where it consists of `name: url` lines alone."""
    if "cameras" not in document and document and all(isinstance(v, str) for v in document.values()):
        return {"cameras": document}
    return document


def _parsed(text: str, path: Path) -> tuple[yaml.Node | None, Any]:
    try:
        loader = PlainLoader(text)
        try:
            node = loader.get_single_node()
            return node, None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}{where} is not valid YAML: {redact(problem)}") from None


def _expanded(value: Any, folder: Path, field: str = "") -> Any:
    """${VARIABLES} filled in, paths made absolute, and what is secret made known to redact()."""
    if isinstance(value, dict):
        return {key: _expanded(inner, folder, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner, folder, field) for inner in value]
    if not isinstance(value, str):
        return value
    text = expand(value)
    if _SECRET_FIELD.search(field):
        hide_credentials(text)
    if field in ("secret", "password"):
        hide(text)
    if field in _PATHS and text:
        return str(folder / text)
    return _with_folder(text, folder) if field == "url" else text


def _with_folder(url: str, folder: Path) -> str:
    """A camera that is a file or a folder, and an SQLite file, are looked for where the cameras file lies."""
    if url.startswith(_SQLITE) and not url.startswith(f"{_SQLITE}/"):
        return _SQLITE + str(folder.absolute() / url.removeprefix(_SQLITE))
    beside = folder / url
    try:
        return str(beside) if "://" not in url and not Path(url).exists() and beside.exists() else url
    except (OSError, ValueError):
        return url


def _explained(item: Mapping[str, Any], root: yaml.Node | None) -> str:
    location = [part for part in item["loc"] if not _is_tag(part)]
    where, line = ".".join(str(part) for part in location) or "the file", _line(root, location)
    place = f"  line {line}: " if line else "  "
    if item["type"] == "extra_forbidden":
        return f"{place}{where}: unknown field"
    if item["type"] == "missing":
        return f"{place}{where}: missing"
    if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{place}{where}: {item['msg'].partition(' [')[0]}"
    message = item["msg"].removeprefix("Value error, ")
    shown = item["input"]
    if isinstance(shown, (dict, list)) or _SECRET_FIELD.search(where):
        return f"{place}{where}: {message}"
    return f"{place}{where} is {shown!r}: {message}"


def _is_tag(part: object) -> bool:
    """Parts that pydantic puts in for the member of a union."""
    return isinstance(part, str) and part in _TAGS


_TAGS = {
    "zone", "line", "loitering", "crowding", "stopped", "wrong_way", "speed", "absence", "attribute",
    "jsonl", "sql", "redis_stream", "redis_pubsub", "kafka", "mqtt", "webhook",
}  # fmt: skip


def _line(node: yaml.Node | None, location: list[Any]) -> int | None:
    """Line (from 1) of the deepest part of the location that stands in the file."""
    found: int | None = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            found, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            found = node.start_mark.line + 1
        else:
            break
    return found

# SPDX-License-Identifier: Apache-2.0
"""Changes a cameras file and leaves its comments, order and ${VARIABLES} as they are. Written whole or not at all."""

from __future__ import annotations

import io
import os
import re
import stat
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.clients.config.reading import read_text, watch_file_from_text, with_cameras
from sightline.clients.config.watch_file import WatchFile
from sightline.errors import ConfigError, MissingDependencyError

HIDDEN = "***"
KEPT = ("rules", "privacy")
"""Fields that a change of other fields must not take away by saying nothing of them."""
_VARIABLES_ALONE = re.compile(r"(?:[^:@$]*:)?\$\{\w+\}@\Z")


class WatchFileEditor:
    """One cameras file; changes are checked as a whole before anything is written. Thread-safe.

    check: further looks at a changed document; what it raises stops the change.
    """

    def __init__(self, path: Path, check: Callable[[WatchFile], object] = lambda document: None) -> None:
        self.path = path
        self._check = check
        self._lock = threading.Lock()

    def documents(self) -> dict[str, dict[str, Any]]:
        """Each camera as it stands in the file, with passwords that stand there in plain replaced by ***."""
        document = with_cameras(_plain(_yaml().load(read_text(self.path))))
        cameras = document.get("cameras") or {}
        return {str(name): _shown(camera) for name, camera in cameras.items()}

    def put_camera(self, name: str, document: Mapping[str, Any]) -> WatchFile:
        """Add a camera or replace its fields. `rules` and `privacy` that are left out stay (None takes them away), as does
        a `url` that is left out or has *** in it. New ${VARIABLES} are refused: the environment is not for whoever may
        add cameras."""

        def change(cameras: Any) -> None:
            old = cameras.get(name)
            before = {"url": old} if isinstance(old, str) else (old or {})
            kept = {key: before[key] for key in KEPT if key in before and key not in document}
            new = kept | {key: value for key, value in document.items() if value is not None}
            old_url = before.get("url")
            if HIDDEN in str(new.get("url", HIDDEN)):
                if old_url is None:
                    raise ConfigError(f"camera {name!r} is new and needs a url")
                new["url"] = old_url
            for key, value in new.items():
                self._refuse_variables(name, value, before.get(key))
            if isinstance(old, dict):
                _merge(old, new)
            else:
                cameras[name] = new["url"] if set(new) == {"url"} else new

        return self._changed(change)

    def remove_camera(self, name: str) -> WatchFile:
        """Take a camera out of the file."""

        def change(cameras: Any) -> None:
            if name not in cameras:
                raise ConfigError(f"there is no camera {name!r} in {self.path}")
            del cameras[name]

        return self._changed(change)

    def put_rules(self, name: str, rules: Sequence[Mapping[str, Any]]) -> WatchFile:
        """Replace a camera's rules; those that are the same stay untouched in the file."""

        def change(cameras: Any) -> None:
            if name not in cameras:
                raise ConfigError(f"there is no camera {name!r} in {self.path}")
            if isinstance(cameras[name], str):
                cameras[name] = {"url": cameras[name]}
            camera = cameras[name]
            kept = list(camera.get("rules") or ())
            same = {str(rule.get("name")): rule for rule in kept if isinstance(rule, dict)}
            for rule in rules:
                self._refuse_variables(name, rule, same.get(str(rule.get("name"))))
            new = [_same_or_new(same.get(str(rule.get("name"))), rule) for rule in rules]
            if new:
                camera["rules"] = new
            else:
                camera.pop("rules", None)

        return self._changed(change)

    def _refuse_variables(self, name: str, new: Any, old: Any) -> None:
        """The environment is read when the file is: what is new may not ask for it."""
        if _variables(new) and _plain(new) != _plain(old):
            raise ConfigError(f"camera {name!r}: ${{VARIABLES}} can only be written in {self.path} itself")

    def _changed(self, change: Callable[[Any], None]) -> WatchFile:
        with self._lock:
            yaml = _yaml()
            before = read_text(self.path)
            document = yaml.load(before)
            full = with_cameras(document) if isinstance(document, dict) else {"cameras": {}}
            if full.get("cameras") is None:
                full["cameras"] = {}
            change(full["cameras"])
            text = io.StringIO()
            yaml.dump(full, text)
            checked = watch_file_from_text(text.getvalue(), self.path)
            self._check(checked)
            if text.getvalue() != before:
                _replace(self.path, text.getvalue())
            return checked


def _yaml() -> Any:
    try:
        from ruamel.yaml import YAML
    except ImportError:
        raise MissingDependencyError(
            "changing a cameras file needs ruamel.yaml; pip install 'sightline[watch]'"
        ) from None
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _variables(value: Any) -> bool:
    """Whether ${NAME} stands anywhere in it."""
    if isinstance(value, Mapping):
        return any(map(_variables, [*value, *value.values()]))
    if isinstance(value, (list, tuple)):
        return any(map(_variables, value))
    return isinstance(value, str) and "${" in value


def _merge(old: Any, new: Mapping[str, Any]) -> None:
    """The new fields into the mapping that holds the comments."""
    for key in [key for key in old if key not in new]:
        del old[key]
    for key, value in new.items():
        if _plain(old.get(key)) != value:
            old[key] = _flow_points(value)


def _same_or_new(old: Any, rule: Mapping[str, Any]) -> Any:
    if isinstance(old, dict) and _plain(old) == dict(rule):
        return old
    if isinstance(old, dict):
        _merge(old, rule)
        return old
    return _flow_points(dict(rule))


def _flow_points(value: Any) -> Any:
    """Lists of numbers on one line, as people write them."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, Mapping):
        made = CommentedMap()
        for key, inner in value.items():
            made[key] = _flow_points(inner)
        return made
    if isinstance(value, (list, tuple)):
        items = CommentedSeq([_flow_points(inner) for inner in value])
        if not any(isinstance(inner, Mapping) for inner in value):
            items.fa.set_flow_style()
        return items
    return round(value, 4) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    """ruamel's types as Python's own."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _shown(camera: Any) -> dict[str, Any]:
    document = {"url": camera} if isinstance(camera, str) else dict(camera or {})
    if "url" in document:
        document["url"] = shown_url(str(document["url"]))
    return document


def shown_url(url: str) -> str:
    """The address without a login that stands there in plain; ${VARIABLES} are no secret, queries may be one."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    login, at, place = rest.rpartition("@")
    if at and not _VARIABLES_ALONE.fullmatch(login + "@"):
        login = HIDDEN
    head, question, _ = place.partition("?")
    return f"{scheme}://{login}{at}{head}{question}{HIDDEN if question else ''}"


def _replace(path: Path, text: str) -> None:
    """Atomically; the file keeps its permissions. Raises ConfigError."""
    target = path.resolve()
    try:
        mode = stat.S_IMODE(target.stat().st_mode)
        descriptor, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(partial, target)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); the change was not made, the file is as it was"
        ) from None

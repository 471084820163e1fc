# SPDX-License-Identifier: Apache-2.0
"""Runs a cameras file: ties engine, analytics, events and page together, and takes changes while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.clients.analytics.camera import CameraAnalytics
from sightline.clients.analytics.identities import Identities
from sightline.clients.analytics.privacy_video import PrivacyFilter
from sightline.clients.config.editing import WatchFileEditor
from sightline.clients.config.reading import read_watch_file
from sightline.clients.config.watch_file import WatchFile
from sightline.clients.page.control import EventQuery
from sightline.clients.service.changes import Changes, changes
from sightline.clients.service.keeping import Keeping
from sightline.clients.service.sources import analytics_of, sources_of
from sightline.clients.streams.names import NETWORK_SCHEMES, Source
from sightline.clients.streams.watch import Watch
from sightline.errors import ConfigError, MissingDependencyError, SightlineError
from sightline.redact import redact

if TYPE_CHECKING:
    from sightline.clients import Client
    from sightline.clients.annotated import AnnotatedServer
    from sightline.clients.config.watch_file import Page
    from sightline.clients.page.server import PageServer
    from sightline.clients.streams.results import Analyst, StreamResult, StreamSink, VideoSink
    from sightline.clients.streams.summary import Summary

RELOAD_SECONDS = 1.0
_Print = tuple[int, int, int]


class WatchService:
    """One cameras file, running. It is the page's Control.

    client: a Client. path: the file that `document` came from; it is looked at once a second, and what changed there is
    changed here, the other cameras going on. None: nothing is kept, and changes are refused.
    page: how the page is served; None for none. adapt: what the command line adds to a file that was read again.
    notice: is told, once each, what a person should know. engine: further arguments of Watch.
    Raises OutputError, MissingDependencyError and StreamError.
    """

    def __init__(
        self,
        document: WatchFile,
        client: Client,
        *,
        path: Path | None = None,
        adapt: Callable[[WatchFile], WatchFile] = lambda document: document,
        page: Page | None = None,
        sinks: Sequence[StreamSink] = (),
        videos: Sequence[VideoSink] = (),
        notice: Callable[[str], None] = lambda text: None,
        **engine: Any,
    ) -> None:
        self._document = document
        self._client = client
        self._notice = notice
        self._adapt = adapt
        self._path = path
        self._editor = WatchFileEditor(path, check=lambda file: sources_of(adapt(file))) if path else None
        self._seen = _print_of(path)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._identities = Identities()
        self._analysts: dict[str, CameraAnalytics] = {}
        sources = sources_of(document)
        self._keeping: Keeping | None = None
        self._page = _opened(page, self if path else None)
        self._annotated: AnnotatedServer | None = None
        self._annotated = self._drawn(document)
        if path:
            self._keeping = self._kept(document)
        viewers = [
            *([self._keeping.publisher] if self._keeping else []),
            *videos,
            *([self._page] if self._page else []),
            *([self._annotated] if self._annotated else []),
        ]
        guarded = self._guarded = [PrivacyFilter(viewer, self._is_private) for viewer in viewers]
        kept = [self._keeping.publisher] if self._keeping else []
        shown = [
            *([_Shown(self._page) if kept else self._page] if self._page else []),
            *([self._annotated] if self._annotated else []),
        ]
        try:
            self.watch = Watch(
                list(sources.values()),
                client,
                sinks=[*guarded, *kept, *sinks, *shown],
                videos=guarded,
                analysts=self._new_analyst,
                notice=notice,
                **engine,
            )
        except BaseException:
            self._close_outputs()
            raise
        self._reloader = threading.Thread(target=self._reload_for_ever, name="watch-reload", daemon=True)

    def start(self) -> None:
        """Start all; errors as those of Watch.start. Raises OutputError when the page does not come up."""
        if self._page:
            self._page.open(state=self.state)
        if self._annotated:
            self._annotated.open()
        self.watch.start()
        if self._annotated:
            self._notice(self._annotated.told())
        if self._path is not None:
            self._reloader.start()

    def stop(self) -> Summary:
        """Stop all, deliver what can be delivered in a short time (the rest stays in the spool), and give the figures."""
        self._stopping.set()
        if self._reloader.ident is not None:
            self._reloader.join(RELOAD_SECONDS * 5)
        summary = self.watch.stop()
        self._close_outputs()
        return summary

    @property
    def page_url(self) -> str | None:
        """Where the page is; None without one."""
        return self._page.url if self._page else None

    def _drawn(self, document: WatchFile) -> AnnotatedServer | None:
        """The annotated streams, which listen already; their packages are loaded only when they are wanted."""
        if document.annotated is None:
            return None
        try:
            from sightline.clients.annotated import AnnotatedServer

            return AnnotatedServer(**document.annotated.model_dump())
        except BaseException:
            self._close_outputs()
            raise

    def _kept(self, document: WatchFile) -> Keeping:
        show = self._page.emit if self._page else lambda event: None
        try:
            return Keeping(document, self._notice, show)
        except BaseException:
            self._close_outputs()
            raise

    def _close_outputs(self) -> None:
        if self._page:
            self._page.close()
        if self._annotated:
            self._annotated.close()
        if self._keeping:
            self._keeping.close()

    @property
    def ended(self) -> bool:
        """True when every source was a file and was played to its end."""
        return self.watch.ended

    # -- Control: what the page may ask ------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What is going on now: the engine's state, and the sinks, spool and media."""
        state = self.watch.state()
        for camera in state["cameras"]:
            analyst = self._analysts.get(camera["name"])
            if analyst is not None:
                camera["analytics"] = analyst.figures().to_dict()
        state["annotated"] = self._annotated.state() if self._annotated else None
        return state | (self._keeping.state() if self._keeping else {"sinks": [], "spool": None})

    def cameras(self) -> dict[str, dict[str, Any]]:
        """The cameras' settings as they stand in the file."""
        return self._editing().documents()

    def put_camera(self, name: str, document: Mapping[str, Any]) -> None:
        """Add a camera or change it. Raises ConfigError; files and devices can only be named in the file itself."""
        url = str(document.get("url", ""))
        if "url" in document and url.partition("://")[0].lower() not in NETWORK_SCHEMES:
            known = self._editing().documents().get(name, {}).get("url")
            if url != known:
                raise ConfigError(
                    f"camera {name!r}: only URLs of {', '.join(NETWORK_SCHEMES)} can be added here; "
                    "write files and devices into the cameras file"
                )
        forbidden = {"ca_file"} & set(document) - set(self._editing().documents().get(name, {}))
        if forbidden:
            raise ConfigError(f"camera {name!r}: {forbidden.pop()} can only be written in the cameras file")
        with self._lock:
            self._apply(self._editing().put_camera(name, document))

    def remove_camera(self, name: str) -> None:
        """Take a camera away. Raises ConfigError."""
        with self._lock:
            self._apply(self._editing().remove_camera(name))

    def put_rules(self, name: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """Replace a camera's rules. Raises ConfigError."""
        with self._lock:
            self._apply(self._editing().put_rules(name, rules))

    def events(self, query: EventQuery) -> list[dict[str, Any]]:
        """Stored events, the newest first."""
        return self._keeping.store.query(query) if self._keeping else []

    def counts(self, name: str, hours: float) -> list[dict[str, Any]]:
        """Stored events counted by time slot."""
        return self._keeping.store.counts(name, hours) if self._keeping else []

    def media(self, path: str) -> Path | None:
        """The file of a snapshot or clip."""
        return self._keeping.media.file(path) if self._keeping else None

    # -- changes -----------------------------------------------------------------------------------------------------

    def reload(self) -> Changes:
        """Read the file again and change what differs. Raises ConfigError and StreamError; then all goes on as before."""
        if self._path is None:
            raise ConfigError("this watch was started without a cameras file")
        with self._lock:
            self._seen = _print_of(self._path)
            return self._apply(read_watch_file(self._path))

    def _apply(self, in_file: WatchFile) -> Changes:
        """Each change by itself: one that fails is told, and made again when the file changes again."""
        document = self._adapt(in_file)
        sources = sources_of(document)
        before, found = self._document, changes(self._document, document)
        failed: dict[str, str] = {}

        def each(names: Iterable[str], change: Callable[[str], object]) -> None:
            for name in names:
                try:
                    change(name)
                except Exception as error:  # whatever it is, the other cameras are changed all the same
                    failed[name] = str(error) or type(error).__name__

        # First what is made unrecognisable: from here on no picture leaves that should not.
        each(found.rethought, lambda name: self._analysts[name].replace(analytics_of(document.cameras[name])))
        self._document = document
        each(["page, clips and recordings"], lambda _: self._recheck())
        each(found.removed, self._remove)
        each(found.added, lambda name: self.watch.add(sources[name]))
        each(found.reread, lambda name: self.watch.change(sources[name]))
        self._document = _without(document, before, set(failed))
        if found.sinks and self._keeping:
            each(["sinks"], lambda _: self._reconfigure(document))
            if "sinks" in failed:
                self._document = self._document.model_copy(update={"sinks": before.sinks})
        if found.restart_needed:
            self._notice(f"changes of {', '.join(found.restart_needed)} take effect after a restart")
        if failed:
            raise ConfigError(
                "; ".join(f"{name} could not be changed: {text}" for name, text in failed.items())
            )
        return found

    def _recheck(self) -> None:
        for guard in self._guarded:
            guard.recheck()

    def _remove(self, name: str) -> None:
        self.watch.remove(name)
        self._analysts.pop(name, None)

    def _reconfigure(self, document: WatchFile) -> None:
        if self._keeping:
            self._keeping.reconfigure(document.sinks)

    def _new_analyst(self, source: Source) -> Analyst:
        camera = self._document.cameras[source.name]
        analyst = CameraAnalytics(
            source.name,
            analytics_of(camera),
            ask=self._client.submit_infer,
            identities=self._identities,
            rate=source.rate,
        )
        self._analysts[source.name] = analyst
        return analyst

    def _is_private(self, name: str) -> bool:
        camera = self._document.cameras.get(name)
        return camera is None or camera.privacy is not None

    def _editing(self) -> WatchFileEditor:
        if self._editor is None:
            raise ConfigError(
                "this watch was started without a cameras file; start it with one to change cameras"
            )
        return self._editor

    def _reload_for_ever(self) -> None:
        last = self._seen
        while not self._stopping.wait(RELOAD_SECONDS):
            now = _print_of(self._path)
            has_settled, last = now == last, now  # else somebody is still writing it
            if now == self._seen or now is None or not has_settled:
                continue
            try:
                found = self.reload()
            except SightlineError as error:
                self._notice(redact(f"{self._path} was changed and is not used: {error}"))
            except Exception as error:  # the file is looked at for ever
                self._notice(redact(f"{self._path} was changed and broke: {type(error).__name__}: {error}"))
            else:
                self._tell(found)

    def _tell(self, found: Changes) -> None:
        parts = {
            "added": found.added,
            "removed": found.removed,
            "changed": tuple(dict.fromkeys((*found.reread, *found.rethought))),
        }
        told = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)
        if told or found.sinks:
            self._notice(f"{self._path} was read again: {told or 'other sinks'}")


class _Shown:
    """The page's results; its events come from the publisher, which knows their pictures."""

    def __init__(self, page: PageServer) -> None:
        self._page = page

    def write(self, result: StreamResult) -> None:
        self._page.write(replace(result, events=()))

    def close(self) -> None:
        """The service closes the page."""


def _opened(page: Page | None, control: WatchService | None) -> PageServer | None:
    """The page, which listens already; its packages are loaded only when it is wanted."""
    if page is None:
        return None
    try:
        from sightline.clients.page.server import PageServer
    except ImportError as error:
        raise MissingDependencyError(f"the page needs {error.name}; pip install 'sightline[watch]'") from None
    return PageServer(
        page.port,
        host=page.host,
        control=control,
        users=page.users,
        tls_certificate=page.tls_certificate,
        tls_key=page.tls_key,
    )


def _without(document: WatchFile, before: WatchFile, failed: set[str]) -> WatchFile:
    """The file as it is in force: cameras that could not be added are not."""
    cameras = {n: c for n, c in document.cameras.items() if n not in failed or n in before.cameras}
    return document.model_copy(update={"cameras": cameras})


def _print_of(path: Path | None) -> _Print | None:
    """Changes when the file does; None where there is none."""
    try:
        info = path.stat() if path else None
    except OSError:
        return None
    return (info.st_mtime_ns, info.st_size, info.st_ino) if info else None

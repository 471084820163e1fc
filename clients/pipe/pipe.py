# SPDX-License-Identifier: Apache-2.0
"""The pipe: takes images from a source, asks many at a time, delivers each result once.

Lanes (threads) read and ask; one thread, the caller's, looks for images, keeps the journal and delivers.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.clients.client import Client
from sightline.clients.pipe.addresses import ChannelAddress, FolderAddress, StreamAddress
from sightline.clients.pipe.answers import Answer
from sightline.clients.pipe.ask import Asker, PoisonError, StoppedError, Told
from sightline.clients.pipe.coco_all import write_coco
from sightline.clients.pipe.delivery import Delivery, Places, Source
from sightline.clients.pipe.files import STATE_FOLDER, locked, made
from sightline.clients.pipe.folder_source import FolderSource, Settling
from sightline.clients.pipe.formats import (
    Categories,
    Picture,
    check_format,
    coco_rows,
    payload_of,
    reason_value,
)
from sightline.clients.pipe.item import (
    Answered,
    Broken,
    Gone,
    GoneError,
    Item,
    Later,
    NotWholeError,
    Outcome,
    Poisoned,
    shown,
)
from sightline.clients.pipe.journal import ANSWERED, Journal
from sightline.clients.pipe.look import checked_size
from sightline.clients.pipe.redis_link import Link
from sightline.clients.pipe.redis_sink import RedisSink
from sightline.clients.pipe.redis_source import ChannelSource, StreamSource
from sightline.clients.pipe.settings import PipeSettings
from sightline.clients.pipe.version import version_of
from sightline.errors import BadInputError

BATCH = 64
IDLE_SECONDS = 0.1


@dataclass
class Tally:
    """What has become of the images of this run. recovered: results that a killed run had left without their names."""

    done: int = 0
    quarantined: int = 0
    recovered: int = 0
    under_way: int = 0
    waiting: int = 0
    left_alone: int = 0
    began: float = field(default_factory=time.monotonic)
    is_interrupted: bool = False
    unsettled: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.began


class Pipe:
    """Runs one pipe until it is stopped, or, with `once`, until nothing is left.

    tell: is told, one line each, what a person should know: the server is away, an image was quarantined. progress: is
    called often with the tally. Raises BadInputError for settings that do not fit, OutputError where results cannot be
    written, ModelNotFoundError.
    """

    def __init__(
        self,
        settings: PipeSettings,
        tell: Told = lambda _: None,
        progress: Callable[[Tally], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._progress = progress
        self._stop = threading.Event()
        self._work: queue.Queue[Item | None] = queue.Queue()
        self._outcomes: queue.Queue[Outcome] = queue.Queue()
        self._close: list[Callable[[], None]] = []
        self.tally = Tally()

    def stop(self) -> None:
        """End soon: what was sent is still delivered. Safe in signal handlers and from any thread."""
        self._stop.set()

    def run(self) -> Tally:
        """See the class."""
        try:
            client = self._opened(
                Client(
                    self._settings.server,
                    protocol=self._settings.protocol,  # type: ignore[arg-type]
                    timeout_seconds=self._settings.timeout_seconds,
                )
            )
            try:
                self._prepare(client)
                self._run()
            except StoppedError:
                self.tally.is_interrupted = True
            return self.tally
        finally:
            self._stop.set()
            for close in reversed(self._close):
                close()

    def _opened(self, thing: Any) -> Any:
        self._close.append(thing.close)
        return thing

    def _prepare(self, client: Client) -> None:
        settings = self._settings
        self._delivery, self._source, self._journal = self._ends()
        self._asker = Asker(client, settings.plan, settings.in_flight, self._stop, self._tell)
        self.tally.recovered = self._delivery.recover()
        self._asker.wait_for_server()
        tasks = {model: client.task(model) for model in settings.plan.all_models}
        check_format(
            settings.format,
            {model: tasks[model] for model in settings.plan.models},
            bool(settings.plan.chain),
        )
        self._categories = Categories(tuple((model, client.labels(model)) for model in settings.plan.models))
        for model in settings.plan.all_models:
            version_of(client, model)
        self._threads = [
            threading.Thread(target=self._lane, name=f"sightline-pipe-{index}", daemon=True)
            for index in range(settings.in_flight)
        ]
        for thread in self._threads:
            thread.start()
        self._close.append(self._dismiss)

    def _run(self) -> None:
        wanted = 2 * self._settings.in_flight
        while not self._stop.is_set():
            self._feed(wanted)
            self._deliver(self._pause_seconds())
            self._report()
            if self._settings.once and not self.tally.under_way and self._is_finished():
                break
        else:
            self.tally.is_interrupted = True
        self._end()

    def _feed(self, wanted: int) -> None:
        room = wanted - self.tally.under_way
        if room < max(1, wanted // 4) and self.tally.under_way:
            return
        for item in self._delivery.claim(self._source.poll(room)):
            self.tally.under_way += 1
            self._work.put(item)

    def _pause_seconds(self) -> float:
        if self.tally.under_way:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, self._source.next_look_seconds)

    def _deliver(self, pause_seconds: float) -> None:
        """What has come in, in one go; waits for the first."""
        self._source.keep()
        found: list[Outcome] = []
        try:
            if self.tally.under_way or pause_seconds > 0:
                found.append(self._outcomes.get(timeout=max(pause_seconds, 0.001)))
            while len(found) < BATCH:
                found.append(self._outcomes.get_nowait())
        except queue.Empty:
            pass
        self._take(found)

    def _take(self, found: list[Outcome]) -> None:
        ready: list[Answered | Poisoned] = []
        for outcome in found:
            self.tally.under_way -= 1
            match outcome:
                case Answered() | Poisoned():
                    ready.append(outcome)
                case Later():
                    broken = self._put_back(outcome)
                    if broken is not None:
                        ready.append(broken)
                case Gone():
                    self._delivery.forget(outcome.item)
                    self._source.release(outcome.item)
                case Broken():
                    raise outcome.error
        self._delivery.commit(ready)
        for one in ready:
            if isinstance(one, Poisoned):
                self.tally.quarantined += 1
                self._tell(f"{shown(one.item.name)}: {one.reason['error']}")
            else:
                self.tally.done += 1

    def _put_back(self, outcome: Later) -> Poisoned | None:
        item = outcome.item
        if self._source.later(item, outcome.is_half):
            self._delivery.forget(item)
            return None
        text = "the file ends in the middle of its picture, and nobody has gone on writing it"
        return Poisoned(item, reason_value(item.name, "BadInputError", text))

    def _is_finished(self) -> bool:
        if self._source.is_exhausted:
            return True
        if self._source.is_stuck and not self._source.is_exhausted and self._source.unsettled():
            self.tally.unsettled = tuple(shown(name) for name in self._source.unsettled())
            return True
        return False

    def _report(self) -> None:
        self.tally.waiting = self._source.waiting
        self.tally.left_alone = self._source.left_alone
        self._progress(self.tally)

    def _end(self) -> None:
        """Deliver what was sent, give back what was not."""
        self._stop.set()
        while True:  # not begun
            try:
                self._outcomes.put(Gone(self._work.get_nowait()))  # type: ignore[arg-type]
            except queue.Empty:
                break
        self._dismiss()
        until = time.monotonic() + self._settings.timeout_seconds + 5.0
        while self.tally.under_way > 0 and time.monotonic() < until:
            self._deliver(IDLE_SECONDS)
            self._progress(self.tally)
        self._report()
        if self._settings.coco_all is not None and self._journal is not None:
            write_coco(self._settings.coco_all, self._journal.coco_rows(), self._categories)

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._work.put(None)

    def _lane(self) -> None:
        while (item := self._work.get()) is not None:
            try:
                outcome = self._outcome(item)
            except StoppedError:
                outcome = Gone(item)
            except BaseException as error:
                outcome = Broken(item, error)
            self._outcomes.put(outcome)

    def _outcome(self, item: Item) -> Outcome:
        data = b""
        try:
            data = item.load()
            width, height = checked_size(data)
            answers = tuple(self._above(answer) for answer in self._asker.ask(data))
        except NotWholeError as error:
            return Later(item, error.is_half)
        except GoneError:
            return Gone(item)
        except BadInputError as error:
            return Poisoned(item, reason_value(item.name, type(error).__name__, str(error)), data)
        except PoisonError as error:
            return Poisoned(item, reason_value(item.name, error.kind, str(error)), data)
        picture = Picture(item.name, item.number, width, height, hashlib.sha256(data).hexdigest())
        payload = payload_of(self._settings.format, picture, answers, self._categories)
        coco = coco_rows(picture, answers, self._categories) if self._settings.coco_all else None
        return Answered(item, payload, coco)

    def _above(self, answer: Answer) -> Answer:
        return answer.above(self._settings.score) if self._settings.score > 0 else answer

    def _ends(self) -> tuple[Delivery, Source, Journal | None]:
        settings = self._settings
        then = settings.then_or_default
        folder = _state_home(settings)
        journal = None
        if folder is not None:
            state = made(folder / STATE_FOLDER)
            self._hold(state, True, "folder")
            journal = self._opened(Journal(state / "journal.sqlite"))
            self._check_plan(journal, folder)
        source = self._source_of(then, journal)
        sink = None
        if not isinstance(settings.destination, FolderAddress):
            link = self._opened(Link(settings.destination.url, self._stop, self._tell, source.keep))
            salt = _salt(settings)
            sink = RedisSink(settings.destination, link, source, then, salt)
        return Delivery(source, _places(settings, then), journal, sink, self._tell), source, journal

    def _source_of(self, then: str, journal: Journal | None) -> Source:
        settings = self._settings
        match settings.source:
            case FolderAddress(path):
                self._hold(path, then != "keep", "images of folder")
                settling = Settling(settings.settle_seconds, settings.doubt_seconds, settings.watch_seconds)
                return FolderSource(path, settling, lambda name, identity: _is_known(journal, name, identity))
            case StreamAddress() as stream:
                link = self._opened(Link(stream.url, self._stop, self._tell))
                return StreamSource(stream, link, then, settings.claim_seconds)
            case ChannelAddress() as channel:
                return ChannelSource(channel, self._opened(Link(channel.url, self._stop, self._tell)))
        raise BadInputError(f"{settings.source} is no source")

    def _hold(self, folder: Path, exclusive: bool, what: str) -> None:
        fd = locked(folder, exclusive, what)
        self._close.append(lambda: os.close(fd))

    def _check_plan(self, journal: Journal, folder: Path) -> None:
        """Results of different models or formats are not mixed in one folder that remembers what it has."""
        plan = self._settings.plan
        wanted = f"{'+'.join(plan.models)}>{'>'.join(plan.chain)} as {self._settings.format}"
        before = journal.remember("plan", wanted)
        if before == wanted:
            return
        if not journal.is_empty():
            raise BadInputError(
                f"folder {folder} holds what a pipe of {before} has begun; it cannot go on with {wanted}. Use another "
                f"folder, the same models, or delete {folder / STATE_FOLDER} to begin anew"
            )
        journal.replace_fact("plan", wanted)


def _state_home(settings: PipeSettings) -> Path | None:
    """The folder that the journal is in: that of the results, or of the images; None where both ends are in Redis."""
    if isinstance(settings.destination, FolderAddress):
        return settings.destination.path
    return settings.source.path if isinstance(settings.source, FolderAddress) else None


def _places(settings: PipeSettings, then: str) -> Places:
    out = settings.destination.path if isinstance(settings.destination, FolderAddress) else None
    home = out or (settings.source.path if isinstance(settings.source, FolderAddress) else None)
    quarantine = settings.quarantine or (home / "quarantine" if home else None)
    done = settings.done or out or (home / "done" if home else Path())
    copies = then == "keep" or not isinstance(settings.source, FolderAddress)
    return Places(out, done, quarantine, then, copies)


def _salt(settings: PipeSettings) -> str:
    """Tells the images of this source from those of others in Redis."""
    source = settings.source
    where: tuple[str, ...] = (str(source),)  # the same on all machines that share the work
    if isinstance(source, FolderAddress):
        where = (os.uname().nodename, os.path.realpath(source.path))
    plan = settings.plan
    text = "\0".join((*where, *plan.models, "|", *plan.chain, settings.format))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _is_known(journal: Journal | None, name: bytes, identity: str) -> bool:
    row = journal.find(name, identity) if journal is not None else None
    return row is not None and row.state >= ANSWERED

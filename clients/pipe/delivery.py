# SPDX-License-Identifier: Apache-2.0
"""The last step of a pipe: each image has exactly one result or one reason, then its input goes where it should."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from sightline.clients.pipe.ask import Told
from sightline.clients.pipe.files import STATE_FOLDER, made, sync_folder, write_aside, write_whole
from sightline.clients.pipe.item import Answered, Item, Poisoned
from sightline.clients.pipe.journal import ANSWERED, Journal, exists
from sightline.clients.pipe.redis_sink import RedisSink
from sightline.errors import OutputError

RESULT, REASON = b".json", b".reason.json"


class Source(Protocol):
    """Where images come from."""

    left_alone: int

    @property
    def waiting(self) -> int:
        """Images that were found and are not under way yet."""

    @property
    def is_exhausted(self) -> bool:
        """Whether the last look found nothing that may still be taken."""

    @property
    def is_stuck(self) -> bool:
        """Whether waiting for what is left has lasted long enough."""

    @property
    def next_look_seconds(self) -> float:
        """Until something may be found again."""

    def poll(self, room: int) -> list[Item]:
        """Up to `room` images, without waiting."""

    def keep(self) -> None:
        """Say, where that is needed, that what was given out is still being worked on; called often."""

    def later(self, item: Item, is_half: bool) -> bool:
        """Take back what is not whole; False when it never will be."""

    def release(self, item: Item) -> None:
        """The image is finished, or gone."""

    def unsettled(self) -> list[bytes]:
        """Names of what is still being written."""

    def finish(self, name: bytes, identity: str, then: str, target: bytes) -> bool:
        """Move, delete, keep or acknowledge the input. Whether it stays."""

    def sync(self) -> None:
        """What was finished stays so."""


@dataclass(frozen=True)
class Places:
    """out: of results in a folder; None where they go to Redis. done: where moved inputs go. quarantine: None where
    there is none. then: what becomes of inputs. copies: whether poison is copied, for its input is not to be moved."""

    out: Path | None
    done: Path
    quarantine: Path | None
    then: str
    copies: bool


class Delivery:
    """Writes outcomes so that a kill at any moment leaves one result or none, and the next start makes it one.

    Not safe for threads.
    """

    def __init__(
        self,
        source: Source,
        places: Places,
        journal: Journal | None,
        sink: RedisSink | None,
        tell: Told,
    ) -> None:
        self._source = source
        self._places = places
        self._journal = journal
        self._sink = sink
        self._tell = tell
        self._said: set[str] = set()
        self._folders = [os.fsencode(folder) for folder in (places.out, places.quarantine) if folder]
        if places.then == "move":
            self._folders.append(os.fsencode(places.done))
        for folder in self._folders:
            made(Path(os.fsdecode(folder)) / STATE_FOLDER)

    def claim(self, items: Sequence[Item]) -> list[Item]:
        """The items with what their results are called; those whose result is there already are only finished."""
        if self._journal is None or not items:
            return list(items)
        fresh: list[Item] = []
        for item in items:
            row = self._journal.find(item.name, item.identity)
            if row is not None and row.state >= ANSWERED:  # a stream gives again what was not acknowledged
                self._settle([(replace(item, number=row.number, out=row.out), row.is_poison)])
                self._source.release(item)
            else:
                fresh.append(item)
        return self._journal.claim(fresh, self._is_taken)

    def forget(self, item: Item) -> None:
        """The image is not asked after all."""
        if self._journal is not None:
            self._journal.done((), (item.number,))

    def recover(self) -> int:
        """Finish what a killed pipe left: results that only need their names, inputs to be moved. How many there were."""
        if self._journal is None:
            return 0
        count = 0
        for row in self._journal.unfinished():
            if row.state == ANSWERED:
                item = Item(row.name, row.identity, bytes, None, row.number, row.out)
                self._publish([(item, row.is_poison)])
                self._settle([(item, row.is_poison)])
                count += 1
        return count

    def commit(self, outcomes: Sequence[Answered | Poisoned]) -> None:
        """Make results and reasons last, then finish the inputs. Raises OutputError or StoppedError."""
        if not outcomes:
            return
        items = [(outcome.item, isinstance(outcome, Poisoned)) for outcome in outcomes]
        if self._sink is not None:
            self._send(self._sink, outcomes)
        else:
            self._write(outcomes)
            self._publish(items)
        self._settle(items)
        for item, _ in items:
            self._source.release(item)

    def _write(self, outcomes: Sequence[Answered | Poisoned]) -> None:
        """Aside, synchronised, and in the journal."""
        coco = []
        for outcome in outcomes:
            number = outcome.item.number
            if isinstance(outcome, Answered):
                write_aside(self._aside(number, False), outcome.payload)
                if outcome.coco is not None:
                    coco.append((number, *outcome.coco))
                continue
            if self._places.copies and outcome.data:
                write_aside(self._aside(number, True) + b".image", outcome.data)
            write_aside(self._aside(number, True), _reason(outcome))
        for home in {self._home(isinstance(outcome, Poisoned)) for outcome in outcomes}:
            sync_folder(os.path.join(home, STATE_FOLDER.encode()))
        good = [o.item.number for o in outcomes if isinstance(o, Answered)]
        bad = [o.item.number for o in outcomes if isinstance(o, Poisoned)]
        if self._journal is not None:
            self._journal.answered(good, bad, coco)

    def _publish(self, items: Sequence[tuple[Item, bool]]) -> None:
        """Give what lies aside its name; what was given it before the kill does not lie there any more."""
        if self._sink is not None:
            return
        for item, is_poison in items:
            aside = self._aside(item.number, is_poison)
            target = os.path.join(self._home(is_poison), item.out)
            try:
                if is_poison:
                    _rename_if_there(aside + b".image", target)
                _rename_if_there(aside, target + (REASON if is_poison else RESULT))
            except OSError as error:
                raise OutputError(f"{os.fsdecode(target)!r} cannot be written: {error.strerror}") from error
        for home in {self._home(is_poison) for _, is_poison in items}:
            sync_folder(home)

    def _send(self, sink: RedisSink, outcomes: Sequence[Answered | Poisoned]) -> None:
        """Into Redis. Whoever waits for a result is told too that there will be none."""
        quarantine = self._places.quarantine
        for outcome in outcomes:
            if isinstance(outcome, Poisoned) and quarantine is not None:
                target = os.path.join(os.fsencode(quarantine), outcome.item.out)
                if self._places.copies and outcome.data:
                    write_whole(target, outcome.data)
                write_whole(target + REASON, _reason(outcome))
        sink.send([(o.item, o.payload if isinstance(o, Answered) else _reason(o)) for o in outcomes])

    def _settle(self, items: Sequence[tuple[Item, bool]]) -> None:
        """Inputs go where they should; then nothing more needs to be known of those that went."""
        kept: list[int] = []
        gone: list[int] = []
        places = self._places
        for item, is_poison in items:
            then = places.then
            home = places.done
            if is_poison and places.quarantine is not None and not places.copies:
                then, home = "move", places.quarantine
            target = os.path.join(os.fsencode(home), item.out)
            stays = True
            try:
                if self._sink is None or not self._sink.acknowledges:
                    stays = self._source.finish(item.name, item.identity, then, target)
            except OutputError as error:
                self._say_once("input", f"{error} (said once; it is not asked again)")
            (kept if stays else gone).append(item.number)
        if self._journal is not None:
            if gone:
                self._source.sync()
            self._journal.done(kept, gone)

    def _home(self, is_poison: bool) -> bytes:
        return os.fsencode((self._places.quarantine if is_poison else self._places.out) or ".")

    def _aside(self, number: int, is_poison: bool) -> bytes:
        return os.path.join(self._home(is_poison), STATE_FOLDER.encode(), b"%d.aside" % number)

    def _is_taken(self, out: bytes) -> bool:
        return any(
            exists(os.path.join(folder, out + suffix))
            for folder in self._folders
            for suffix in (b"", RESULT, REASON)
        )

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._tell(text)


def _reason(outcome: Poisoned) -> bytes:
    return json.dumps(outcome.reason, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _rename_if_there(source: bytes, target: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rename(source, target)

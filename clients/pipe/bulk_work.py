# SPDX-License-Identifier: Apache-2.0
"""The work on shards: by this process, or by tasks of Ray on several machines."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sightline.clients.client import Client
from sightline.clients.pipe.answers import Plan
from sightline.clients.pipe.ask import Asker, PoisonError, StoppedError, Told
from sightline.clients.pipe.bulk_shards import names_of, shard_name
from sightline.clients.pipe.bulk_store import Parts, store_at
from sightline.clients.pipe.formats import Categories, Picture, check_format, payload_of, reason_value
from sightline.clients.pipe.item import NotWholeError
from sightline.clients.pipe.look import checked_size
from sightline.clients.pipe.version import version_of
from sightline.errors import BadInputError, MissingDependencyError

SHARDS_AT_A_TIME = 2


@dataclass(frozen=True)
class BulkSettings:
    """One bulk run. source, destination: folders or addresses of fsspec. server: as the machines that work reach it.

    ray: address of a Ray cluster, 'local' for one on this machine, '' to work in this process.
    """

    source: str
    destination: str
    plan: Plan
    server: str = "localhost"
    protocol: str = "grpc"
    format: str = "json"
    score: float = 0.0
    images_per_shard: int = 1000
    timeout_seconds: float = 30.0
    in_flight: int = 16
    ray: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.images_per_shard <= 1_000_000:
            raise BadInputError(f"images_per_shard is {self.images_per_shard}; it must lie in 1..1000000")
        if not 1 <= self.in_flight <= 1024:
            raise BadInputError(f"in_flight is {self.in_flight}; it must lie in 1..1024")


@dataclass(frozen=True)
class ShardReport:
    """A shard that is done."""

    index: int
    done: int
    poisoned: int


class Worker:
    """Asks about the images of shards and writes their results. Use one a process.

    each: is told of every image whether it was answered, in any thread.
    """

    def __init__(
        self,
        settings: BulkSettings,
        stop: threading.Event,
        tell: Told = lambda _: None,
        each: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._each = each
        self._source = store_at(settings.source)
        self._destination = store_at(settings.destination)
        self._client = Client(
            settings.server,
            protocol=settings.protocol,  # type: ignore[arg-type]
            timeout_seconds=settings.timeout_seconds,
        )
        try:
            self._asker = Asker(self._client, settings.plan, settings.in_flight, stop, tell)
            self._asker.wait_for_server()
            tasks = {model: self._client.task(model) for model in settings.plan.models}
            check_format(settings.format, tasks, bool(settings.plan.chain))
            self._categories = Categories(
                tuple((model, self._client.labels(model)) for model in settings.plan.models)
            )
            for model in settings.plan.all_models:
                version_of(self._client, model)
        except BaseException:
            self._client.close()
            raise
        self._pool = ThreadPoolExecutor(settings.in_flight, thread_name_prefix="sightline-bulk")

    def start(self, index: int) -> Callable[[], ShardReport]:
        """Begin with a shard; the function waits for it and writes its results. Raises OutputError, StoppedError."""
        names = names_of(self._destination, index)
        first = index * self._settings.images_per_shard + 1
        lines: list[Future[tuple[bytes, bool]]] = [
            self._pool.submit(self._line, name, first + position) for position, name in enumerate(names)
        ]

        def finish() -> ShardReport:
            try:
                found = [line.result() for line in lines]
            except BaseException:
                for line in lines:
                    line.cancel()
                raise
            bad = [line for line, is_good in found if not is_good]
            if bad:
                self._destination.write(("poison", shard_name(index)), b"".join(bad))
            self._destination.write(("results", shard_name(index)), b"".join(line for line, _ in found))
            return ShardReport(index, len(found) - len(bad), len(bad))

        return finish

    def close(self) -> None:
        """End the connection; what was not begun is given up."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    def _line(self, name: Parts, number: int) -> tuple[bytes, bool]:
        """The line of one image, and whether it was answered."""
        line, is_good = self._asked(name, number)
        self._each(is_good)
        return line, is_good

    def _asked(self, name: Parts, number: int) -> tuple[bytes, bool]:
        raw = os.fsencode("/".join(name))
        settings = self._settings
        try:
            data = self._source.read(name)
            width, height = checked_size(data)
            answers = tuple(answer.above(settings.score) for answer in self._asker.ask(data))
        except NotWholeError as error:
            return _bad(raw, "BadInputError", str(error)), False
        except BadInputError as error:
            return _bad(raw, type(error).__name__, str(error)), False
        except PoisonError as error:
            return _bad(raw, error.kind, str(error)), False
        picture = Picture(raw, number, width, height, hashlib.sha256(data).hexdigest())
        payload = payload_of(settings.format, picture, answers, self._categories)
        if settings.format == "coco":
            head = {"image": os.fsdecode(raw).encode("utf-8", "backslashreplace").decode("utf-8")}
            head |= {"image_id": number, "width": width, "height": height}  # type: ignore[dict-item]
            text = json.dumps(head)[:-1] + ', "results": ' + payload.decode("utf-8").strip() + "}\n"
            payload = text.encode("utf-8")
        return payload, True


def work_here(
    settings: BulkSettings,
    shards: Iterator[int],
    stop: threading.Event,
    tell: Told,
    each: Callable[[bool], None],
) -> Iterator[ShardReport]:
    """Work on shards in this process, the next one beginning before the last one is done."""
    worker = Worker(settings, stop, tell, each)
    waiting: deque[Callable[[], ShardReport]] = deque()
    try:
        for index in shards:
            waiting.append(worker.start(index))
            if len(waiting) >= SHARDS_AT_A_TIME:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()
    finally:
        worker.close()


def work_on_ray(
    settings: BulkSettings, shards: Iterator[int], stop: threading.Event
) -> Iterator[ShardReport]:
    """Work on shards as tasks of Ray, each on one core of some machine; those of a machine that is lost are done again.

    A shard that two machines worked on has one results file, for its name is the shard's. A connection to Ray that this
    process has already is used.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "the package ray is not installed, which --ray needs; pip install 'sightline[bulk]'"
        ) from error
    address = None if settings.ray == "local" else settings.ray
    is_ours = not ray.is_initialized()
    if is_ours:
        os.environ.setdefault(
            "RAY_USAGE_STATS_ENABLED", "0"
        )  # nothing is told to anybody unless that is wanted
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    task = ray.remote(num_cpus=1, max_retries=3)(_ray_shard)
    try:
        cluster: Any = ray
        most = 2 * max(1, int(cluster.cluster_resources().get("CPU", 1)))
        waiting: list[Any] = []
        for index in shards:
            waiting.append(task.remote(settings, index))
            while len(waiting) >= most:
                yield from _finished(ray, waiting, stop)
        while waiting:
            yield from _finished(ray, waiting, stop)
    finally:
        if is_ours:
            ray.shutdown()


def _finished(ray: Any, waiting: list[Any], stop: threading.Event) -> Iterator[ShardReport]:
    if stop.is_set():
        raise StoppedError
    done, _ = ray.wait(waiting, num_returns=1, timeout=0.5)
    for one in done:
        waiting.remove(one)
        yield ray.get(one)


_workers: dict[BulkSettings, Worker] = {}


def _ray_shard(settings: BulkSettings, index: int) -> ShardReport:
    """A task of Ray; the process keeps its connection for the next one."""
    from sightline.clients.pipe import bulk_work

    workers = bulk_work._workers
    if settings not in workers:
        workers[settings] = Worker(settings, threading.Event())
    return workers[settings].start(index)()


def _bad(name: bytes, kind: str, text: str) -> bytes:
    return json.dumps(reason_value(name, kind, text), ensure_ascii=False).encode("utf-8") + b"\n"

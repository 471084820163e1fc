# SPDX-License-Identifier: Apache-2.0
"""Results into Redis: into a channel, which is lossy, or a stream, where each is added once.

From a stream to a stream of one server the result is added and the entry acknowledged in one script, only while the entry
is still pending. Elsewhere a key beside the result's stream remembers for a week which results it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightline.clients.pipe.addresses import ChannelAddress, StreamAddress
from sightline.clients.pipe.item import Item
from sightline.clients.pipe.redis_link import Link
from sightline.clients.pipe.redis_source import StreamSource

REMEMBERED_SECONDS = 7 * 24 * 3600

_ADD_ONCE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local trim = tonumber(ARGV[2])
if trim > 0 then redis.call('XADD', KEYS[1], 'MAXLEN', '~', trim, '*', unpack(ARGV, 3))
else redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3)) end
redis.call('SET', KEYS[2], '1', 'EX', ARGV[1])
return 1
"""
_ADD_AND_ACKNOWLEDGE = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then return 0 end
local trim = tonumber(ARGV[4])
if trim > 0 then redis.call('XADD', KEYS[2], 'MAXLEN', '~', trim, '*', unpack(ARGV, 5))
else redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5)) end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == 'delete' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return 1
"""


class RedisSink:
    """Results into a channel or stream. source: whose entries are acknowledged in the same script, where that can be."""

    def __init__(
        self, address: ChannelAddress | StreamAddress, link: Link, source: Any, then: str, salt: str
    ) -> None:
        self.address = address
        self.link = link
        self._then = then
        self._salt = salt
        self.acknowledges = (
            isinstance(address, StreamAddress)
            and isinstance(source, StreamSource)
            and source.link.place == link.place
        )
        self._source = source

    def send(self, results: Sequence[tuple[Item, bytes]]) -> None:
        """All in one round trip; those that are there already are left out. Raises StoppedError or OutputError."""
        if results:
            self.link.insist(lambda: self._send(results))

    def _send(self, results: Sequence[tuple[Item, bytes]]) -> bool:
        batch = self.link.redis.pipeline(transaction=False)
        for item, payload in results:
            if isinstance(self.address, ChannelAddress):
                batch.publish(self.address.channel, payload)
            elif self.acknowledges:
                self._add_and_acknowledge(batch, self.address, item, payload)
            else:
                key = f"{{{self.address.stream}}}:sightline:{self._salt}:{item.identity}:{item.name.hex()}"
                fields = self._fields(item, payload)
                batch.eval(
                    _ADD_ONCE, 2, self.address.stream, key, REMEMBERED_SECONDS, self.address.length, *fields
                )
        batch.execute()
        return True

    def _add_and_acknowledge(self, batch: Any, address: StreamAddress, item: Item, payload: bytes) -> None:
        source = self._source.address
        batch.eval(
            _ADD_AND_ACKNOWLEDGE,
            2,
            source.stream,
            address.stream,
            source.group,
            item.receipt,
            self._then,
            address.length,
            *self._fields(item, payload),
        )

    def _fields(self, item: Item, payload: bytes) -> tuple[bytes, ...]:
        entry = item.receipt if isinstance(item.receipt, bytes) else b""
        return (b"name", item.name, b"result", payload, *((b"entry", entry) if entry else ()))

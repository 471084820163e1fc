# SPDX-License-Identifier: Apache-2.0
"""Plays a clip to one client of the asyncio server, over its RTSP connection or over UDP."""

from __future__ import annotations

import asyncio
import random
import secrets
import time

from sightline.clients.rtsp.channels import Channel
from sightline.clients.rtsp.rtp import REPORT_SECONDS, RtpSender
from sightline.perf.cameras.clip_file import NAL_IDR, Clip, nal_type, split_nals
from sightline.perf.cameras.faults import Faults

_CHATTER_SECONDS = 0.2


class Disorder:
    """Loses packets and holds some back until up to LATEST others have passed; `seed` makes it the same each time."""

    LATEST = 5

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._held: list[tuple[int, bytes]] = []
        self._passed = 0

    def let_through(self, packet: bytes, loss: float, reorder: float) -> list[bytes]:
        """What is sent now instead of this packet alone."""
        if self._random.random() < loss:
            return []
        self._passed += 1
        if self._random.random() < reorder:
            self._held.append((self._passed + self._random.randint(1, self.LATEST), packet))
            return []
        due = [held for number, held in self._held if number <= self._passed]
        self._held = [item for item in self._held if item[0] > self._passed]
        return [packet, *due]


class Player:
    """Sends access units at the clip's pace, from the group that is live now, for ever."""

    def __init__(
        self, clip: Clip, faults: Faults, channel: Channel, live_frame: int, seed: int | None = None
    ) -> None:
        self._clip, self._faults, self.channel = clip, faults, channel
        position = live_frame % len(clip)
        self._first = max(key for key in clip.keyframes if key <= position)
        self._waits_for_keyframe = False
        self._disorder = Disorder(seed)
        self.sender = RtpSender()

    async def run(self) -> None:
        start = time.monotonic()
        next_report = start
        number = 0
        while True:
            await asyncio.sleep(start + number / self._clip.frames_per_second - time.monotonic())
            if not self._faults.frozen:
                self._send_picture(number)
            if time.monotonic() >= next_report and (not self._faults.frozen or self._faults.chatter):
                self.channel.send(self.sender.report(), control=True)
                next_report = time.monotonic() + (_CHATTER_SECONDS if self._faults.frozen else REPORT_SECONDS)
            elif self._faults.frozen and self._faults.chatter:
                next_report = min(next_report, time.monotonic() + _CHATTER_SECONDS)
            number += 1

    def _send_picture(self, number: int) -> None:
        nals = split_nals(self._clip.access_units[(self._first + number) % len(self._clip)])
        # A client that does not read loses whole pictures up to the next keyframe, as with a real camera.
        if self.channel.full():
            self._waits_for_keyframe = True
        elif self._waits_for_keyframe and any(nal_type(nal) == NAL_IDR for nal in nals):
            self._waits_for_keyframe = False
        if self._waits_for_keyframe:
            return
        if random.random() < self._faults.garbage:
            nals = [nal[:1] + secrets.token_bytes(len(nal) - 1) for nal in nals]
        seconds = number / self._clip.frames_per_second + self._faults.clock_seconds
        for packet in self.sender.packets(nals, seconds):
            for sent in self._disorder.let_through(packet, self._faults.loss, self._faults.reorder):
                self.channel.send(sent)

# SPDX-License-Identifier: Apache-2.0
"""One who plays a camera: gets whole groups of pictures, and loses some where it is too slow."""

from __future__ import annotations

from collections.abc import Callable

from sightline.clients.annotated.encoder import Encoded
from sightline.clients.rtsp.channels import Channel
from sightline.clients.rtsp.rtp import REPORT_SECONDS, RtpSender


class Viewer:
    """Sends pictures into a channel, from a key frame on. `end` ends the connection. On the server's loop."""

    def __init__(self, channel: Channel, end: Callable[[], None]) -> None:
        self.channel = channel
        self.sender = RtpSender()
        self.lost = 0
        self._end = end
        self._start: float | None = None
        self._waits_for_keyframe = True
        self._next_report = 0.0

    def show(self, picture: Encoded) -> None:
        """Send it; while much waits already it is lost, and all up to the next key frame."""
        if self.channel.full():
            self._waits_for_keyframe = True
        elif picture.keyframe:
            self._waits_for_keyframe = False
        if self._waits_for_keyframe:
            self.lost += self._start is not None
            return
        if self._start is None:
            self._start = picture.seconds
        seconds = picture.seconds - self._start
        for packet in self.sender.packets(list(picture.nals), seconds):
            self.channel.send(packet)
        if seconds >= self._next_report:
            self.channel.send(self.sender.report(), control=True)
            self._next_report = seconds + REPORT_SECONDS

    def end(self) -> None:
        """Say goodbye: the camera's pictures are others from now on, or none."""
        if not self.channel.full():
            self.channel.send(self.sender.goodbye(), control=True)
        self._end()

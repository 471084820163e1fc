# SPDX-License-Identifier: Apache-2.0
"""What can be made to go wrong with one camera of the asyncio server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Faults:
    """Switches that may be set from any thread while the camera plays; the defaults are a healthy camera.

    frozen: no picture is sent, connections stay open. chatter: RTCP reports go on meanwhile, five a second.
    status: DESCRIBE answers this instead of 200, such as 401, 404 or 503.
    stall_describe: DESCRIBE is never answered.
    delay_seconds: each answer of the RTSP dialogue comes this late.
    garbage: share 0..1 of pictures whose NAL units are replaced by random bytes.
    loss: share 0..1 of RTP packets that are not sent. reorder: share of packets that come up to five packets late.
    clock_seconds: what the camera's clock, its RTP timestamps, is ahead (or behind) from now on.
    sdp: what is made of the session description before it is sent; None leaves it true.
    """

    frozen: bool = False
    chatter: bool = False
    status: int | None = None
    stall_describe: bool = False
    delay_seconds: float = 0.0
    garbage: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    clock_seconds: float = 0.0
    sdp: Callable[[str], str] | None = None

# SPDX-License-Identifier: Apache-2.0
"""How far a live camera's pictures lie behind because they are decoded more slowly than they come; no I/O.

What is not read waits in the buffers of both ends, seconds of it, and every picture is as late from then on. Three signs are
asked for together, since timestamps may be wrong and networks pause: the timestamps fall behind the clock, they do not
gain on it, and reading hardly waits. What is left undecoded is read at once, so the way back is over when the
timestamps gain no more.
"""

from __future__ import annotations

import math

BEHIND_SECONDS = 1.0
"""A camera that is further behind than this..."""
PATIENCE_SECONDS = 1.0
"""...and for so long does not gain on it, as it does after a hole in the network, is too much for this machine."""
_GAIN = 0.2  # seconds a second
_CAUGHT_UP_SECONDS = 0.25
_AT_ONCE_SECONDS = 0.005
_AT_ONCE_OF_PERIOD = 0.1
_SATURATED_SHARE, _IDLE_SHARE = 0.4, 0.2
_SMOOTHING = 0.1
_BASE_SECONDS = 30.0


class Backlog:
    """One connection's; to be told of every packet.

    leaves_out: what comes is to be left undecoded, to be at the newest again.
    """

    def __init__(self) -> None:
        self.leaves_out = False
        self._behind = 0.0
        self._at_once = 0.0
        self._last_dts = math.nan
        self._lowest = self._lowest_before = math.inf
        self._lowest_since = -math.inf
        self._mark: tuple[float, float] | None = None

    @property
    def seconds(self) -> float:
        """How long the newest packet waited to be read; 0 where reading waits for packets."""
        return self._behind if self.leaves_out or self._is_saturated else 0.0

    def packet(self, asked: float, now: float, dts_seconds: float) -> None:
        """A packet of this decoding time was asked for at `asked` and came `now`."""
        self._note_read(now - asked, dts_seconds)
        late = now - dts_seconds
        self._behind = late - self._base(now, late)
        if self.leaves_out:
            self._look_for_the_end(now, late)
        elif self._behind <= BEHIND_SECONDS or not self._is_saturated:
            self._mark = None
        elif not self._gains(now, late):
            self.leaves_out, self._mark = True, None

    @property
    def _is_saturated(self) -> bool:
        """Packets lie there already when they are asked for; on a starved machine not even that is read at once always."""
        return self._at_once >= _SATURATED_SHARE

    def _note_read(self, waited: float, dts_seconds: float) -> None:
        period = dts_seconds - self._last_dts
        self._last_dts = dts_seconds
        at_once = waited < max(_AT_ONCE_SECONDS, 0.0 if math.isnan(period) else _AT_ONCE_OF_PERIOD * period)
        self._at_once += (at_once - self._at_once) * _SMOOTHING

    def _base(self, now: float, late: float) -> float:
        """The lowest of the last half to whole minute in which reading waited: the camera's clock drifts against ours."""
        if now - self._lowest_since >= _BASE_SECONDS and self._at_once < _IDLE_SHARE:
            self._lowest_before, self._lowest, self._lowest_since = self._lowest, late, now
        self._lowest = min(self._lowest, late)
        return min(self._lowest, self._lowest_before)

    def _gains(self, now: float, late: float) -> bool:
        """Whether the timestamps gain on the clock; True before PATIENCE_SECONDS are over."""
        if self._mark is None:
            self._mark = (now, late)
        since, before = self._mark
        if now - since < PATIENCE_SECONDS:
            return True
        self._mark = (now, late)
        return before - late >= _GAIN * (now - since)

    def _look_for_the_end(self, now: float, late: float) -> None:
        if self._behind < _CAUGHT_UP_SECONDS:
            self.leaves_out, self._mark = False, None
        elif not self._gains(now, late):  # there was no backlog, or the timestamps have changed
            self.leaves_out, self._mark = False, None
            self._lowest = self._lowest_before = late

# SPDX-License-Identifier: Apache-2.0
"""How far a live camera's pictures lie behind the camera because they are decoded more slowly than they come; no I/O.

What is not read waits in the buffers of both ends, seconds of it, and every picture is as late from then on. Two signs are
asked for together, since a camera's timestamps may run slowly or fast: they fall behind the clock, and reading them hardly
ever waits. The way back is to leave everything undecoded until reading waits again, and to go on at the next key frame.
"""

from __future__ import annotations

import math

BEHIND_SECONDS = 1.0
"""A camera that is further behind than this..."""
PATIENCE_SECONDS = 2.0
"""...for so long does not catch up by itself, as it does after a hole in the network."""
RELAPSE_SECONDS = 60.0
"""So soon after the last time nothing is waited for: this machine is too slow for the camera."""
_CAUGHT_UP_SECONDS = 0.25
_WAITS_IN_A_ROW = 3
_WAITING_SHARE = 0.3
_SMOOTHING = 0.1
_BASE_SECONDS = 30.0
_NO_PERIOD_SECONDS = 0.04


class Backlog:
    """One connection's; to be told of every packet."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._leaves_out = False
        self._has_caught_up = False
        self._last_dts: float | None = None
        self._lowest = self._lowest_before = math.inf
        self._lowest_since = -math.inf
        self._waiting = 1.0
        self._waits = 0
        self._behind_since: float | None = None
        self._left_out_at = -math.inf

    def packet(self, asked: float, now: float, dts_seconds: float) -> None:
        """A packet of this decoding time was asked for at `asked` and came `now`."""
        period = _NO_PERIOD_SECONDS if self._last_dts is None else dts_seconds - self._last_dts
        self._last_dts = dts_seconds
        is_waiting = now - asked > period / 2
        self._waits = self._waits + 1 if is_waiting else 0
        self._waiting += (is_waiting - self._waiting) * _SMOOTHING
        self.seconds = max(0.0, now - dts_seconds - self._base(now, now - dts_seconds))
        if self._leaves_out:
            self._look_for_the_end(now - dts_seconds)
        else:
            self._look_for_the_beginning(now)

    def leaves_out(self, is_keyframe: bool) -> bool:
        """Whether this packet, of which it was told last, is to be left undecoded."""
        if self._leaves_out and is_keyframe and self._has_caught_up:
            self._leaves_out = False
            self._behind_since = None
        return self._leaves_out

    def _base(self, now: float, offset: float) -> float:
        """The lowest of the last half to whole minute: the camera's clock drifts against ours."""
        if now - self._lowest_since >= _BASE_SECONDS and not self._leaves_out:
            self._lowest_before, self._lowest, self._lowest_since = self._lowest, offset, now
        self._lowest = min(self._lowest, offset)
        return min(self._lowest, self._lowest_before)

    def _look_for_the_beginning(self, now: float) -> None:
        if self.seconds <= BEHIND_SECONDS or self._waiting > _WAITING_SHARE:
            self._behind_since = None
            return
        if self._behind_since is None:
            self._behind_since = now
        if now - self._behind_since >= self._patience(now):
            self._leaves_out, self._has_caught_up, self._waits = True, False, 0
            self._left_out_at = now

    def _patience(self, now: float) -> float:
        return 0.0 if now - self._left_out_at < RELAPSE_SECONDS else PATIENCE_SECONDS

    def _look_for_the_end(self, offset: float) -> None:
        if self.seconds < _CAUGHT_UP_SECONDS:
            self._has_caught_up = True
        elif self._waits >= _WAITS_IN_A_ROW:  # nothing is left to be read: the timestamps were wrong
            self._has_caught_up = True
            self._lowest = self._lowest_before = offset

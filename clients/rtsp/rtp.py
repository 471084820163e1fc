# SPDX-License-Identifier: Apache-2.0
"""H.264 over RTP: packetisation mode 1 (RFC 6184) and sender reports (RFC 3550)."""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Iterator

CLOCK_HERTZ = 90_000
PAYLOAD_TYPE = 96
MAX_PAYLOAD_BYTES = 1400
REPORT_SECONDS = 5.0
_NTP_EPOCH_SECONDS = 2_208_988_800
_FU_A = 28
_RTP_VERSION_2 = 0x80
_MARKER = 0x80
_RTCP_SENDER_REPORT, _RTCP_SOURCE_DESCRIPTION, _RTCP_BYE, _SDES_CNAME = 200, 202, 203, 1


def payloads(nal: bytes) -> Iterator[bytes]:
    """RTP payloads of one NAL unit: itself, or fragments FU-A where it is too long (RFC 6184, 5.8)."""
    if len(nal) <= MAX_PAYLOAD_BYTES:
        yield nal
        return
    indicator, kind = (nal[0] & 0xE0) | _FU_A, nal[0] & 0x1F
    step = MAX_PAYLOAD_BYTES - 2
    for start in range(1, len(nal), step):
        first, last = start == 1, start + step >= len(nal)
        yield bytes([indicator, first << 7 | last << 6 | kind]) + nal[start : start + step]


class RtpSender:
    """Numbers the packets of one stream and counts them for its reports."""

    def __init__(self) -> None:
        self.ssrc = secrets.randbits(32)
        self.sequence = secrets.randbits(16)
        self.first_timestamp = secrets.randbits(31)
        self._timestamp = self.first_timestamp
        self._packets = self._bytes = 0

    def packets(self, nals: list[bytes], seconds: float) -> Iterator[bytes]:
        """RTP packets of one access unit, `seconds` after the stream's start; the last has the marker."""
        self._timestamp = (self.first_timestamp + round(seconds * CLOCK_HERTZ)) & 0xFFFFFFFF
        for index, nal in enumerate(nals):
            parts = list(payloads(nal))
            for number, payload in enumerate(parts):
                last = index == len(nals) - 1 and number == len(parts) - 1
                yield self._packet(payload, last)

    def _packet(self, payload: bytes, last: bool) -> bytes:
        kind = PAYLOAD_TYPE | (_MARKER if last else 0)
        head = struct.pack(">BBHII", _RTP_VERSION_2, kind, self.sequence, self._timestamp, self.ssrc)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self._packets += 1
        self._bytes += len(payload)
        return head + payload

    def report(self) -> bytes:
        """Sender report with CNAME: ties the RTP clock to the wall clock (RFC 3550, 6.4.1)."""
        now = time.time() + _NTP_EPOCH_SECONDS
        seconds, fraction = int(now), int((now % 1) * 2**32)
        numbers = (
            seconds & 0xFFFFFFFF,
            fraction,
            self._timestamp,
            self._packets & 0xFFFFFFFF,
            self._bytes & 0xFFFFFFFF,
        )
        report = struct.pack(">BBHI5I", _RTP_VERSION_2, _RTCP_SENDER_REPORT, 6, self.ssrc, *numbers)
        item = bytes([_SDES_CNAME, len(b"camera")]) + b"camera"
        chunk = struct.pack(">I", self.ssrc) + item + bytes(4 - len(item) % 4)
        return (
            report
            + struct.pack(">BBH", _RTP_VERSION_2 | 1, _RTCP_SOURCE_DESCRIPTION, len(chunk) // 4)
            + chunk
        )

    def goodbye(self) -> bytes:
        """A report with BYE: the stream has ended (RFC 3550, 6.6)."""
        return self.report() + struct.pack(">BBHI", _RTP_VERSION_2 | 1, _RTCP_BYE, 1, self.ssrc)

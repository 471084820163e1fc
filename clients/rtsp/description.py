# SPDX-License-Identifier: Apache-2.0
"""The session description (SDP) of one H.264 video."""

from __future__ import annotations

import base64

from sightline.clients.rtsp.rtp import CLOCK_HERTZ, PAYLOAD_TYPE


def session_description(sps: bytes, pps: bytes, frames_per_second: float, title: str) -> str:
    """SDP of a live video with its parameter sets, NAL units without start codes (RFC 6184, 8.2.1)."""
    sets = ",".join(base64.b64encode(nal).decode() for nal in (sps, pps))
    lines = (
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        f"s={title}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HERTZ}",
        f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id={sps[1:4].hex()};"
        f"sprop-parameter-sets={sets}",
        f"a=framerate:{frames_per_second:g}",
        "a=control:track0",
    )
    return "\r\n".join(lines) + "\r\n"

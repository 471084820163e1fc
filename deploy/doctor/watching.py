# SPDX-License-Identifier: Apache-2.0
"""Checks of what watches cameras and shows them."""

from __future__ import annotations

import shutil

from sightline.deploy.doctor.check import Found, command_output, last_line

_GI_PROBE = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); print(Gst.version_string())"
)
_RTSP_PACKAGES = "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good python3-gi"


def rtsp_server() -> Found:
    """GStreamer's RTSP server under Debian's Python: the drawn cameras of the demo and the tests."""
    status, text = command_output(["/usr/bin/python3", "-c", _GI_PROBE])
    if status != 0:
        detail = "drawn cameras come from the small built-in server instead"
        return Found(False, detail, f"apt install {_RTSP_PACKAGES}")
    return Found(True, last_line(text))


def browser() -> Found:
    """Chromium, which the tests of the page drive."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        program = shutil.which(name)
        if program:
            status, text = command_output([program, "--version"])
            if status == 0:
                return Found(True, last_line(text))
            return Found(False, f"{name} does not run: {last_line(text)}", "apt install chromium")
    return Found(False, "the page cannot be tested here", "apt install chromium")


def ffmpeg_program() -> Found:
    """The ffmpeg program: handy for people, not needed (PyAV carries its libraries)."""
    if not shutil.which("ffmpeg"):
        return Found(
            False, "PyAV carries FFmpeg's libraries, the program is for people", "apt install ffmpeg"
        )
    status, text = command_output(["ffmpeg", "-version"])
    first = text.splitlines()[0] if status == 0 and text else f"does not run: {last_line(text)}"
    return Found(status == 0, first, "apt install ffmpeg")

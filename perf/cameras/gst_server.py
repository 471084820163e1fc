# SPDX-License-Identifier: Apache-2.0
"""RTSP server on GStreamer's gst-rtsp-server; run by the system's Python, which owns Debian's bindings.

Needs python3-gi, gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-base and gstreamer1.0-plugins-good only.
The first line of stdin is its configuration (JSON, so that no password stands in argv);
the end of stdin is its order to stop, so it never outlives its starter. Answers one line of JSON on stdout.
With --check it names the Debian packages that are missing and ends.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

CONFIG_LIMIT_BYTES = 1 << 20
SESSION_CLEANUP_SECONDS = 5
_ELEMENTS = {
    "appsrc": "gstreamer1.0-plugins-base",
    "rtph264pay": "gstreamer1.0-plugins-good",
    "udpsink": "gstreamer1.0-plugins-good",
    "rtpbin": "gstreamer1.0-plugins-good",
}


def import_gstreamer() -> tuple[Any, ...]:
    """The modules Gst, GstRtsp, GstRtspServer, GLib, Gio; ImportError names the Debian package."""
    try:
        import gi
    except ImportError as error:
        raise ImportError("python3-gi") from error
    try:
        gi.require_version("Gst", "1.0")
        gi.require_version("GstRtsp", "1.0")
        gi.require_version("GstRtspServer", "1.0")
        from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer
    except (ImportError, ValueError) as error:
        raise ImportError("gir1.2-gst-rtsp-server-1.0") from error
    Gst.init(None)
    return Gst, GstRtsp, GstRtspServer, GLib, Gio


def missing_packages() -> list[str]:
    """Names of the Debian packages without which this server cannot run."""
    try:
        gst = import_gstreamer()[0]
    except ImportError as error:
        return [str(error), *sorted(set(_ELEMENTS.values()))]
    return sorted(
        {package for element, package in _ELEMENTS.items() if gst.ElementFactory.find(element) is None}
    )


class Feeder:
    """Pushes a clip's access units into one pipeline for ever; the sink's clock sets the pace."""

    def __init__(self, gst: Any, clip: Any, appsrc: Any) -> None:
        self._gst, self._clip = gst, clip
        self._sent = 0
        appsrc.connect("need-data", self._push)

    def _push(self, appsrc: Any, _length: int) -> None:
        gst, clip, second = self._gst, self._clip, self._gst.SECOND
        buffer = gst.Buffer.new_wrapped(clip.access_units[self._sent % len(clip)])
        buffer.pts = buffer.dts = self._sent * second // clip.frames_per_second
        buffer.duration = second // clip.frames_per_second
        self._sent += 1
        appsrc.emit("push-buffer", buffer)


def camera_factory(gst: Any, rtsp_server: Any, clip: Any) -> Any:
    """Factory of one shared camera: all its clients see the same pictures."""
    caps = (
        f"video/x-h264,stream-format=byte-stream,alignment=au,width={clip.width},height={clip.height},"
        f"framerate={clip.frames_per_second}/1"
    )
    factory = rtsp_server.RTSPMediaFactory()
    # config-interval=0: the clip carries its own SPS and PPS; repeated ones make FFmpeg see split frames.
    factory.set_launch(
        f"( appsrc name=source is-live=true format=time caps={caps} "
        "! rtph264pay name=pay0 pt=96 config-interval=0 )"
    )
    factory.set_shared(True)
    factory.set_stop_on_disconnect(True)

    def configure(_factory: Any, media: Any) -> None:
        media.feeder = Feeder(gst, clip, media.get_element().get_by_name_recurse_up("source"))

    factory.connect("media-configure", configure)
    return factory


def authenticate(
    config: dict[str, Any], factories: list[Any], gst_rtsp: Any, rtsp_server: Any, gio: Any
) -> Any:
    """RTSPAuth with digest and TLS as configured; None where neither is wanted."""
    if not (config.get("user") or config.get("certificate")):
        return None
    auth = rtsp_server.RTSPAuth()
    if config.get("certificate"):
        auth.set_tls_certificate(gio.TlsCertificate.new_from_file(config["certificate"]))
    token = rtsp_server.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if config.get("user"):
        auth.set_supported_methods(gst_rtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(config["user"], config["password"], token)
    else:
        auth.set_default_token(token)
    for factory in factories:
        permissions = rtsp_server.RTSPPermissions()
        permissions.add_role("viewer")
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    return auth


def serve(config: dict[str, Any]) -> int:
    """Serve until stdin ends. Returns the exit status."""
    from clip_file import read_clip  # type: ignore[import-not-found]  # beside this script, which is run by path

    gst, gst_rtsp, rtsp_server, glib, gio = import_gstreamer()
    clips = [read_clip(Path(path)) for path in config["clips"]]
    server = rtsp_server.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(config["port"]))
    factories = [camera_factory(gst, rtsp_server, clip) for clip in clips]
    mounts = server.get_mount_points()
    for index, factory in enumerate(factories):
        mounts.add_factory(f"/camera/{index}", factory)
    auth = authenticate(config, factories, gst_rtsp, rtsp_server, gio)
    if auth is not None:
        server.set_auth(auth)
    if not server.attach(None):
        print(json.dumps({"error": f"port {config['port']} is in use"}), flush=True)
        return 1

    def clean_sessions() -> bool:
        server.get_session_pool().cleanup()
        return True

    loop = glib.MainLoop()
    glib.timeout_add_seconds(SESSION_CLEANUP_SECONDS, clean_sessions)
    stdin_ends = glib.IOCondition.IN | glib.IOCondition.HUP
    glib.io_add_watch(sys.stdin.fileno(), glib.PRIORITY_DEFAULT, stdin_ends, lambda *_: loop.quit())
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    loop.run()
    return 0


def main() -> int:
    if "--check" in sys.argv[1:]:
        print(json.dumps({"missing": missing_packages()}))
        return 0
    with open(
        sys.stdin.fileno(), "rb", buffering=0, closefd=False
    ) as stdin:  # the loop watches the descriptor itself
        line = stdin.readline(CONFIG_LIMIT_BYTES)
    return serve(json.loads(line))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # streaming threads may hold Python callbacks; nothing is left to be saved

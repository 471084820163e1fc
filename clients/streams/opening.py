# SPDX-License-Identifier: Apache-2.0
"""How FFmpeg opens a source, and what its errors mean in plain words."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.clients.streams.names import Source
from sightline.errors import MissingDependencyError, StreamAuthError, StreamError
from sightline.redact import redact

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel
    from av.container import InputContainer

OPEN_TIMEOUT_SECONDS = 4.0
READ_TIMEOUT_SECONDS = 2.0
NO_DATA = "gave no data in time"
# A playlist may name other files and hosts; these keep FFmpeg at what the person named.
_RTSP_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto"
_HTTP_PROTOCOLS = "http,https,httpproxy,tcp,tls,crypto"
_FILE_FORMATS = "mov,matroska,webm,avi,flv,asf,ogg,mpeg,mpegts,mpegvideo,h264,hevc,mjpeg,ivf,av1,obu,gif"
_HTTP_FORMATS = f"{_FILE_FORMATS},mpjpeg"
_HARDWARE_NODES = {"cuda": "/dev/nvidiactl", "vaapi": "/dev/dri/renderD128"}

_hardware_lock = threading.Lock()
_hardware_tried: dict[str, bool] = {}


def require_av() -> None:
    """Raises MissingDependencyError where PyAV is not installed; to be called before a thread needs it."""
    try:
        import av.error  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"cameras and video files need {error.name or 'av'}; pip install 'sightline[watch]'"
        ) from None


def open_address(source: Source) -> str:
    """What FFmpeg opens; the prefix keeps it from reading a file's name with ':' in it as a protocol."""
    return source.url if source.is_network else f"file:{source.url}"


def open_options(source: Source) -> dict[str, str]:
    """FFmpeg options for a quick first picture; not `fflags=nobuffer`, which loses the first keyframe."""
    if not source.is_network:
        return {"protocol_whitelist": "file", "format_whitelist": _FILE_FORMATS}
    options = {"analyzeduration": "0", "probesize": "32768", **_tls_options(source)}
    if source.kind in ("rtsp", "rtsps"):
        return options | {"rtsp_transport": source.transport, "protocol_whitelist": _RTSP_PROTOCOLS}
    return options | {"protocol_whitelist": _HTTP_PROTOCOLS, "format_whitelist": _HTTP_FORMATS}


def _tls_options(source: Source) -> dict[str, str]:
    """FFmpeg verifies nothing by itself, and knows no certificates."""
    if source.kind not in ("rtsps", "https"):
        return {}
    if not source.tls_verify:
        return {"tls_verify": "0"}
    trusted = source.ca_file or ssl.get_default_verify_paths().cafile
    if trusted is None or not Path(trusted).is_file():
        raise StreamError(
            f"cannot be verified: there is no file of trusted certificates at {trusted}; "
            "name one as ca_file, or set tls_verify: false"
        )
    return {"tls_verify": "1", "ca_file": str(trusted)}


def open_container(source: Source) -> InputContainer:
    """The opened source. Raises what PyAV raises, or StreamError."""
    import av

    arguments: dict[str, Any] = {"options": open_options(source)}
    if source.is_network:
        arguments["timeout"] = (OPEN_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
    if source.hardware == "auto" and (accelerator := hardware_decoder()) is not None:
        arguments["hwaccel"] = accelerator
    container: InputContainer = av.open(open_address(source), **arguments)
    return container


def hardware_decoder() -> HWAccel | None:
    """A decoder of this machine's GPU, which falls back to software by itself; None where there is none that opens.

    A kind of device is tried once in the life of the process.
    """
    from av.codec.hwaccel import HWAccel, hwdevices_available

    for device, node in _HARDWARE_NODES.items():
        if not Path(node).exists() or device not in hwdevices_available():
            continue
        with _hardware_lock:
            if device not in _hardware_tried:
                _hardware_tried[device] = _opens(device)
        if _hardware_tried[device]:
            return HWAccel(device_type=device, allow_software_fallback=True)
    return None


def _opens(device: str) -> bool:
    """Whether the device can be opened; without rights to it FFmpeg fails though software is allowed."""
    from av import Codec
    from av.codec.hwaccel import HWAccel

    try:
        HWAccel(device_type=device, allow_software_fallback=True).create(Codec("h264", "r"))
    except Exception:
        return False
    return True


def reason_of(error: Exception) -> tuple[type[StreamError], str]:
    """Kind and plain words of a foreign error; PyAV's own texts hold the URL with its password."""
    import av.error

    if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        return StreamAuthError, "refuses the user name or password; correct them in its URL"
    if isinstance(error, av.error.HTTPNotFoundError):
        return StreamError, "has no stream of that path; correct the part after the host"
    if isinstance(error, ConnectionRefusedError):
        return StreamError, "cannot be reached: nobody listens at its host and port"
    if isinstance(error, (TimeoutError, av.error.ExitError)):
        return StreamError, NO_DATA
    if isinstance(error, EOFError):
        return StreamError, "ended the stream"
    if isinstance(error, StreamError):
        return type(error), str(error)
    return StreamError, redact(str(getattr(error, "strerror", None) or type(error).__name__))


def stream_error(source: Source, error: Exception) -> StreamError:
    """Our error for a foreign one; its text names the camera and never holds its credentials."""
    kind, reason = reason_of(error)
    return kind(f"camera {source.name!r} ({source.shown}) {reason}")

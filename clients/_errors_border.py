# SPDX-License-Identifier: Apache-2.0
"""The one border where errors of gRPC, tritonclient, aiohttp and the system become ours."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import socket
from dataclasses import dataclass

from sightline.clients._wire import ERROR_PREFIX, STAGES
from sightline.errors import (
    BadInputError,
    Cancelled,
    DeadlineExceeded,
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
    ServerUnavailable,
)

MAX_TEXT_CHARACTERS = 500
OVERLOADED = "is overloaded"
"""Stands in the text of a ServerUnavailable where the server is there, and refused because too much waits."""


class RegionUnknownError(InferenceError):
    """The server has no such shared-memory region: it was started anew."""


class RegionKnownError(InferenceError):
    """The server has a shared-memory region of this name."""


class ResultsRefusedError(InferenceError):
    """The server cannot put its results where they were asked for."""


class RegionBusyError(InferenceError):
    """A request still reads the shared-memory region."""


class RestrictedError(InferenceError):
    """The server wants its token for this call."""


class RegionRefusedError(InferenceError):
    """The server cannot open the region."""


@dataclass(frozen=True)
class Call:
    """What an error text should name."""

    address: str
    protocol: str
    model: str = ""
    timeout_seconds: float = 0.0


# What the server says outranks its status code, which is often INTERNAL or UNAVAILABLE for everything.
SAYINGS: tuple[tuple[str, type[InferenceError]], ...] = (
    ("[bad_image]", BadInputError),
    ("[bad_frame]", BadInputError),
    ("Exceeds maximum queue size", ServerUnavailable),
    ("Request timeout expired", ServerUnavailable),
    ("has no available versions", ServerUnavailable),
    ("is not ready", ServerUnavailable),
    ("is not healthy", ServerUnavailable),
    ("expecting header", RestrictedError),
    ("Unable to find shared memory region", RegionUnknownError),
    ("currently in use", RegionBusyError),
    ("already in manager", RegionKnownError),
    ("shared memory size specified with the request for output", ResultsRefusedError),
    ("unexpected inference output", ResultsRefusedError),
    ("Unable to open shared memory region", RegionRefusedError),
    ("Invalid shared memory region", RegionRefusedError),
    ("unknown model", ModelNotFoundError),
    ("message larger than max", BadInputError),
)

GRPC_CODES: dict[str, type[InferenceError]] = {
    "OK": ProtocolError,
    "CANCELLED": Cancelled,
    "UNKNOWN": InferenceError,
    "INVALID_ARGUMENT": BadInputError,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": ModelNotFoundError,
    "ALREADY_EXISTS": InferenceError,
    "PERMISSION_DENIED": RestrictedError,
    "UNAUTHENTICATED": RestrictedError,
    "RESOURCE_EXHAUSTED": ServerUnavailable,
    "FAILED_PRECONDITION": ProtocolError,
    "ABORTED": ServerUnavailable,
    "OUT_OF_RANGE": BadInputError,
    "UNIMPLEMENTED": ProtocolError,
    "INTERNAL": InferenceError,
    "UNAVAILABLE": ServerUnavailable,
    "DATA_LOSS": ProtocolError,
}

LIBRARY_CODES: dict[str, str] = {
    "Unknown": "UNKNOWN",
    "Internal": "INTERNAL",
    "Not found": "NOT_FOUND",
    "Invalid argument": "INVALID_ARGUMENT",
    "Unavailable": "UNAVAILABLE",
    "Unsupported": "UNIMPLEMENTED",
    "Already exists": "ALREADY_EXISTS",
    "Cancelled": "CANCELLED",
}

HTTP_STATUS_CODES: dict[int, str] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "UNAVAILABLE",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "UNAVAILABLE",
}


def error_from(error: BaseException, call: Call) -> InferenceError:
    """Our error for a foreign one; ours pass unchanged. Its text names what was asked and what to do."""
    if isinstance(error, InferenceError):
        return error
    name = type(error).__name__
    if isinstance(error, (asyncio.TimeoutError, concurrent.futures.TimeoutError, TimeoutError)) or name in (
        "FutureTimeoutError",
    ):
        return _deadline(call)
    if (
        isinstance(error, (asyncio.CancelledError, concurrent.futures.CancelledError))
        or name == "FutureCancelledError"
    ):
        return _cancelled()
    if _is_aiohttp(error) or isinstance(error, OSError):
        return _from_connection(error, call)
    answered = _code_and_text(error)
    if answered is not None:
        return _from_code(*answered, call)
    if isinstance(error, (ValueError, KeyError, TypeError, IndexError, EOFError)):
        return ProtocolError(f"the answer of {call.address} cannot be read: {_short(str(error))}")
    return InferenceError(f"the request to {call.address} failed: {name}: {_short(str(error))}")


def clean_text(text: str, model: str = "") -> str:
    """The server's words without its inner names, stack traces and our prefixes."""
    text = text.split("\n\nAt:")[0].strip()
    text = re.sub(r"\[request id: [^\]]*\]\s*", "", text)
    text = re.sub(r"\bin ensemble '[^']*',?\s*", "", text)
    text = re.sub(r"Failed to process the request\(s\) for model '[^']*',? message: ", "", text)
    text = ERROR_PREFIX.sub("", text)
    base = model.removesuffix("_frames")
    if base:
        stages = "|".join(STAGES)
        text = re.sub(rf"\b{re.escape(base)}(?:_v\d+)?_(?:{stages})(?:_\d+_\d+)?\b", base, text)
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[:MAX_TEXT_CHARACTERS] + "…"


def _code_and_text(error: BaseException) -> tuple[str, str] | None:
    """gRPC's name of the status and the server's words, of the library's, tritonclient's and gRPC's exceptions."""
    word = getattr(error, "code_word", None)
    if isinstance(word, str):
        return (LIBRARY_CODES.get(word, "UNKNOWN"), str(error))
    if callable(getattr(error, "status", None)) and callable(getattr(error, "message", None)):
        status, text = error.status(), error.message()  # type: ignore[attr-defined]
        if status is None:
            return ("INVALID_ARGUMENT", str(text or ""))
        return (_grpc_name(str(status)), str(text or ""))
    if callable(getattr(error, "code", None)) and callable(getattr(error, "details", None)):
        code = error.code()  # type: ignore[attr-defined]
        return (getattr(code, "name", "UNKNOWN"), str(error.details() or ""))  # type: ignore[attr-defined]
    return None


def _grpc_name(status: str) -> str:
    if not status.isdigit():
        return status.removeprefix("StatusCode.")
    number = int(status)
    if number in HTTP_STATUS_CODES:
        return HTTP_STATUS_CODES[number]
    if 400 <= number < 500:
        return "INVALID_ARGUMENT"
    return "INTERNAL" if 500 <= number < 600 else "DATA_LOSS"


def _from_code(code: str, text: str, call: Call) -> InferenceError:
    kind = next((kind for saying, kind in SAYINGS if saying in text), None) or GRPC_CODES.get(
        code, InferenceError
    )
    words = clean_text(text, call.model)
    if kind is DeadlineExceeded:
        return _deadline(call)
    if kind is Cancelled:
        return _cancelled()
    if kind is ServerUnavailable:
        return _unavailable(code, text, words, call)
    if kind is ModelNotFoundError:
        return ModelNotFoundError(f"the server at {call.address} has no model {call.model!r}")
    if kind is RestrictedError:
        return RestrictedError(f"the server at {call.address} wants its token for this call; pass token=…")
    if kind is ProtocolError:
        return ProtocolError(f"{call.address} does not follow the protocol: {words or code}")
    if kind is InferenceError:
        return InferenceError(f"the server at {call.address} failed on this request: {words or code}")
    return kind(words or code)


def _unavailable(code: str, text: str, words: str, call: Call) -> ServerUnavailable:
    if "maximum queue size" in text or "Request timeout expired" in text or code == "RESOURCE_EXHAUSTED":
        return ServerUnavailable(
            f"the server at {call.address} {OVERLOADED} ({words}); send fewer requests at a time"
        )
    if any(part in text for part in ("no available versions", "is not ready")):
        return ServerUnavailable(
            f"model {call.model!r} at {call.address} is not ready; try again in a moment"
        )
    if "is not healthy" in text:
        return ServerUnavailable(f"model {call.model!r} at {call.address} broke down; restart the server")
    if "lookup" in text or "DNS" in text or "resolving" in text:
        return ServerUnavailable(f"host of {call.address!r} is not known; check the address")
    if "failed to connect" in text and "Socket closed" in text:
        return ServerUnavailable(
            f"{call.address} does not speak gRPC; for Triton's HTTP port use protocol='http'"
        )
    if any(part in text for part in ("Socket closed", "reset", "recvmsg", "GOAWAY", "keepalive", "sendmsg")):
        return _lost(call)
    return _absent(call)


def _from_connection(error: BaseException, call: Call) -> InferenceError:
    reason = error.__cause__ or getattr(error, "os_error", None)
    if (
        isinstance(error, socket.gaierror)
        or isinstance(reason, socket.gaierror)
        or "DNS" in type(error).__name__
    ):
        return ServerUnavailable(f"host of {call.address!r} is not known; check the address")
    name = type(error).__name__
    if name in ("ServerDisconnectedError", "ClientPayloadError", "ClientOSError") or isinstance(
        error, (ConnectionResetError, BrokenPipeError, ConnectionAbortedError)
    ):
        return _lost(call)
    if name.startswith("ClientConnector") or isinstance(error, OSError):
        return _absent(call)
    return ProtocolError(
        f"{call.address} does not speak HTTP as Triton does; for its gRPC port use protocol='grpc'"
    )


def _is_aiohttp(error: BaseException) -> bool:
    return any(kind.__module__.startswith("aiohttp") for kind in type(error).__mro__)


def _deadline(call: Call) -> DeadlineExceeded:
    return DeadlineExceeded(f"{call.address} gave no answer within {call.timeout_seconds:g} s")


def _cancelled() -> Cancelled:
    return Cancelled("the request was cancelled")


def _absent(call: Call) -> ServerUnavailable:
    return ServerUnavailable(f"nothing answers at {call.address}; start one with `sightline serve`")


def _lost(call: Call) -> ServerUnavailable:
    return ServerUnavailable(f"the server at {call.address} closed the connection before it answered")

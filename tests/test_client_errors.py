# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - what servers say is quoted in full
"""The border: every status and every foreign exception becomes one of ours, with words that help."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import re
import socket
from typing import Any

import aiohttp
import grpc
import grpc.aio
from tritonclient.utils import InferenceServerException

from sightline.clients._errors_border import (
    GRPC_CODES,
    HTTP_STATUS_CODES,
    SAYINGS,
    Call,
    RegionBusyError,
    RegionUnknownError,
    RestrictedError,
    ResultsRefusedError,
    clean_text,
    error_from,
)
from sightline.errors import (
    BadInputError,
    Cancelled,
    DeadlineExceeded,
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
    ServerUnavailable,
)
from tests.cases import about

CALL = Call("box:8001", "grpc", "street", 2.5)


def triton_error(text: str, status: str | None) -> InferenceServerException:
    return InferenceServerException(text, status)


def rpc_error(code: grpc.StatusCode, text: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=text)


def connector_error(reason: OSError) -> aiohttp.ClientConnectorError:
    key: Any = type("Key", (), {"host": "box", "port": 8000, "ssl": True, "is_ssl": False})()
    return aiohttp.ClientConnectorError(key, reason)


def test_no_status_of_grpc_is_forgotten() -> None:
    assert set(GRPC_CODES) == {code.name for code in grpc.StatusCode}
    assert set(HTTP_STATUS_CODES.values()) <= set(GRPC_CODES)


def test_every_status_of_grpc() -> None:
    for code in list(grpc.StatusCode):
        with about(code):
            for error in (triton_error("words", f"StatusCode.{code.name}"), rpc_error(code, "words")):
                ours = error_from(error, CALL)
                assert type(ours) is GRPC_CODES[code.name]
                assert str(ours)


_STATUSES = [200, 204, 302, 400, 401, 403, 404, 405, 408, 409, 413, 418, 429, 499, *range(500, 512), 599]


def test_every_status_of_http() -> None:
    for status in _STATUSES:
        with about(status):
            ours = error_from(triton_error("words", str(status)), CALL)
            assert isinstance(ours, InferenceError)
            if status in (500, 505):
                assert type(ours) is InferenceError
            if status < 400:
                assert type(ours) is ProtocolError
            if status in (400, 413, 418):
                assert type(ours) is BadInputError
            if status in (502, 503, 504):
                assert type(ours) is ServerUnavailable


# What tritonserver 2.51 and gRPC were heard to say.
HEARD: list[tuple[str, str, type[InferenceError], str]] = [
    ("INVALID_ARGUMENT", "in ensemble 'street', [bad_image] the file is cut off", BadInputError, "^the file is cut off$"),
    ("INTERNAL", "in ensemble 'street_frames', [bad_frame] frame is short", BadInputError, "^frame is short$"),
    ("UNAVAILABLE", "in ensemble 'street', [request id: <id_unknown>] Exceeds maximum queue size", ServerUnavailable, "is overloaded"),
    ("UNAVAILABLE", "Request timeout expired", ServerUnavailable, "is overloaded"),
    ("RESOURCE_EXHAUSTED", "no more", ServerUnavailable, "is overloaded"),
    ("RESOURCE_EXHAUSTED", "Sent message larger than max (9 vs. 4)", BadInputError, "larger than max"),
    ("NOT_FOUND", "Request for unknown model: 'street' is not found", ModelNotFoundError, "no model 'street'"),
    ("NOT_FOUND", "Request for unknown model: 'street' has no available versions", ServerUnavailable, "not ready"),
    ("INTERNAL", "in ensemble 'street', Stub process 'street_decode_0_0' is not healthy.", ServerUnavailable, "broke down"),
    ("INVALID_ARGUMENT", "inference input 'IMAGE' data-type is 'FP32', but model 'street' expects 'UINT8'", BadInputError, "expects 'UINT8'"),
    ("NOT_FOUND", "Unable to find shared memory region: 'x'", RegionUnknownError, ""),
    ("INTERNAL", "shared memory size specified with the request for output 'BOXES' (16 bytes) should be at least 32 bytes", ResultsRefusedError, ""),
    ("INVALID_ARGUMENT", "unexpected inference output 'ERROR' for model 'street_frames'", ResultsRefusedError, ""),
    ("INTERNAL", "Cannot unregister shared memory region 'x', it is currently in use.", RegionBusyError, ""),
    ("UNAVAILABLE", "This protocol is restricted, expecting header 'triton-grpc-protocol-sightline-token'", RestrictedError, "token"),
    ("UNAVAILABLE", "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused", ServerUnavailable, "sightline serve"),
    ("UNAVAILABLE", "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:8000: Socket closed", ServerUnavailable, "protocol='http'"),
    ("UNAVAILABLE", "Socket closed", ServerUnavailable, "closed the connection"),
    ("UNAVAILABLE", "recvmsg:Connection reset by peer", ServerUnavailable, "closed the connection"),
    ("UNAVAILABLE", "errors resolving box:1: [field:hostname lookup error:address lookup failed]", ServerUnavailable, "not known"),
    ("UNAVAILABLE", "DNS resolution failed for box:1", ServerUnavailable, "not known"),
    ("INTERNAL", "Failed to process the request(s) for model 'street_network_0_1', message: ValueError: boom\n\nAt:\n  /a/model.py(3): execute", InferenceError, "failed on this request: ValueError: boom$"),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded, "within 2.5 s"),
    ("CANCELLED", "Locally cancelled by application!", Cancelled, "was cancelled"),
]  # fmt: skip


def test_what_servers_say() -> None:
    for code, text, kind, words in HEARD:
        with about(code, text, kind, words):
            ours = error_from(triton_error(text, f"StatusCode.{code}"), CALL)
            assert type(ours) is kind
            assert re.search(words, str(ours)), str(ours)
            for inner in (
                "_decode",
                "_network",
                "model.py",
                "in ensemble",
                "id_unknown",
                "[bad_",
                "triton-grpc",
            ):
                assert inner not in str(ours)


def test_every_saying_is_heard_in_a_test() -> None:
    unheard = [saying for saying, _ in SAYINGS if not any(saying in text for _, text, _, _ in HEARD)]
    assert set(unheard) <= {
        "is not ready",
        "already in manager",
        "Unable to open shared memory region",
        "Invalid shared memory region",
    }


FOREIGN: list[tuple[BaseException, type[InferenceError]]] = [
    (triton_error("got unexpected numpy array shape", None), BadInputError),
    (triton_error("words", ""), InferenceError),
    (grpc.FutureTimeoutError(), DeadlineExceeded),
    (grpc.FutureCancelledError(), Cancelled),
    (grpc.RpcError(), InferenceError),
    (asyncio.TimeoutError(), DeadlineExceeded),
    (TimeoutError(), DeadlineExceeded),
    (concurrent.futures.TimeoutError(), DeadlineExceeded),
    (asyncio.CancelledError(), Cancelled),
    (concurrent.futures.CancelledError(), Cancelled),
    (connector_error(ConnectionRefusedError(errno.ECONNREFUSED, "refused")), ServerUnavailable),
    (connector_error(socket.gaierror(-2, "Name or service not known")), ServerUnavailable),
    (aiohttp.ServerDisconnectedError(), ServerUnavailable),
    (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), ServerUnavailable),
    (aiohttp.ClientPayloadError("cut off"), ServerUnavailable),
    (aiohttp.ServerTimeoutError(), DeadlineExceeded),
    (aiohttp.InvalidURL("x"), ProtocolError),
    (aiohttp.ClientError("what"), ProtocolError),
    (ConnectionResetError(), ServerUnavailable),
    (BrokenPipeError(), ServerUnavailable),
    (OSError(errno.ENETUNREACH, "unreachable"), ServerUnavailable),
    (ValueError("cannot reshape"), ProtocolError),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ProtocolError),
    (KeyError("outputs"), ProtocolError),
    (TypeError("NoneType"), ProtocolError),
    (RuntimeError("odd"), InferenceError),
]


def test_every_foreign_exception() -> None:
    for foreign, kind in FOREIGN:
        with about(foreign, kind):
            ours = error_from(foreign, CALL)
            assert type(ours) is kind
            assert str(ours)


def test_ours_pass_unchanged() -> None:
    error = BadInputError("x")
    assert error_from(error, CALL) is error


def test_long_texts_are_cut() -> None:
    assert len(clean_text("x" * 100_000)) < 600

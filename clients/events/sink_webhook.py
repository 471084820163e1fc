# SPDX-License-Identifier: Apache-2.0
"""A sink that is a web address: an HTTP POST for each event, signed as standardwebhooks.com says (version 1)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

from sightline.clients.events.event import Event
from sightline.clients.events.settings import WebhookSink
from sightline.clients.events.sink import SinkAway, SinkRefuses, json_text
from sightline.errors import OutputError
from sightline.redact import hide

MAX_ANSWER_BYTES = 64 << 10
_TRIED_AGAIN = (408, 425, 429)
_SECRET_PREFIX = "whsec_"


class WebhookOut:
    """Posts CloudEvents in structured JSON. 2xx is arrived; 4xx other than 408, 425 and 429 is refused; anything else,
    redirects too, is tried again later. `timeout_seconds` is for a whole request, however slowly its bytes come.
    """

    lossy = False
    batch = 20

    def __init__(self, settings: WebhookSink) -> None:
        try:
            parts = urlsplit(settings.url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            raise OutputError("the url of a webhook is wrong; write https://host/path") from None
        if parts.scheme not in ("http", "https") or not self._host:
            raise OutputError(
                f"a webhook speaks {parts.scheme!r}; write https://host/path or http://host/path"
            )
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._user = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            hide(unquote(parts.password or ""))
            self._user = "Basic " + base64.b64encode(pair.encode()).decode()
        self._key = _signing_key(settings.secret)
        self._timeout_seconds = settings.timeout_seconds
        self._tls = _trust(settings) if parts.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._fresh = True

    def open(self) -> None:
        """Connect. Raises SinkAway."""
        self.close()
        if self._tls is not None:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_seconds, context=self._tls
            )
        else:
            self._connection = http.client.HTTPConnection(
                self._host, self._port, timeout=self._timeout_seconds
            )
        try:
            self._connection.connect()
        except (OSError, http.client.HTTPException) as error:
            raise SinkAway(f"webhook: {_reason(error)}") from None
        self._fresh = True

    def send(self, events: Sequence[Event]) -> None:
        """Post the events one after the other. Raises SinkAway, SinkRefuses."""
        for number, event in enumerate(events):
            status, wait_seconds = self._post(event, number)
            if 200 <= status < 300:
                continue
            if 400 <= status < 500 and status not in _TRIED_AGAIN:
                raise SinkRefuses(f"webhook: answered {status}", done=number)
            raise SinkAway(f"webhook: answered {status}", done=number, after_seconds=wait_seconds)

    def _post(self, event: Event, done: int) -> tuple[int, float | None]:
        body = json_text(event).encode()
        headers = self._headers(event, body)
        try:
            return self._exchange(body, headers)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            again = not self._fresh and isinstance(
                error, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
            )
            if not again:
                raise SinkAway(f"webhook: {_reason(error)}", done=done) from None
        try:  # a connection that was kept open may be closed by the other side at any time
            self.open()
            return self._exchange(body, headers)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise SinkAway(f"webhook: {_reason(error)}", done=done) from None
        except SinkAway as error:
            raise SinkAway(str(error), done=done) from None

    def _exchange(self, body: bytes, headers: dict[str, str]) -> tuple[int, float | None]:
        connection = self._connection
        if connection is None:
            raise SinkAway("webhook: not connected")
        if connection.sock is None:  # the other side had asked to close it
            self.open()
            connection = self._connection or connection
        with _until(connection.sock, self._timeout_seconds):
            connection.request("POST", self._target, body, headers)
            answer = connection.getresponse()
            answer.read(MAX_ANSWER_BYTES)
            if not answer.isclosed():
                connection.close()  # more than we want to know
            self._fresh = False
            return answer.status, _retry_after(answer.getheader("Retry-After"))

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        moment = str(int(time.time()))
        headers = {
            "Content-Type": "application/cloudevents+json; charset=UTF-8",
            "User-Agent": "sightline",
            "webhook-id": webhook_id(event),
            "webhook-timestamp": moment,
        }
        if self._key:
            headers["webhook-signature"] = signature(self._key, webhook_id(event), moment, body)
        if self._user:
            headers["Authorization"] = self._user
        return headers

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def interrupt(self) -> None:
        """Break the connection under the feet of a send()."""
        connection = self._connection
        if connection is not None:
            _shut(connection.sock)


def webhook_id(event: Event) -> str:
    """The same for the same event, whatever is sent twice."""
    digest = hashlib.sha256(f"{event.source}\0{event.id}".encode("utf-8", "surrogatepass"))
    return f"evt_{digest.hexdigest()[:32]}"


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Value of the webhook-signature header: HMAC-SHA256 over "id.timestamp.body"."""
    mac = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def _signing_key(secret: str) -> bytes:
    hide(secret)
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise OutputError("the secret of a webhook is not base64 after whsec_; copy it anew") from None


def _trust(settings: WebhookSink) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise OutputError(f"the certificates {settings.ca_file} cannot be read: {error}") from None
    return context


@contextmanager
def _until(sock: socket.socket, seconds: float) -> Iterator[None]:
    """Break the connection after so many seconds; a socket's own timeout begins anew with each byte."""
    watchdog = threading.Timer(seconds, _shut, (sock,))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _shut(sock: socket.socket | None) -> None:
    if sock is not None:
        with contextlib.suppress(Exception):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS's own, which would wait


def _retry_after(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__

# SPDX-License-Identifier: Apache-2.0
"""No password comes back: not from redact(), not from what is shown of a source, not from an error's text."""

from __future__ import annotations

import random
import string
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from sightline import redact as redact_module
from sightline.clients.streams.names import parse_sources
from sightline.errors import StreamError
from sightline.redact import hide, hide_credentials, redact
from tests.cases import about

CANARY = "cAnArY"
SCHEMES = [
    "rtsp://",
    "rtsps://",
    "RTSP://",
    "http://",
    "https://",
    "ftp://",
    "rtps://",
    "rtsp:/",
    "rtsp//",
    "",
]
ODD = string.ascii_letters + string.digits + string.punctuation.replace("@", "") + "@@@äß漢😀"
FIELDS = [
    "password",
    "pwd",
    "token",
    "api_key",
    "apikey",
    "access_token",
    "sig",
    "signature",
    "X-Amz-Signature",
]


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hidden here is not hidden in the tests that follow."""
    monkeypatch.setattr(redact_module, "_secrets", frozenset())


def secret(pick: random.Random, letters: str = ODD) -> str:
    """A password with a canary at both ends and odd characters between and around them."""
    parts = ["".join(pick.choices(letters, k=pick.randint(0, 6))) for _ in range(3)]
    return f"{parts[0]}{CANARY}{parts[1]}{CANARY}{parts[2]}"


def canary_urls(count: int, *, spaces: bool) -> Iterator[str]:
    pick = random.Random(20)
    letters = ODD + ("   " if spaces else "")
    for _ in range(count):
        user = "".join(pick.choices(string.ascii_letters + string.digits, k=pick.randint(0, 8)))
        password = secret(pick, letters)
        if pick.random() < 0.2:
            password = quote(password, safe="")
        url = f"{pick.choice(SCHEMES)}{user}:{password}@{pick.choice(['h', '10.0.0.7:554', '[::1]:8554'])}"
        url += pick.choice(["", "/", "/1", "/live/yard", "/user=a&password=" + quote(secret(pick), safe="")])
        if pick.random() < 0.4:
            url += (
                f"?channel=1&{pick.choice(FIELDS)}={quote(secret(pick), safe=pick.choice(['', '@/?;']))}&x=1"
            )
        yield url


@pytest.mark.parametrize("spaces", [False, True])
def test_no_canary_comes_back(spaces: bool) -> None:
    """400 addresses; those without scheme are known to redact() once they were parsed."""
    seen: set[str] = set()
    for number, url in enumerate(canary_urls(400, spaces=spaces)):
        if "://" in url[:9] or not spaces:
            assert CANARY not in redact(url), url
            assert CANARY not in redact(f"error: camera 'door' ({url}) refuses"), url
        for text in (url, f"door={url}"):
            try:
                source = parse_sources([text])[0]
            except StreamError as error:
                told = str(error)
                seen.add("error")
            else:
                told = source.shown + source.name + repr(source)
                seen.add("source")
            assert CANARY not in told, (url, told)
        assert CANARY not in redact(url) + redact(f"x {url!r} y"), url
        if number % 50 == 0:
            redact_module._secrets = frozenset()
    assert seen == {"error", "source"}


_HIDDEN = [
    ('rtsp://user:pa"ss@h/1', "rtsp://***@h/1"),
    ("rtsp://user:pa ss@h/1", "rtsp://***@h/1"),
    ("rtsp://user:<p>@h/1", "rtsp://***@h/1"),
    ("user:secret@host/1", "***@host/1"),
    ("(rtsp://u:p@h/1) and (rtsp://v:q@h/2)", "(rtsp://***@h/1) and (rtsp://***@h/2)"),
    ("https://h/1?api_key=abc&x=1", "https://h/1?api_key=***&x=1"),
    ("rtsp://h/user=admin_password=tlJ_channel=1.sdp", "rtsp://h/user=***"),
    ("Authorization: Basic abc", "Authorization: ***"),
    ("rtsp://h/1 at 12:30:01, keyframe=9, monkey=2", "rtsp://h/1 at 12:30:01, keyframe=9, monkey=2"),
    ("photo@2x.jpg is no image", "photo@2x.jpg is no image"),
]


def test_what_is_hidden_and_what_is_not() -> None:
    for text, expected in _HIDDEN:
        with about(text, expected):
            assert redact(text) == expected
            assert redact(redact(text)) == expected


def test_hidden_texts_are_replaced_in_each_form() -> None:
    hide_credentials("rtsp://u:p%20w%22d'x@h/1?sig=a%2Bb")
    for form in ("p%20w%22d'x", "p w\"d'x", "a%2Bb", "a+b", repr("p w\"d'x")[1:-1]):
        assert redact(f"the camera said {form}!") == "the camera said ***!"


def test_short_texts_are_not_hidden_and_long_ones_whole() -> None:
    for text in ("", "ab", "abc", "abcdef"):
        hide(text)
    assert redact("ab abc abcdef") == "ab *** ***"


def test_hiding_from_many_threads_loses_nothing() -> None:
    threads = [
        threading.Thread(target=lambda k=k: [hide(f"secret-{k}-{n}") for n in range(50)]) for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(redact_module._secrets) == 8 * 50


@pytest.mark.parametrize(
    "text",
    [
        "user:secret@host/1",
        "secret@host/1",
        "rtsp://u:se\ncret@h/1",
        "rtsp://u:secret\x00@h",
        "u:a://secret@h",
    ],
)
def test_a_wrong_source_does_not_come_back(text: str) -> None:
    with pytest.raises(StreamError) as caught:
        parse_sources([text])
    assert "secret" not in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "://" * 100_000,
        "@" + "://" * 100_000,
        "a:" * 100_000,
        "@" + "a:" * 100_000,
        "x" * 200_000 + "@",
        " key=" * 100_000,
    ],
)
def test_long_hostile_lines_take_no_time(text: str) -> None:
    """In quadratic time each would take minutes."""
    started = time.process_time()
    redact(text)
    assert time.process_time() - started < 20

# SPDX-License-Identifier: Apache-2.0
"""Second stages and identities: crops that are sent, answers that come late, wrongly or not at all."""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from sightline.clients.analytics.camera import CameraAnalytics
from sightline.clients.analytics.crops import crop
from sightline.clients.analytics.identities import Identities
from sightline.clients.analytics.settings import Analytics
from sightline.clients.analytics.stages import MAX_UNDER_WAY
from sightline.errors import ServerUnavailable
from sightline.frame import Frame, PixelFormat
from sightline.results import Classification, Embedding
from tests.analytics_parts import Time, across, box_at, stream_frame, stream_result, walk


class Server:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Frame, Future[Any]]] = []

    def __call__(self, model: str, picture: Frame) -> Future[Any]:
        future: Future[Any] = Future()
        self.asked.append((model, picture, future))
        return future


def classified(label: str, score: float) -> Classification:
    return Classification(np.array([score], np.float32), np.zeros(1, np.int32), (label,))


HELMET = {"name": "helmet", "model": "helmets", "every_seconds": 1.0, "margin": 0.1}


def test_a_second_stage_says_what_it_sees() -> None:
    server = Server()
    rule = {"name": "bare", "kind": "attribute", "stage": "helmet", "values": ["none"]}
    settings_ = Analytics.model_validate({"stages": [HELMET], "rules": [rule]})
    analytics = CameraAnalytics("gate", settings_, ask=server, rate=10.0, now=Time())
    walk(analytics, across, 5)
    [(model, picture, future)] = server.asked  # the next question waits for the answer
    assert (model, picture.pixel_format) == ("helmets", PixelFormat.I420)
    assert (picture.width, picture.height) == (
        46,
        120,
    )  # from x = -20 - 6 to 40 + 6, cut off at 0; y from 90 to 210
    future.set_result(classified("none", 0.8))
    results = walk(analytics, across, 10, start=5)
    assert results[0].objects[0].attributes == {"helmet": "none"}
    [event] = [event for result in results for event in result.events]
    assert (event.type, event.data["value"], event.data["value_score"]) == (
        "sightline.attribute",
        "none",
        0.8,
    )
    assert event.data["attributes"] == {"helmet": "none"}
    assert len(server.asked) == 2  # at 0.0 and at 1.0


def test_few_questions_are_under_way_and_the_newest_picture_is_asked_about() -> None:
    server = Server()
    analytics = CameraAnalytics(
        "gate", Analytics.model_validate({"stages": [HELMET]}), ask=server, rate=10.0, now=Time()
    )
    places = [box_at(60.0 + 90 * i, 300.0) for i in range(6)]
    walk(analytics, lambda n: places, 3)
    assert len(server.asked) == MAX_UNDER_WAY
    server.asked[0][2].set_result(classified("worn", 0.9))
    server.asked[1][2].set_exception(ServerUnavailable("away"))
    source = stream_frame(3, 0.3, data=np.full(640 * 540, 77, np.uint8))
    analytics.observe(stream_result(source, *places))
    assert len(server.asked) == MAX_UNDER_WAY + 2
    assert server.asked[-1][1].data.max() == 77
    figures = analytics.figures()
    assert (figures.asked, figures.answered, figures.failed) == (6, 1, 1)
    assert figures.last_error == "away"
    walk(analytics, lambda n: places, 400, start=4)  # 40 s without answers: given up, and asked again
    figures = analytics.figures()
    assert figures.asked == figures.answered + figures.failed + MAX_UNDER_WAY
    analytics.close()
    assert all(future.cancelled() or future.done() for _, _, future in server.asked)


def test_a_model_that_is_away_is_counted_and_raises_nothing() -> None:
    def ask(model: str, picture: Frame) -> Future[Any]:
        raise ServerUnavailable("nobody answers")

    analytics = CameraAnalytics("gate", Analytics.model_validate({"stages": [HELMET]}), ask=ask, now=Time())
    results = walk(analytics, across, 31)
    assert all(result.objects[0].attributes == {} for result in results)
    figures = analytics.figures()
    assert (figures.asked, figures.failed, figures.failures) == (4, 4, 0)  # once a second


def test_an_answer_about_somebody_who_is_gone_goes_nowhere() -> None:
    server = Server()
    analytics = CameraAnalytics(
        "gate", Analytics.model_validate({"stages": [HELMET]}), ask=server, rate=10.0, now=Time()
    )
    walk(analytics, across, 3)
    walk(analytics, lambda n: [], 20, start=3)
    server.asked[0][2].set_result(classified("none", 0.8))
    results = walk(analytics, lambda n: [box_at(500.0, 200.0)], 3, start=23)
    assert all(info.attributes == {} for result in results for info in result.objects)
    assert analytics.figures().answered == 1


def test_who_walks_from_one_camera_to_the_next_keeps_an_identity() -> None:
    identities, server = Identities(), Server()
    settings_ = Analytics.model_validate({"identity": {"model": "people", "min_cosine": 0.8}})

    def seen(name: str, vector: list[float]) -> list[str | None]:
        analytics = CameraAnalytics(name, settings_, ask=server, identities=identities, rate=10.0, now=Time())
        walk(analytics, across, 2)
        server.asked[-1][2].set_result(Embedding(np.array(vector, np.float32)))
        results = walk(analytics, across, 3, start=2)
        analytics.close()
        return [info.identity for result in results for info in result.objects]

    assert seen("gate", [1.0, 0.1, 0.0]) == ["p-1"] * 3
    assert seen("yard", [0.0, 1.0, 0.0]) == ["p-2"] * 3
    assert seen("hall", [0.98, 0.15, 0.0]) == ["p-1"] * 3


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
@pytest.mark.parametrize("size", [(16, 12), (17, 13)])
def test_a_crop_is_what_the_picture_shows_there(pixel_format: PixelFormat, size: tuple[int, int]) -> None:
    source = stream_frame(0, 0.0, size=size, pixel_format=pixel_format).frame
    source.data[:] = np.random.default_rng(1).integers(0, 255, len(source.data))
    cut = crop(source, (4.0, 2.0, 9.5, 20.0))
    assert cut is not None
    assert (cut.width, cut.height, cut.pixel_format) == (6, size[1] - 2, pixel_format)
    width, height = size
    if pixel_format in (PixelFormat.RGB, PixelFormat.BGR):
        expected = source.data.reshape(height, width, 3)[2:, 4:10].reshape(-1)
        assert np.array_equal(cut.data, expected)
        return
    luma = source.data[: width * height].reshape(height, width)[2:, 4:10]
    assert np.array_equal(cut.data[: luma.size], luma.reshape(-1))
    half = ((height + 1) // 2, (width + 1) // 2)
    chroma = source.data[width * height :]
    planes = (
        chroma.reshape(2, *half)
        if pixel_format is PixelFormat.I420
        else chroma.reshape(*half, 2).transpose(2, 0, 1)
    )
    part = planes[:, 1:, 2:5]
    flat = part if pixel_format is PixelFormat.I420 else part.transpose(1, 2, 0)
    assert np.array_equal(cut.data[luma.size :], flat.reshape(-1))


@pytest.mark.parametrize(
    "box", [(50.0, 2.0, 60.0, 9.0), (9.0, 2.0, 4.0, 9.0), (math.nan, 2.0, 9.0, 9.0), (math.inf,) * 4]
)
def test_there_is_no_crop_of_nothing(box: Any) -> None:
    assert crop(stream_frame(0, 0.0, size=(16, 12)).frame, box) is None

# SPDX-License-Identifier: Apache-2.0
"""Every head and task of the native post-processing in a real tritonserver: the bits of the core, picture by picture."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from sightline.deploy import LocalServer
from sightline.preprocess_ext import rle_area
from tests.backend_answers import answers_of
from tests.backend_tasks import (
    BAD_ITEM,
    CASES,
    NAN_ITEM,
    RESIZES,
    add_stages,
    geometries,
    has_masks,
    inputs_of,
    outputs_of,
)
from tests.cases import about
from tests.test_backend import PATIENT, equal, infer


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.InferenceServerClient]:
    folder = tmp_path_factory.mktemp("tasks")
    repository = folder / "repository"
    add_stages(repository)
    with LocalServer(repository, log_dir=folder / "log", restart_policy=PATIENT) as server:
        connection = triton.InferenceServerClient(server.grpc_address)
        yield connection
        connection.close()
        assert (server.state, server.restarts) == ("ready", 0), "no test may bring it down"
        server.kill()  # draining is tested elsewhere
    shutil.rmtree(repository)


@pytest.mark.parametrize("name", CASES)
def test_stage_has_the_bits_of_the_core(client: Any, name: str) -> None:
    for resize in RESIZES:
        with about(resize):
            case = CASES[name]
            geometry = geometries(resize)
            raw = outputs_of(case, seed=len(name) + len(resize))
            wanted = answers_of(case, raw, geometry)
            found = infer(client, name, inputs_of(raw, geometry))
            assert sorted(found) == sorted(wanted)
            for text in {"MASKS", "ERROR"} & set(wanted):
                assert found.pop(text).tolist() == wanted.pop(text).tolist()
            equal(found, wanted)
            if "COUNT" in wanted:
                assert wanted["COUNT"][:2].min() > 1, "the random outputs must look like objects"
                assert wanted["COUNT"][BAD_ITEM] == -1
                assert wanted["COUNT"][NAN_ITEM] in (0, -1)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if has_masks(case)])
def test_masks_are_not_empty(client: Any, name: str) -> None:
    geometry = geometries("centre_crop")
    found = infer(client, name, inputs_of(outputs_of(CASES[name], 1), geometry))
    width, height = geometry[0, 1:3].astype(int).tolist()
    areas = [rle_area(text, width, height) for text in found["MASKS"][0, : found["COUNT"][0, 0]]]
    assert sum(area > 20 for area in areas) > len(areas) // 2, areas


def test_a_picture_alone_is_answered_as_among_others(client: Any) -> None:
    """Also the one whose numbers are NaN, and the one that could not be used."""
    for name in CASES:
        with about(name):
            geometry = geometries("letterbox")
            raw = outputs_of(CASES[name], seed=3)
            together = infer(client, name, inputs_of(raw, geometry))
            for index in range(len(geometry)):
                part = slice(index, index + 1)
                alone = infer(client, name, inputs_of([one[part] for one in raw], geometry[part]))
                for tensor, array in alone.items():
                    cut = tuple(slice(0, size) for size in array.shape[1:])
                    assert (together[tensor][part][(slice(None), *cut)] == array).all(), (tensor, index)


@pytest.mark.parametrize("name", ["yolov8_masks", "efficient_nms", "classify", "semantic", "embed"])
def test_what_the_first_stage_said_is_passed_on(client: Any, name: str) -> None:
    geometry, raw = geometries("stretch"), outputs_of(CASES[name], seed=5)
    said = np.array([[b""], ["\N{SNOWMAN}".encode() * 200], [b""], [b"[bad_image] cut off"]], object)
    wanted = answers_of(CASES[name], raw, geometry)["ERROR"]
    wanted[1] = said[1, 0][: 170 * 3]  # a text has room for 511 bytes, and is cut between two characters
    wanted[BAD_ITEM] = said[BAD_ITEM]
    found = infer(client, name, {**inputs_of(raw, geometry), "ERROR": said}, ["ERROR"])
    assert found["ERROR"].tolist() == wanted.tolist()

# SPDX-License-Identifier: Apache-2.0
"""`sightline infer` against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sightline.cli import app
from sightline.clients.draw import class_colour
from sightline.deploy import LocalServer
from tests.red_models import BOX, encoded, picture, write_repository


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A real tritonserver with the detector of pure red."""
    repository = write_repository(tmp_path_factory.mktemp("red"))
    with LocalServer(repository, log_dir=tmp_path_factory.mktemp("log")) as server:
        yield server
        server.kill()  # draining is tested elsewhere


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(picture()))
    (folder / "b.webp").write_bytes(encoded(picture(), "WEBP"))
    (folder / "c.jpg").write_bytes(b"broken")
    (folder / "notes.txt").write_text("no picture")
    return folder


def run(server: LocalServer, *arguments: object, model: str = "red") -> Result:
    command = ["infer", "--server", server.grpc_address, "--model", model, *map(str, arguments)]
    return CliRunner().invoke(app, command)


def test_table(red: LocalServer, photos: Path) -> None:
    result = run(red, photos / "a.png")
    assert result.exit_code == 0, result.output
    assert "75%" in result.stdout
    x1, y1, x2, y2 = BOX
    row = next(line.split() for line in result.stdout.splitlines() if "75%" in line)
    assert row[1] == "red"
    assert [float(v) for v in row[-4:]] == [x1, y1, x2 - x1, y2 - y1]


def test_json_and_a_bad_image_among_good_ones(red: LocalServer, photos: Path) -> None:
    result = run(red, photos, "--json")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["image"]).name for line in lines] == ["a.png", "b.webp", "c.jpg"]
    for line in lines[:2]:
        assert line["detections"] == [{"label": "red", "class_id": 1, "score": 0.75, "box": list(BOX)}]
    assert lines[2]["kind"] == "BadInputError"


def test_errors_go_to_standard_error(red: LocalServer, photos: Path) -> None:
    result = run(red, photos, "/no/such.jpg")
    assert result.exit_code == 1
    assert "c.jpg: this is no JPEG" in result.stderr.replace("\n", " ")
    assert "/no/such.jpg: cannot be read" in result.stderr
    assert "2 of 4 images answered" in result.stdout


def test_draw_writes_copies(red: LocalServer, photos: Path, tmp_path: Path) -> None:
    result = run(red, photos / "a.png", photos / "b.webp", "--draw", tmp_path / "drawn")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["a.png", "b.png"]
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "a.png"))
    assert drawn.shape == picture().shape
    assert tuple(drawn[int(BOX[3]) - 1, 350]) == class_colour(1)


def test_draw_never_overwrites_an_image(red: LocalServer, photos: Path) -> None:
    before = (photos / "a.png").read_bytes()
    result = run(red, photos / "a.png", "--draw", photos)
    assert result.exit_code == 0, result.output
    assert (photos / "a.png").read_bytes() == before
    assert (photos / "a-2.png").exists()


def test_draw_into_a_folder_that_cannot_be(red: LocalServer, photos: Path) -> None:
    result = run(red, photos / "a.png", "--draw", photos / "a.png" / "x")
    assert result.exit_code == 1
    assert "cannot be made" in str(result.exception)


def test_score(red: LocalServer, photos: Path) -> None:
    result = run(red, photos / "a.png", "--score", "0.8")
    assert result.exit_code == 0
    assert "nothing found" in result.stdout


def test_http(red: LocalServer, photos: Path) -> None:
    command = ["infer", "--server", red.http_address, "--protocol", "http", "--model", "red", "--json"]
    result = CliRunner().invoke(app, [*command, str(photos / "a.png")])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["detections"][0]["label"] == "red"


def test_unknown_model_and_absent_server_end_at_once(red: LocalServer, photos: Path, free_port: int) -> None:
    assert "it has red" in str(run(red, photos, model="absent").exception)
    result = CliRunner().invoke(app, ["infer", str(photos), "--server", f"localhost:{free_port}"])
    assert "sightline serve" in str(result.exception)


def test_folder_without_images(red: LocalServer, tmp_path: Path) -> None:
    result = run(red, tmp_path)
    assert result.exit_code == 1
    assert "has no file that ends in .jpg" in str(result.exception)


def test_help_has_examples() -> None:
    result = CliRunner().invoke(app, ["infer", "--help"])
    assert result.exit_code == 0
    assert "sightline infer photo.jpg" in result.stdout

# SPDX-License-Identifier: Apache-2.0
"""A user's own training data, good and bad: each mistake is named with what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.builders.train.coco import CocoScenes
from sightline.builders.train.own import (
    MapScenes,
    class_folders,
    fitted_map,
    labelled,
    split_identities,
    split_scenes,
    split_within,
)
from sightline.builders.train.pictures import letterbox, read_image
from sightline.errors import BadInputError
from tests.needs import needs

needs("torch")

pytestmark = pytest.mark.train
SIZE = (96, 64)


def _save(path: Path, width: int = 60, height: int = 40, level: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), level, np.uint8)).save(path)
    return path


def _folders(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        for i in range(count):
            _save(root / name / f"{i}.png", level=20 + 10 * i)
    return root


def _coco(folder: Path, **changes: Any) -> Path:
    """A COCO file of two pictures: a square outline, run lengths as numbers, and a crowd."""
    for name in ("a.png", "b.png"):
        _save(folder / name)
    runs = [60 * 40 - 400, 400]
    content: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
        "categories": [{"id": 30, "name": "box"}, {"id": 4, "name": "can"}],
        "annotations": [
            {"image_id": 7, "category_id": 30, "bbox": [10, 10, 20, 20],
             "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]},
            {"image_id": 9, "category_id": 4, "bbox": [50, 0, 10, 40],
             "segmentation": {"size": [40, 60], "counts": runs}},
            {"image_id": 9, "category_id": 4, "bbox": [0, 0, 20, 20], "iscrowd": 1},
        ],
    }  # fmt: skip
    content.update(changes)
    path = folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


def test_class_folders_are_numbered_by_name_and_split_by_class(tmp_path: Path) -> None:
    data = class_folders(_folders(tmp_path, {"cat": 6, "ant": 4}))
    assert data.classes == ("ant", "cat")
    assert data.kinds.tolist() == [0] * 4 + [1] * 6
    train, held_out = split_within(data, 0.2, 1)
    assert sorted([*train, *held_out]) == list(range(10))
    assert set(data.kinds[held_out].tolist()) == {0, 1} == set(data.kinds[train].tolist())
    assert [a.tolist() for a in split_within(data, 0.2, 1)] == [train.tolist(), held_out.tolist()]
    pictures = labelled(data, held_out, (32, 16), "stretch").pictures
    assert pictures[0].shape == (16, 32, 3)


def test_identities_are_held_out_whole(tmp_path: Path) -> None:
    data = class_folders(_folders(tmp_path, dict.fromkeys("abcdefgh", 2)))
    train, held_out = split_identities(data, 0.25, 3)
    assert not set(data.kinds[train].tolist()) & set(data.kinds[held_out].tolist())
    kinds = labelled(data, train, (32, 32), "letterbox", renumber=True).kinds
    assert sorted(set(kinds.tolist())) == list(range(len(set(data.kinds[train].tolist()))))
    with pytest.raises(BadInputError, match="3 identities; at least 4"):
        split_identities(class_folders(_folders(tmp_path / "few", {"a": 2, "b": 2, "c": 2})), 0.2, 1)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "0 subfolders; it needs at least two"),
        ({"one": 3}, "1 subfolders"),
        ({"a": 3, "b": 1}, "b has 1 pictures"),
    ],
)
def test_folders_that_are_no_classes_are_refused(
    tmp_path: Path, counts: dict[str, int], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        class_folders(_folders(tmp_path, counts))


def test_a_folder_that_is_not_there_and_a_file_that_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"--data is .*nothing, which is no folder"):
        class_folders(tmp_path / "nothing")
    broken = tmp_path / "x.png"
    broken.write_bytes(b"\x89PNG not really")
    with pytest.raises(BadInputError, match=r"x\.png is no image that can be read"):
        read_image(broken)


def test_coco_boxes_and_masks_follow_the_letterbox(tmp_path: Path) -> None:
    data = CocoScenes(_coco(tmp_path), tmp_path, SIZE, masks=True)
    assert data.classes == ("can", "box")
    first, second = data.sample(0), data.sample(1)
    # 60x40 in 96x64: scale 1.6, no padding
    assert first.found.tolist() == [[1.0, 16.0, 16.0, 48.0, 48.0, 1.0]]
    assert first.owners is not None
    rows, cols = np.nonzero(first.owners)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (16, 48, 16, 48)
    assert second.found[:, 0].tolist() == [0.0]
    assert second.hidden.tolist() == [[0.0, 0.0, 32.0, 32.0]]
    assert second.owners is not None
    assert set(np.nonzero(second.owners)[1].tolist()) == set(range(80, 96))
    train, held_out = split_scenes(data, 0.1, 1)
    assert (len(train), len(held_out)) == (1, 1)


def test_coco_run_lengths_as_text_are_those_of_pycocotools(tmp_path: Path) -> None:
    from sightline.preprocess_ext.rle import rle_encode

    mask = np.zeros((40, 60), np.uint8)
    mask[5:20, 10:50] = 1
    rows = [{"image_id": 7, "category_id": 4, "bbox": [10, 5, 40, 15],
             "segmentation": {"size": [40, 60], "counts": rle_encode(mask).decode()}}]  # fmt: skip
    data = CocoScenes(_coco(tmp_path, annotations=rows), tmp_path, (60, 40), masks=True)
    owners = data.sample(0).owners
    assert owners is not None
    assert np.array_equal(owners, mask) or np.abs(owners.astype(int) - mask).sum() == 0


_ROW = {"image_id": 7, "category_id": 4, "bbox": [1, 1, 5, 5]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, 'no list "images"'),
        ({"images": []}, 'no pictures; "images" is empty'),
        ({"images": [{"id": 1}]}, r"images\[0\] .* needs an id .* and a file_name"),
        ({"images": [{"id": 1, "file_name": "../../etc/passwd"}]}, "leaves the folder"),
        ({"images": [{"id": 1, "file_name": "none.png"}]}, "'none.png', which is not in"),
        ({"categories": []}, "categories"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "no two of one name"),
        ({"categories": [{"id": "x", "name": "a"}]}, r"categories\[0\] .* needs an id"),
        ({"annotations": []}, "no objects to learn from"),
        ({"annotations": [3]}, r"annotations\[0\] is 3"),
        ({"annotations": [{**_ROW, "image_id": 99}]}, r"annotations\[0\] has image_id 99"),
        ({"annotations": [{**_ROW, "category_id": 5}]}, "category_id 5, which the file does not describe"),
        ({"annotations": [{**_ROW, "bbox": [1, 2, 3]}]}, r"has bbox \[1, 2, 3\]"),
        ({"annotations": [{**_ROW, "bbox": [1, 2, -3, 4]}]}, "must be .x, y, width, height."),
        ({"annotations": [{**_ROW, "segmentation": [[1, 2, 3]]}]}, "no usable segmentation"),
    ],
)
def test_coco_files_with_mistakes_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        CocoScenes(_coco(tmp_path, **changes), tmp_path, SIZE, masks=True)


def test_coco_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    for text in ("{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(BadInputError, match=r"coco\.json is no COCO file"):
            CocoScenes(path, tmp_path, SIZE, masks=False)


def test_coco_run_lengths_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for runs in ({"size": [40, 60], "counts": [5, 5]}, {"size": [4, 6], "counts": [24]}):
        path = _coco(tmp_path, annotations=[{**_ROW, "segmentation": runs}])
        with pytest.raises(BadInputError, match="run lengths"):
            CocoScenes(path, tmp_path, SIZE, masks=True).sample(0)


def _maps(root: Path, labels: np.ndarray, mode: str = "L") -> MapScenes:
    _save(root / "images" / "a.png")
    (root / "maps").mkdir(exist_ok=True)
    Image.fromarray(labels).convert(mode).save(root / "maps" / "a.png")
    return MapScenes(root / "images", root / "maps", ("road", "sky"), (96, 96))


def test_class_maps_follow_the_letterbox(tmp_path: Path) -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    sample = _maps(tmp_path, labels).sample(0)
    assert sample.surfaces is not None
    assert (sample.surfaces[:16] == 255).all()
    assert (sample.surfaces[16:80, :48] == 0).all()
    assert (sample.surfaces[16:80, 48:] == 1).all()
    assert (sample.picture[:16] == 114).all()


def test_class_maps_with_mistakes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"a\.png has the class 2; classes are 0\.\.1"):
        _maps(tmp_path / "a", np.full((40, 60), 2, np.uint8)).sample(0)
    with pytest.raises(BadInputError, match="is 30x40 pixels, its picture 60x40"):
        _maps(tmp_path / "b", np.zeros((40, 30), np.uint8)).sample(0)
    with pytest.raises(BadInputError, match="pixel format RGB"):
        _maps(tmp_path / "c", np.zeros((40, 60), np.uint8), "RGB").sample(0)
    _save(tmp_path / "a" / "images" / "b.png")
    with pytest.raises(BadInputError, match="1 of 2 pictures have no class map"):
        _maps(tmp_path / "a", np.zeros((40, 60), np.uint8))


def test_a_map_moves_as_its_picture_does() -> None:
    image = np.zeros((30, 70, 3), np.uint8)
    image[10:20, 20:50] = 200
    fitted, scale, place = letterbox(image, (64, 64))
    moved = fitted_map((image[..., 0] > 0).astype(np.uint8), (64, 64), scale, place, 0)
    assert np.mean((fitted[..., 0] > 157) == (moved > 0)) > 0.98

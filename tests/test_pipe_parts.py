# SPDX-License-Identifier: Apache-2.0
"""The parts of `sightline pipe` that need no server: whole files, names, addresses, formats, the journal."""

from __future__ import annotations

import io
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sightline.clients.pipe.addresses import ChannelAddress, FolderAddress, StreamAddress, address_from
from sightline.clients.pipe.answers import Answer, Crop, Plan, crops_of, placed
from sightline.clients.pipe.coco_all import write_coco
from sightline.clients.pipe.files import has_writer, identity_of, read_whole, write_whole
from sightline.clients.pipe.formats import (
    Categories,
    Picture,
    check_format,
    coco_results,
    coco_rows,
    json_value,
    opex_value,
    payload_of,
)
from sightline.clients.pipe.item import GoneError, Item, NotWholeError, file_name, out_name, shown
from sightline.clients.pipe.journal import ANSWERED, Journal
from sightline.clients.pipe.look import checked_size
from sightline.clients.pipe.progress import counts, duration
from sightline.clients.pipe.settings import PipeSettings
from sightline.clients.pipe.whole import structure_of
from sightline.errors import BadInputError
from sightline.preprocess_ext import rle_decode, rle_encode
from sightline.results import Classification, ClassMap, Detections, Embedding

LABELS = ("other", "red", "sign")


def encoded(kind: str, size: tuple[int, int] = (90, 60), **options: Any) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 255, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG with a whole small JPEG in its EXIF block, as cameras write it."""
    inner = b"Exif\0\0" + encoded("JPEG", (16, 16))
    data = encoded("JPEG")
    return data[:2] + b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner + data[2:]


FILES = {
    "JPEG": encoded("JPEG", quality=90),
    "progressive": encoded("JPEG", progressive=True),
    "restarts": encoded("JPEG", restart_marker_blocks=2),
    "thumbnail": with_thumbnail(),
    "trailing": encoded("JPEG") + b"garbage of a camera",
    "PNG": encoded("PNG"),
    "lossy": encoded("WEBP"),
    "lossless": encoded("WEBP", lossless=True),
    "extended": encoded("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
}


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_whole_and_no_piece_of_them_is(name: str) -> None:
    data = FILES[name]
    structure = structure_of(data)
    assert structure is not None
    assert structure.is_whole
    assert (structure.width, structure.height) == (90, 60)
    last = len(data) - (len(b"garbage of a camera") if name == "trailing" else 0)
    for length in {*range(1, min(80, last)), *random.Random(7).sample(range(80, last), 200), last - 1}:
        piece = structure_of(data[:length])
        assert piece is None or not piece.is_whole, length


def test_other_files_and_noise_have_no_structure() -> None:
    for data in (b"", b"hello", b"GIF89a" + bytes(50), b"RIFF\x10\0\0\0WAVE" + bytes(30)):
        assert structure_of(data) is None
    rng = random.Random(11)
    for head in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBP"):
        for _ in range(300):
            structure_of(head + rng.randbytes(rng.randrange(200)))


def test_segments_without_end_take_bounded_time() -> None:
    hostile = b"\xff\xd8" + b"\xff\xe0\x00\x02" * 500_000
    structure = structure_of(hostile)
    assert structure is not None
    assert not structure.is_whole


def test_first_look() -> None:
    assert checked_size(FILES["JPEG"]) == (90, 60)
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(turned, "JPEG", exif=exif)
    assert checked_size(turned.getvalue()) == (20, 40)
    with pytest.raises(BadInputError, match="no JPEG, PNG or WebP"):
        checked_size(b"GIF89a" + bytes(40))
    with pytest.raises(NotWholeError):
        checked_size(FILES["PNG"][:-4])
    bomb = bytearray(FILES["PNG"])
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    with pytest.raises(BadInputError, match="30000x30000 pixels; at most 50000000"):
        checked_size(bytes(bomb))


def test_only_plain_closed_unchanged_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(FILES["JPEG"])
    name, identity = os.fsencode(path), identity_of(path.stat())
    assert read_whole(name, identity) == FILES["JPEG"]
    with open(path, "ab"):
        fd = os.open(path, os.O_RDONLY)
        assert has_writer(fd)
        os.close(fd)
        with pytest.raises(NotWholeError, match="open for writing"):
            read_whole(name, identity)
    assert read_whole(name, identity) == FILES["JPEG"]
    path.write_bytes(FILES["PNG"])
    with pytest.raises(NotWholeError, match="changed"):
        read_whole(name, identity)
    (tmp_path / "link.jpg").symlink_to(path)
    os.mkfifo(tmp_path / "fifo.jpg")
    for other in ("link.jpg", "fifo.jpg", "absent.jpg"):
        with pytest.raises(GoneError):
            read_whole(os.fsencode(tmp_path / other), identity)


def test_names() -> None:
    assert out_name(b"a.jpg", 1, "ab") == b"a.jpg"
    assert out_name(b"a.jpg", 3, "ab") == b"a-3.jpg"
    for number in (1, 12_345):
        long = out_name(b"x" * 251 + b".jpg", number, "0123456789abcdef")
        assert len(long + b".reason.json") <= 255
        assert long.endswith(b".jpg")
        assert b"0123456789ab" in long
    assert out_name(b"a." + b"b" * 200, 2, "ab") == b"a." + b"b" * 200 + b"-2"
    assert file_name(b"../../etc/passwd") == b"_.._.._etc_passwd"
    assert file_name(b"") == b"_"
    assert shown(b"a\nb\x1b[31m\xff.jpg") == "a\\nb\\x1b[31m\\\\xff.jpg"


def test_addresses() -> None:
    assert address_from("in") == FolderAddress(Path("in"))
    assert address_from("redis://h:1/2?channel=c") == ChannelAddress("redis://h:1/2", "c")
    stream = address_from("redis://:secret-word@h/0?stream=s&group=g&field=f&length=9&protocol=3")
    assert stream == StreamAddress("redis://:secret-word@h/0?protocol=3", "s", "g", "", "f", 9)
    assert "secret-word" not in f"{stream} {stream!r}"
    for wrong in ("", "s3://b/x", "redis://h", "redis://h?channel=a&stream=b", "redis://h?channel=a&group=b"):
        with pytest.raises(BadInputError):
            address_from(wrong)
    with pytest.raises(BadInputError, match="length is 'many'"):
        address_from("redis://h?stream=a&length=many")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "csv"}, "json, coco, opex"),
        ({"then": "burn"}, "move, delete, keep"),
        ({"settle_seconds": float("nan")}, "settle_seconds"),
        ({"in_flight": 0}, "1..1024"),
        ({"source": FolderAddress(Path("/no/such/folder"))}, "is not there"),
        ({"destination": FolderAddress(Path("/"))}, "same folder"),
        ({"source": StreamAddress("redis://h", "s"), "then": "move"}, "cannot be moved|not moved"),
        ({"source": ChannelAddress("redis://h", "c"), "once": True}, "no end"),
        ({"destination": ChannelAddress("redis://h", "c"), "coco_all": Path("x")}, "folder as destination"),
    ],
)
def test_settings_that_do_not_fit(change: dict[str, Any], text: str) -> None:
    values: dict[str, Any] = {
        "source": FolderAddress(Path("/")),
        "destination": FolderAddress(Path("/tmp/out")),
        "plan": Plan(("m",)),
    }
    PipeSettings(**values)
    with pytest.raises(BadInputError, match=text):
        PipeSettings(**{**values, **change})


def test_the_journal_gives_each_image_its_name_and_forgets_what_went(tmp_path: Path) -> None:
    def item(name: bytes, identity: str) -> Item:
        return Item(name, identity, bytes)

    journal = Journal(tmp_path / "j.sqlite")
    taken = {b"b.jpg"}
    first, second, third = journal.claim(
        [item(b"a.jpg", "1"), item(b"a.jpg", "2"), item(b"b.jpg", "3")], taken.__contains__
    )
    assert [one.out for one in (first, second, third)] == [b"a.jpg", b"a-2.jpg", b"b-2.jpg"]
    assert journal.claim([item(b"a.jpg", "2")], taken.__contains__)[0].number == second.number
    journal.answered([first.number], [third.number])
    journal.close()
    journal = Journal(tmp_path / "j.sqlite")
    assert [(row.name, row.state == ANSWERED, row.is_poison) for row in journal.unfinished()] == [
        (b"a.jpg", True, False),
        (b"a.jpg", False, False),
        (b"b.jpg", True, True),
    ]
    journal.done([first.number], [second.number, third.number])
    assert list(journal.unfinished()) == []
    assert journal.find(b"a.jpg", "1") is not None
    assert journal.find(b"b.jpg", "3") is None
    journal.close()


def objects(size: tuple[int, int] = (90, 60)) -> Detections:
    """Two objects with masks: a rectangle, and one with a hole."""
    masks = np.zeros((2, size[1], size[0]), np.uint8)
    masks[0, 10:20, 30:50] = 1
    masks[1, 30:50, 5:45] = 1
    masks[1, 35:40, 10:20] = 0
    return Detections(
        np.array([[30, 10, 50, 20], [5.5, 30, 45, 50]], np.float32),
        np.array([0.9, 0.4], np.float32),
        np.array([1, 2], np.int32),
        LABELS,
        tuple(rle_encode(mask) for mask in masks),
        size,
    )


def picture(number: int = 7, name: bytes = b"a.jpg") -> Picture:
    return Picture(name, number, 90, 60, "ab" * 32)


CATEGORIES = Categories((("seg", LABELS), ("road", ("sky", "red"))))


def test_coco_of_all_is_read_by_pycocotools(tmp_path: Path) -> None:
    classes = np.zeros((60, 90), np.uint8)
    classes[30:] = 1
    answers = (
        Answer("seg", 1, 2.0, objects()),
        Answer("road", 1, 2.0, ClassMap(classes, ("sky", "red"))),
    )
    rows = [coco_rows(picture(n, b"%d\xff.jpg" % n), answers, CATEGORIES) for n in (1, 2)]
    rows.append(coco_rows(picture(3), (Answer("seg", 1, 1.0, Detections.empty(LABELS)),), CATEGORIES))
    target = tmp_path / "new" / "all.json"
    write_coco(target, rows, CATEGORIES)
    assert sorted(p.name for p in target.parent.iterdir()) == ["all.json"]
    coco = COCO(str(target))
    assert sorted(coco.getImgIds()) == [1, 2, 3]
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == [*LABELS, "sky", "road/red"]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    assert len(annotations) == 4
    assert sorted({a["id"] for a in coco.loadAnns(coco.getAnnIds())}) == list(range(1, 9))
    hole = annotations[1]
    assert coco.annToMask(hole).sum() == hole["area"] == 20 * 40 - 5 * 10
    found = coco.loadRes([r for n in (1, 2) for r in coco_results(picture(n), answers, CATEGORIES)])
    for kind in ("bbox", "segm"):
        scores = COCOeval(coco, found, kind)
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
        assert scores.stats[1] == pytest.approx(1.0)


def check_opex(value: dict[str, Any]) -> None:
    """What fast-opex's reader insists on, and the types of its README."""
    assert isinstance(value["timestamp"], str)
    assert isinstance(value["id"], str)
    assert all(isinstance(v, str) for v in value["meta"].values())
    for one in value["objects"]:
        assert isinstance(one["label"], str)
        assert 0 <= one["score"] <= 1
        assert set(one["bbox"]) == {"top", "left", "bottom", "right"}
        assert all(type(v) is int for v in one["bbox"].values())
        assert one["bbox"]["left"] < one["bbox"]["right"]
        assert all(type(v) is int for point in one["polygon"]["points"] for v in point)
        assert all(len(point) == 2 for point in one["polygon"]["points"])
        assert all(isinstance(v, str) for v in one["meta"].values())


def test_opex() -> None:
    sign = Classification(np.array([0.8], np.float32), np.array([2], np.int32), LABELS)
    inner = (Answer("next", 1, 1.0, sign), Answer("next", 1, 1.0, None, error="too small"))
    value = json.loads(json.dumps(opex_value(picture(), (Answer("seg", 4, 1.0, objects(), inner=inner),))))
    check_opex(value)
    assert value["meta"] == {"seg": "version 4"}
    first, second = value["objects"]
    assert first["bbox"] == {"top": 10, "left": 30, "bottom": 20, "right": 50}
    assert first["meta"] == {"model": "seg", "next": "sign", "next_score": "0.8"}
    assert sorted(map(tuple, first["polygon"]["points"])) == [(30, 10), (30, 19), (49, 10), (49, 19)]
    assert second["bbox"]["left"] == 5
    boxes = Detections(
        np.array([[-3, 0, 200, 60]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32)
    )
    value = opex_value(picture(), (Answer("seg", 4, 1.0, boxes),))
    check_opex(value)
    assert value["objects"][0]["polygon"]["points"] == [[0, 0], [90, 0], [90, 60], [0, 60]]


def test_our_json_holds_every_task_and_any_name() -> None:
    answers = (
        Answer("seg", 1, 2.0, objects()),
        Answer("kind", 2, 3.0, Classification(np.ones(1, np.float32), np.zeros(1, np.int32), LABELS)),
        Answer("road", 3, 4.0, ClassMap(np.zeros((60, 90), np.uint8), ("sky",))),
        Answer("embed", 4, 5.0, Embedding(np.array([0.6, 0.8], np.float32))),
    )
    text = payload_of("json", picture(name=b"\xff\n\xc3\xa9.jpg"), answers, CATEGORIES)
    assert text.count(b"\n") == 1
    value = json.loads(text)
    assert value["image"] == "\\xff\né.jpg"
    assert value["image_base64"]
    assert [a["task"] for a in value["answers"]] == ["segment", "classify", "semantic", "embed"]
    assert [a["version"] for a in value["answers"]] == [1, 2, 3, 4]
    assert value["answers"][2]["classes"][0]["fraction"] == 1
    assert "image_base64" not in json_value(picture(), answers)


def test_formats_and_tasks() -> None:
    check_format("json", {"a": "embed", "b": "classify"}, False)
    check_format("coco", {"a": "detect", "b": "semantic"}, True)
    for arguments, text in (
        (("opex", {"a": "semantic"}, False), "--format opex"),
        (("coco", {"a": "classify"}, False), "--chain a"),
        (("json", {"a": "classify"}, True), "objects of a"),
        (("xml", {}, False), "json, coco, opex"),
    ):
        with pytest.raises(BadInputError, match=text):
            check_format(*arguments)
    with pytest.raises(BadInputError, match="twice"):
        Plan(("a", "a"))


def test_answers_about_crops_lie_in_the_whole_picture() -> None:
    pixels = np.zeros((60, 90, 3), np.uint8)
    boxes = np.array([[29.5, 9.5, 50, 20], [95, 0, 99, 9]], np.float32)
    crops = crops_of(pixels, Detections(boxes, np.ones(2, np.float32), np.zeros(2, np.int32)))
    assert crops[1] is None
    crop = crops[0]
    assert isinstance(crop, Crop)
    assert crop.box == (29, 9, 50, 20)
    assert crop.pixels.shape == (11, 21, 3)
    mask = np.zeros((11, 21), np.uint8)
    mask[2:5, 3:9] = 1
    inner = Detections(
        np.array([[3, 2, 9, 5]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int32),
        (),
        (rle_encode(mask),),
        (21, 11),
    )
    moved = placed(Answer("m", 1, 1.0, inner), crop, pixels).result
    assert isinstance(moved, Detections)
    assert moved.boxes.tolist() == [[32, 11, 38, 14]]
    whole = np.zeros((60, 90), np.uint8)
    whole[11:14, 32:38] = 1
    assert moved.masks is not None
    assert (rle_decode(moved.masks[0], 90, 60) == whole).all()


def test_scores_below_leave_with_what_was_said_of_them() -> None:
    inner = tuple(Answer("next", 1, 1.0, None, error=str(i)) for i in range(2))
    kept = Answer("seg", 1, 1.0, objects(), inner=inner).above(0.5)
    assert isinstance(kept.result, Detections)
    assert len(kept.result) == 1
    assert [one.error for one in kept.inner] == ["0"]


def test_counts() -> None:
    assert counts(12, 0, 0) == "12 done"
    assert counts(10, 1, 20, 2.0) == "10 done, 1 quarantined, 20 waiting, 2.0/s, 10 s left"
    assert counts(10, 0, 0, 1.0, 310).endswith("300 waiting, 1.0/s, 5 min left")
    assert duration(3.4) == "3 s"
    assert duration(7_900) == "2 h 12 min"


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        write_whole(os.fsencode(tmp_path / "a"), text)
        assert (tmp_path / "a").read_bytes() == text
    assert [p.name for p in tmp_path.iterdir()] == ["a"]

# SPDX-License-Identifier: Apache-2.0
"""A user's own training data: folders of classes, COCO files, class maps. All of it is checked before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sightline.builders.train.classify import Labelled
from sightline.builders.train.dataset import Sample, Scenes
from sightline.builders.train.metrics import IGNORED
from sightline.builders.train.pictures import IMAGE_SUFFIXES, FilePictures, letterbox, read_image
from sightline.errors import BadInputError

_CACHE_BYTES = 1 << 30
_NO_BOXES = np.zeros((0, 4), np.float32)


def folder(path: Path, what: str) -> Path:
    """`path`, which must be a folder. Raises BadInputError."""
    if not path.is_dir():
        raise BadInputError(f"{what} is {path}, which is no folder; give the folder that holds the pictures")
    return path


def images_in(path: Path) -> list[Path]:
    """Image files of a folder in the order of their names; names with a leading dot are left out."""
    return sorted(
        p
        for p in path.iterdir()
        if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file() and not p.name.startswith(".")
    )


@dataclass(frozen=True)
class ClassFolders:
    """Image files with the number of their class, (N,) int64, and the classes' names."""

    paths: tuple[Path, ...]
    kinds: np.ndarray
    classes: tuple[str, ...]


def class_folders(data: Path, least: int = 2) -> ClassFolders:
    """One subfolder a class (or identity), in the order of the names.

    Raises BadInputError for a folder without subfolders, for fewer than two of them, and for one with fewer than
    `least` pictures.
    """
    names = sorted(
        p.name for p in folder(data, "--data").iterdir() if p.is_dir() and not p.name.startswith(".")
    )
    if len(names) < 2:
        raise BadInputError(
            f"{data} has {len(names)} subfolders; it needs at least two, each named after its class and full of pictures"
        )
    paths: list[Path] = []
    kinds: list[int] = []
    for number, name in enumerate(names):
        files = images_in(data / name)
        if len(files) < least:
            raise BadInputError(
                f"{data / name} has {len(files)} pictures ({', '.join(IMAGE_SUFFIXES)}); it needs at least {least}"
            )
        paths += files
        kinds += [number] * len(files)
    return ClassFolders(tuple(paths), np.array(kinds, np.int64), tuple(names))


def split_within(data: ClassFolders, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the pictures for training and held out: of each class the share, at least one of each kind."""
    rng = np.random.default_rng([seed, 5])
    train: list[int] = []
    held_out: list[int] = []
    for kind in range(len(data.classes)):
        members = rng.permutation(np.flatnonzero(data.kinds == kind))
        count = min(max(round(len(members) * share), 1), len(members) - 1)
        held_out += members[:count].tolist()
        train += members[count:].tolist()
    return np.sort(train), np.sort(held_out)


def split_identities(data: ClassFolders, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the pictures for training and held out: whole identities, at least two of each."""
    if len(data.classes) < 4:
        raise BadInputError(
            f"there are {len(data.classes)} identities; at least 4 are needed, two to learn from and two to measure with"
        )
    order = np.random.default_rng([seed, 5]).permutation(len(data.classes))
    count = min(max(round(len(order) * share), 2), len(order) - 2)
    held = np.isin(data.kinds, order[:count])
    return np.flatnonzero(~held), np.flatnonzero(held)


def labelled(
    data: ClassFolders,
    picks: np.ndarray,
    size: tuple[int, int],
    resize: Literal["stretch", "letterbox"],
    *,
    renumber: bool = False,
) -> Labelled:
    """The chosen pictures, made to fit; renumber: their classes are counted anew from 0."""
    kinds = data.kinds[picks]
    if renumber:
        kinds = np.unique(kinds, return_inverse=True)[1].astype(np.int64)
    return Labelled(FilePictures([data.paths[int(i)] for i in picks], size, resize), kinds)


@dataclass(frozen=True)
class Subset:
    """Some of the pictures of another set."""

    whole: Scenes
    picks: np.ndarray

    def __len__(self) -> int:
        return len(self.picks)

    def sample(self, index: int) -> Sample:
        """A picture and what is in it."""
        return self.whole.sample(int(self.picks[index]))


def split_scenes(data: Scenes, share: float, seed: int) -> tuple[Subset, Subset]:
    """The pictures for training and the held-out ones. Raises BadInputError for fewer than two pictures."""
    if len(data) < 2:
        raise BadInputError(
            f"there are {len(data)} pictures; at least two are needed, one to learn from and one to measure"
        )
    order = np.random.default_rng([seed, 5]).permutation(len(data))
    count = min(max(round(len(order) * share), 1), len(order) - 1)
    return Subset(data, np.sort(order[count:])), Subset(data, np.sort(order[:count]))


class Remembered:
    """Samples that are kept in memory once they were made, up to 1 GiB."""

    def __init__(self, size: tuple[int, int], maps: int) -> None:
        self._kept: dict[int, Sample] = {}
        self._most = _CACHE_BYTES // (size[0] * size[1] * (3 + maps))

    def sample(self, index: int) -> Sample:
        """A picture and what is in it."""
        if index in self._kept:
            return self._kept[index]
        made = self._make(index)
        if len(self._kept) < self._most:
            self._kept[index] = made
        return made

    def _make(self, index: int) -> Sample:
        raise NotImplementedError


class MapScenes(Remembered):
    """Pictures of a folder, and for each a PNG of the same name in another folder: one class number a pixel.

    255 in a map says that the pixel does not count.
    """

    def __init__(self, images: Path, maps: Path, classes: Sequence[str], size: tuple[int, int]) -> None:
        super().__init__(size, 1)
        self.paths = images_in(folder(images, "--data"))
        folder(maps, "--maps")
        if not self.paths:
            raise BadInputError(f"{images} has no pictures ({', '.join(IMAGE_SUFFIXES)})")
        self.maps = [maps / f"{p.stem}.png" for p in self.paths]
        missing = [m for m in self.maps if not m.is_file()]
        if missing:
            raise BadInputError(
                f"{len(missing)} of {len(self.maps)} pictures have no class map, such as {missing[0]}; "
                "each picture needs a PNG of its name"
            )
        self.classes, self.size = tuple(classes), size

    def __len__(self) -> int:
        return len(self.paths)

    def _make(self, index: int) -> Sample:
        image = read_image(self.paths[index])
        labels = read_map(self.maps[index], len(self.classes))
        if labels.shape != image.shape[:2]:
            raise BadInputError(
                f"{self.maps[index]} is {labels.shape[1]}x{labels.shape[0]} pixels, its picture "
                f"{image.shape[1]}x{image.shape[0]}; they must be equal"
            )
        fitted, scale, (left, top) = letterbox(image, self.size)
        surfaces = fitted_map(labels, self.size, scale, (left, top), IGNORED)
        return Sample(fitted, np.zeros((0, 6), np.float32), _NO_BOXES, surfaces=surfaces)


def read_map(path: Path, classes: int) -> np.ndarray:
    """A class map (H, W) uint8 from a grey or palette PNG. Raises BadInputError."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise BadInputError(
                    f"{path} has the pixel format {image.mode}; a class map is grey or has a palette, 8 bits a pixel"
                )
            labels = np.asarray(image, np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInputError(f"{path} is no PNG that can be read ({error})") from error
    wrong = np.unique(labels[(labels >= classes) & (labels != IGNORED)])
    if len(wrong):
        raise BadInputError(
            f"{path} has the class {int(wrong[0])}; classes are 0..{classes - 1}, and {IGNORED} for pixels without one"
        )
    return labels


def fitted_map(
    labels: np.ndarray, size: tuple[int, int], scale: float, place: tuple[int, int], value: int
) -> np.ndarray:
    """Labels (H, W) uint8 moved as letterbox() moved their picture; what is left has `value`."""
    height, width = labels.shape
    left, top = place
    wide, tall = min(max(round(width * scale), 1), size[0]), min(max(round(height * scale), 1), size[1])
    rows = np.minimum(((np.arange(tall) + 0.5) * height / tall).astype(int), height - 1)
    cols = np.minimum(((np.arange(wide) + 0.5) * width / wide).astype(int), width - 1)
    out = np.full((size[1], size[0]), value, np.uint8)
    out[top : top + tall, left : left + wide] = labels[rows][:, cols]
    return out

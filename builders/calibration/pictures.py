# SPDX-License-Identifier: Apache-2.0
"""RGB pictures from a folder, a video recording, or drawn scenes, spread evenly over what is there.

Nothing here is trusted: files are opened by the bounded decoder of the server's own stage, links that lead out of the
folder are not followed, and what cannot be used is skipped with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.builders.calibration.video import video_frames
from sightline.builders.stages.images import decode_image
from sightline.errors import BadInputError, BuildError
from sightline.frame import MAX_ENCODED_BYTES

Picture = NDArray[np.uint8]
LEAST_PICTURES = 8
MOST_FILES = 1_000_000
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
_FIRST_SCENE = 7_000_000  # below the held-out seeds, above those of training
_FRAMES_OF_A_SCENE = 4
_SCENE_SIZE = (640, 360)
_STEP_SECONDS = 3.7


@dataclass(frozen=True)
class Skipped:
    """A file or frame that could not be used, and why."""

    name: str
    reason: str


@dataclass
class PictureSource:
    """Where the pictures came from; filled while they are read. found: files or frames that were there."""

    origin: str = ""
    found: int = 0
    used: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        """Count a file that cannot be used."""
        self.skipped.append(Skipped(name, reason))


def calibration_pictures(
    spec: Path | None,
    count: int,
    source: PictureSource | None = None,
    *,
    target: tuple[int, int] | None = None,
) -> Iterator[Picture]:
    """At most `count` pictures, uint8 RGB of shape (height, width, 3), spread evenly over what is there.

    spec: a folder (searched with its subfolders), a video recording, or None for drawn street scenes. source: is told
    what was found and skipped. target: width and height that will be asked of a picture: larger JPEGs are decoded
    smaller.

    Raises BuildError, while iterating, where `spec` is neither, or fewer than LEAST_PICTURES can be used.
    """
    if count < 1:
        raise ValueError(f"count is {count}; it must be at least 1")
    source = PictureSource() if source is None else source
    if spec is None:
        pictures = _drawn(count, source)
    elif spec.is_dir():
        pictures = _folder_pictures(spec, count, source, target)
    elif spec.is_file():
        pictures = _recorded(spec, count, source)
    else:
        raise BuildError(f"the pictures {spec} do not exist; give a folder of pictures or a video recording")
    for picture in pictures:
        source.used += 1
        yield picture
    if source.used < min(LEAST_PICTURES, count):
        raise BuildError(_too_few(source))


def _too_few(source: PictureSource) -> str:
    reasons = "; ".join(f"{item.name}: {item.reason}" for item in source.skipped[:3])
    more = f" ({reasons}{'; …' if len(source.skipped) > 3 else ''})" if reasons else ""
    return (
        f"{source.origin}: {source.used} of {source.found} pictures can be used, at least {LEAST_PICTURES} are "
        f"needed{more}. Give a folder of JPEG, PNG or WebP files, or a video recording of the cameras"
    )


def _folder_pictures(
    folder: Path, count: int, source: PictureSource, target: tuple[int, int] | None
) -> Iterator[Picture]:
    """Evenly spread files; a bad one is replaced by its next neighbour that was not asked for."""
    source.origin = str(folder)
    files = list(_picture_files(folder))
    source.found = len(files)
    chosen = _spread(len(files), count)
    spare = iter(sorted(set(range(len(files))) - set(chosen)))
    for index in chosen:
        candidate: int | None = index
        while candidate is not None:
            picture = _opened(folder, files[candidate], source, target)
            if picture is not None:
                yield picture
                break
            candidate = next(spare, None)


def _picture_files(folder: Path) -> Iterator[Path]:
    """Regular files with a picture's ending, sorted; links to folders are not followed."""
    seen = 0
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            seen += 1
            if seen > MOST_FILES:
                raise BuildError(f"{folder} has more than {MOST_FILES} files; give a folder with fewer")
            if name.lower().endswith(PICTURE_ENDINGS):
                yield Path(parent, name)


def _opened(
    folder: Path, path: Path, source: PictureSource, target: tuple[int, int] | None
) -> Picture | None:
    name = str(path.relative_to(folder))
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BadInputError("it is a link that leads out of the folder")
        if not path.is_file():
            raise BadInputError("it is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_ENCODED_BYTES + 1)
        return decode_image(content, target=target).pixels
    except BadInputError as error:
        source.skip(name, str(error))
    except OSError as error:
        source.skip(name, f"it cannot be read: {error.strerror}")
    return None


def _recorded(path: Path, count: int, source: PictureSource) -> Iterator[Picture]:
    source.origin = str(path)
    frames = video_frames(path, count)
    for picture in frames:
        source.found += 1
        if isinstance(picture, str):
            source.skip(path.name, picture)
        else:
            yield picture


def _drawn(count: int, source: PictureSource) -> Iterator[Picture]:
    """Street scenes by day, night and rain; the same ones every time."""
    from sightline.scenes import Scene

    source.origin = "drawn street scenes"
    source.found = count
    for index in range(count):
        number, frame = divmod(index, _FRAMES_OF_A_SCENE)
        if frame == 0:
            scene = Scene(_FIRST_SCENE + number, size=_SCENE_SIZE)
        yield scene.frame(0.5 + frame * _STEP_SECONDS)[0]


def _spread(available: int, count: int) -> list[int]:
    """Indices of `count` of the available things, evenly spread; all where there are fewer."""
    if available <= count:
        return list(range(available))
    return [int((index + 0.5) * available / count) for index in range(count)]

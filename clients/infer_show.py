# SPDX-License-Identifier: Apache-2.0
"""How `sightline infer` shows the results of each task: tables, one line an image, JSON, drawn copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from sightline.clients.draw import class_colour, draw_result
from sightline.errors import OutputError
from sightline.results import Classification, ClassMap, Detections, Embedding, Result

MATRIX_IMAGES = 10  # more are shown as each one's nearest
DRAWN_PIXELS = 240  # a smaller picture is enlarged, so that there is room for its classes
SMALLEST_SHARE = 0.005


def json_value(path: Path, found: Result, drawn: Path | None, like: Embedding | None) -> dict[str, Any]:
    """One line of --json; with `like` also the likeness of an embedding to it."""
    match found:
        case Detections():
            values: dict[str, Any] = {"detections": found.to_dicts()}
        case Classification():
            values = {"classes": found.to_dicts()}
        case ClassMap():
            values = found.to_dict()
        case Embedding():
            values = found.to_dict() | ({} if like is None else {"cosine": round(found.cosine(like), 4)})
    return {"image": str(path), **values, **({"drawn": str(drawn)} if drawn else {})}


def summary(found: Result) -> str:
    """One line, such as '3 car, 1 bus'."""
    match found:
        case Detections():
            counts = Counter(d.label for d in found)
            return ", ".join(f"{number} {label}" for label, number in counts.most_common()) or "nothing found"
        case Classification():
            return ", ".join(f"{one.label} {one.score:.0%}" for one in list(found)[:3]) or "no class"
        case ClassMap():
            shares = [a for a in found.areas() if a.fraction >= SMALLEST_SHARE]
            return ", ".join(f"{a.label} {a.fraction:.0%}" for a in shares)
    return f"embedding of {len(found)} values"


def table(path: Path, found: Result) -> Table | Text:
    """All that was found in one image."""
    match found:
        case Detections() if len(found):
            return _objects(path, found)
        case Classification() if len(found):
            rows = [(_swatch(one.class_id, one.label), f"{one.score:.1%}") for one in found]
            return _table(str(path), ("class", "score"), rows)
        case ClassMap():
            areas = found.areas()
            lines = [(_swatch(a.class_id, a.label), f"{a.fraction:.1%}", f"{a.pixels:,}") for a in areas]
            return _table(str(path), ("class", "share", "pixels"), lines)
    return Text(f"{path}: {summary(found)}")


def likeness_table(found: Mapping[Path, Embedding], like: Embedding | None) -> Table | None:
    """How alike images are: to one (the most alike first), each to each, or each to its nearest; None for a single one."""
    names = _short_names(list(found))
    if like is not None:
        cosines = sorted(
            ((one.cosine(like), name) for name, one in zip(names, found.values(), strict=True)), reverse=True
        )
        return _table("likeness", ("image", "cosine"), [(name, f"{value:.3f}") for value, name in cosines])
    if len(names) < 2:
        return None
    vectors = np.stack([one.vector for one in found.values()]).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    likeness = vectors @ vectors.T
    numbers = [str(i + 1) for i in range(len(names))]
    if len(names) <= MATRIX_IMAGES:
        rows = [
            (f"{number}  {name}", *(f"{value:.3f}" for value in row))
            for number, name, row in zip(numbers, names, likeness, strict=True)
        ]
        return _table("likeness", ("image", *numbers), rows)
    np.fill_diagonal(likeness, -np.inf)
    nearest = [
        (name, names[int(row.argmax())], f"{row.max():.3f}")
        for name, row in zip(names, likeness, strict=True)
    ]
    return _table("likeness", ("image", "most alike", "cosine"), nearest)


def _short_names(paths: list[Path]) -> list[str]:
    """Without their folders, where that leaves them different."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def draw_copy(path: Path, found: Result, target: Path) -> Path:
    """Write a copy of the image, upright, with the result drawn on it. Raises OutputError."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        if isinstance(found, Classification) and min(upright.size) < DRAWN_PIXELS:
            factor = -(-DRAWN_PIXELS // min(upright.size))
            upright = upright.resize(
                (upright.width * factor, upright.height * factor), Image.Resampling.BICUBIC
            )
        picture = np.array(upright)
        draw_result(picture, found)
        Image.fromarray(picture).save(target, quality=92)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise OutputError(
            f"{target} cannot be written: {getattr(error, 'strerror', None) or error}"
        ) from error
    return target


def _objects(path: Path, found: Detections) -> Table:
    heads = ["object", "score", "left", "top", "width", "height"]
    rows: list[tuple[Text | str, ...]] = []
    for index, item in enumerate(found):
        x1, y1, x2, y2 = item.box
        row = (_swatch(item.class_id, item.label), f"{item.score:.0%}")
        area = () if found.masks is None else (f"{np.count_nonzero(found.mask(index)):,}",)
        rows.append((*row, *(f"{v:.0f}" for v in (x1, y1, x2 - x1, y2 - y1)), *area))
    return _table(str(path), (*heads, *([] if found.masks is None else ["pixels"])), rows)


def _table(title: str, heads: tuple[str, ...], rows: list[Any]) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(heads):
        made.add_column(name, justify="right" if number and name != "most alike" else "left")
    for row in rows:
        made.add_row(*row)
    return made


def _swatch(class_id: int, label: str) -> Text:
    red, green, blue = class_colour(class_id)
    return Text.assemble(("■ ", f"rgb({red},{green},{blue})"), label)

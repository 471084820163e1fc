# SPDX-License-Identifier: Apache-2.0
"""One COCO file of all results, written line by line so that millions need little memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from sightline.clients.pipe.files import made, sync_folder
from sightline.clients.pipe.formats import Categories
from sightline.errors import OutputError


def write_coco(path: Path, rows: Iterable[tuple[str, str]], categories: Categories) -> None:
    """Write images, annotations and categories; the file is whole or as it was before. rows: see formats.coco_rows.

    Raises OutputError.
    """
    folder = made(path.absolute().parent)
    mark = hashlib.sha1(os.fsencode(path.name)).hexdigest()[:16]
    aside, annotations = folder / f".sightline-{mark}.tmp", folder / f".sightline-{mark}.annotations"
    try:
        with open(aside, "w", encoding="utf-8") as file, open(annotations, "w+", encoding="utf-8") as second:
            file.write('{"info":{"description":"Sightline"},\n"images":[')
            number = 0
            for position, (image, found) in enumerate(rows):
                file.write((",\n" if position else "\n") + image)
                for row in json.loads(found):
                    number += 1
                    second.write((",\n" if number > 1 else "\n") + json.dumps({"id": number, **row}))
            file.write('],\n"annotations":[')
            second.seek(0)
            while part := second.read(1 << 20):
                file.write(part)
            file.write('],\n"categories":' + json.dumps(categories.rows()) + "}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        annotations.unlink()
    except OSError as error:
        raise OutputError(f"COCO file {path} cannot be written: {error.strerror}") from error
    sync_folder(os.fsencode(folder))

# SPDX-License-Identifier: Apache-2.0
"""A first look at an image's bytes, before anything is decoded or sent."""

from __future__ import annotations

from sightline.clients._images import size_of
from sightline.clients.pipe.item import NotWholeError
from sightline.clients.pipe.whole import structure_of
from sightline.errors import BadInputError
from sightline.frame import MAX_ENCODED_BYTES, MAX_PIXELS


def checked_size(data: bytes) -> tuple[int, int]:
    """Width and height, upright. Raises BadInputError for what can never be used, NotWholeError for what ends too early."""
    if len(data) > MAX_ENCODED_BYTES:
        raise BadInputError(f"it has {len(data)} bytes; at most {MAX_ENCODED_BYTES} are allowed")
    if not data:
        raise NotWholeError("it is empty", is_half=True)
    structure = structure_of(data)
    if structure is None:
        raise BadInputError(
            f"it is no JPEG, PNG or WebP file, whatever its name says: it begins with {data[:8].hex(' ')}"
        )
    if structure.width * structure.height > MAX_PIXELS:
        raise BadInputError(
            f"its picture has {structure.width}x{structure.height} pixels; at most {MAX_PIXELS} are allowed"
        )
    if not structure.is_whole:
        raise NotWholeError(f"the {structure.kind} file ends in the middle", is_half=True)
    return size_of(data)

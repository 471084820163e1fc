# SPDX-License-Identifier: Apache-2.0
"""Pictures with which the source says always the same: agreement on them proves little, and the report says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sightline.card import ModelCard
from sightline.results import Classification, ClassMap, Embedding, Result


def sameness(card: ModelCard, answers: Sequence[Result]) -> tuple[str, ...]:
    """A note where the source's answers could hardly differ from any others; none for objects, which are counted."""
    same = {"classify": _classes, "semantic": _maps, "embed": _embeddings}.get(card.task)
    said = same(card, answers) if same and len(answers) > 1 else ""
    more = "Pictures that differ more prove more (--images FOLDER, or proof.images in the card)."
    return (f"{said} {more}",) if said else ()


def _classes(_: ModelCard, answers: Sequence[Result]) -> str:
    best = {one.top.label for one in answers if isinstance(one, Classification) and len(one)}
    if len(best) != 1:
        return ""
    return f"The source sees the same class, {best.pop()}, in every picture: that classes are told apart was not compared."


def _maps(_: ModelCard, answers: Sequence[Result]) -> str:
    maps = [one for one in answers if isinstance(one, ClassMap)]
    kinds = {int(kind) for one in maps for kind in np.unique(one.classes)}
    if len(kinds) != 1:
        return ""
    label = maps[0].label(kinds.pop())
    return f"The source sees {label} alone in every picture: that classes are told apart was not compared."


def _embeddings(card: ModelCard, answers: Sequence[Result]) -> str:
    vectors = [one for one in answers if isinstance(one, Embedding)]
    least = min((vectors[0].cosine(other) for other in vectors[1:]), default=0.0)
    if least < card.proof.cosine:
        return ""
    return (
        f"The source's embeddings of all pictures are alike, cosine {least:.4f} and more: that pictures are told apart was "
        "not compared."
    )

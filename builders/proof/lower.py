# SPDX-License-Identifier: Apache-2.0
"""Where the source finds nothing at the card's score: its best candidates, and the score at which they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sightline.builders.proof.measures import counted, limit_of, looser, with_area
from sightline.builders.proof.source_side import SourceAnswer, SourceSide
from sightline.card import Limits, ModelCard
from sightline.results import Detections, Result

Picture = NDArray[np.uint8]
# Few: of an int8 engine the best ten agree with the source, the next ones differ by rounding alone.
PICTURES, BEST = 16, 10
# The server is asked for more objects from a lower score on, and still more count as near: rounding changes the order of
# low scores, and the scores themselves by a lot.
_ASKED, _NEAR = 4 * BEST, 8 * BEST
_ASKED_SHARE, _NEAR_SHARE = 0.25, 0.125
_ROWS = 100


@dataclass(frozen=True)
class Candidate:
    """A picture, its answer, and the scores of the source's best candidates in it, best first."""

    picture: Picture
    answer: SourceAnswer
    scores: tuple[float, ...]


@dataclass
class LowerScore:
    """Keeps the pictures with the best candidates, as long as no object is found.

    rows: how many the head has had for a picture, at most.
    """

    card: ModelCard
    source: SourceSide
    rows: int = 0
    kept: list[Candidate] = field(default_factory=list)
    _needed: bool = True

    def add(self, picture: Picture, answer: SourceAnswer) -> None:
        """One picture."""
        self._needed &= (
            isinstance(answer.result, Detections) and not counted(self.card, with_area(answer.result)).any()
        )
        if not self._needed:
            self.kept = []
            return
        rows = self.source.row_scores(answer.raw)
        self.rows = max(self.rows, len(rows))
        best = np.sort(rows[rows > 0])[::-1][:_ROWS]
        if len(best):
            limits = self._limits(float(best[-1]), BEST)
            scores = with_area(self.source.boxes(answer.raw, answer.geometry, limits)).scores.tolist()
            if scores:
                self.kept.append(Candidate(picture, answer, tuple(scores)))
                self.kept = sorted(self.kept, key=lambda one: -one.scores[0])[:PICTURES]

    @property
    def score(self) -> float:
        """Lets the best candidates through, by a hair, as they were rounded to float32; 0 where there are none."""
        scores = sorted((score for one in self.kept for score in one.scores), reverse=True)
        return scores[:BEST][-1] * (1 - 1e-6) if scores else 0.0

    @property
    def limits(self) -> Limits:
        """Those from which on the candidates are counted, as the card's are for objects."""
        return self._limits(limit_of(self.score), BEST)

    @property
    def asked(self) -> Limits:
        """What the server is asked for."""
        return self._limits(self.score * _ASKED_SHARE, _ASKED)

    def best(self, answer: SourceAnswer) -> Result:
        """The source's candidates, which the server must find."""
        limits = self._limits(self.score, BEST)
        return self.source.result(answer.raw, answer.geometry, limits)

    def at_asked(self, answer: SourceAnswer) -> Detections:
        """All that the source finds with `asked`."""
        return self.source.boxes(answer.raw, answer.geometry, self.asked)

    def near(self, answer: SourceAnswer) -> Detections:
        """What the server may find besides."""
        limits = looser(self.card.limits, self.score * _NEAR_SHARE, _NEAR)
        return self.source.boxes(answer.raw, answer.geometry, limits)

    def _limits(self, score: float, detections: int) -> Limits:
        return self.card.limits.model_copy(update={"score": score, "detections": detections})

# SPDX-License-Identifier: Apache-2.0
"""The same object on several cameras: one identity, by the likeness of its crops.

Each identity keeps one vector, the moving mean of the embeddings of its crops, of length 1. A track that is new takes the
known identity whose vector is likest to its first embedding (the largest cosine, at least `min_cosine`), unless another track
of the same camera holds that identity at the moment; else it begins one. It keeps its identity to its end, and each later
embedding that is like enough moves the vector.

Limits: the first crop decides, and a bad one (cut off, hidden, dark) begins an identity too many; people in the same clothes
are alike; what matters most is the model, and `min_cosine` must be found by trying for it. Nobody's name is known, only that
it may be the same one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MAX_IDENTITIES = 4096
NEW_PART = 0.1  # of a new embedding in the mean
Vector = NDArray[np.float32]


@dataclass(eq=False)
class _Identity:
    name: str
    row: int
    seen_at: float
    holders: dict[str, int] = field(default_factory=dict)  # camera: track


@dataclass(eq=False)
class _Gallery:
    """The identities of one model; row i of `vectors` belongs to rows[i]."""

    vectors: NDArray[np.float32]
    rows: list[_Identity] = field(default_factory=list)


class Identities:
    """Shared by all cameras; thread safe; bounded: where there are too many, the one not seen for longest goes.

    Times are monotonic seconds, of one clock for all cameras.
    """

    def __init__(self, max_identities: int = MAX_IDENTITIES) -> None:
        if max_identities < 1:
            raise ValueError(f"max_identities is {max_identities}; it must be at least 1")
        self._max = max_identities
        self._galleries: dict[tuple[str, int], _Gallery] = {}
        self._tracks: dict[tuple[str, int], tuple[_Gallery, _Identity]] = {}
        self._next = 1
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return sum(len(gallery.rows) for gallery in self._galleries.values())

    def identify(
        self,
        camera: str,
        track: int,
        embedding: Vector,
        *,
        model: str,
        label: str = "",
        min_cosine: float,
        remember_seconds: float,
        now: float,
    ) -> str | None:
        """The identity of a camera's track, as p-17 (the letter is the label's first). None for a vector of no use."""
        vector = _unit(embedding)
        if vector is None:
            return None
        with self._lock:
            gallery = self._galleries.setdefault(
                (model, len(vector)), _Gallery(np.empty((8, len(vector)), np.float32))
            )
            _forget(gallery, self._tracks, now - remember_seconds)
            held = self._tracks.get((camera, track))
            if held is not None and held[0] is gallery:
                identity = held[1]
                if float(gallery.vectors[identity.row] @ vector) >= min_cosine:
                    _move(gallery, identity, vector)
            else:
                if held is not None and held[1].holders.get(camera) == track:
                    del held[1].holders[camera]  # of another model
                identity = self._find(gallery, camera, vector, min_cosine) or self._new(
                    gallery, vector, label, now
                )
                _move(gallery, identity, vector)
                self._tracks[camera, track] = gallery, identity
            identity.seen_at = now
            identity.holders[camera] = track
            return identity.name

    def seen(self, camera: str, tracks: list[int], now: float) -> None:
        """These tracks of a camera are still there, so that their identities are not forgotten."""
        with self._lock:
            for track in tracks:
                held = self._tracks.get((camera, track))
                if held is not None:
                    held[1].seen_at = now

    def release(self, camera: str, tracks: frozenset[int] | set[int]) -> None:
        """These tracks of a camera have ended; another one may take their identities."""
        with self._lock:
            for track in tracks:
                held = self._tracks.pop((camera, track), None)
                if held is not None and held[1].holders.get(camera) == track:
                    del held[1].holders[camera]

    def _find(self, gallery: _Gallery, camera: str, vector: Vector, min_cosine: float) -> _Identity | None:
        if not gallery.rows:
            return None
        cosines = gallery.vectors[: len(gallery.rows)] @ vector
        order: list[int] = np.argsort(-cosines, kind="stable").tolist()
        for row in order:
            identity = gallery.rows[row]
            if cosines[row] < min_cosine:
                return None
            if camera not in identity.holders:
                return identity
        return None

    def _new(self, gallery: _Gallery, vector: Vector, label: str, now: float) -> _Identity:
        if sum(len(one.rows) for one in self._galleries.values()) >= self._max:
            fullest = max(self._galleries.values(), key=lambda one: len(one.rows))
            oldest = min(fullest.rows, key=lambda identity: identity.seen_at)
            _drop(fullest, self._tracks, {oldest.row})
        row = len(gallery.rows)
        if row == len(gallery.vectors):
            gallery.vectors = np.concatenate((gallery.vectors, np.empty_like(gallery.vectors)))
        gallery.vectors[row] = vector
        letter = label[:1].lower()
        identity = _Identity(f"{letter if 'a' <= letter <= 'z' else 'o'}-{self._next}", row, now)
        self._next += 1
        gallery.rows.append(identity)
        return identity


def _unit(embedding: Vector) -> Vector | None:
    vector = np.asarray(embedding, np.float32)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 and len(vector) else 0.0
    return vector / np.float32(length) if 0.0 < length < np.inf else None


def _move(gallery: _Gallery, identity: _Identity, vector: Vector) -> None:
    mean = (1 - NEW_PART) * gallery.vectors[identity.row] + NEW_PART * vector
    length = float(np.linalg.norm(mean))
    if length > 0:
        gallery.vectors[identity.row] = mean / np.float32(length)


_Tracks = dict[tuple[str, int], tuple[_Gallery, _Identity]]


def _forget(gallery: _Gallery, tracks: _Tracks, oldest: float) -> None:
    gone = {identity.row for identity in gallery.rows if identity.seen_at < oldest}
    if gone:
        _drop(gallery, tracks, gone)


def _drop(gallery: _Gallery, tracks: _Tracks, gone: set[int]) -> None:
    """Take rows away; the rows after them move up."""
    dropped = {id(gallery.rows[row]) for row in gone}
    kept = [identity for identity in gallery.rows if identity.row not in gone]
    gallery.vectors[: len(kept)] = gallery.vectors[[identity.row for identity in kept]]
    for row, identity in enumerate(kept):
        identity.row = row
    gallery.rows[:] = kept
    for key in [key for key, (_, identity) in tracks.items() if id(identity) in dropped]:
        del tracks[key]

# SPDX-License-Identifier: Apache-2.0
"""Plane geometry of rules: areas, lines that are crossed, and the ground by a homography.

Areas take points as fractions of the picture. Lengths, angles and lines take plane coordinates: both axes in units of the
picture's width, so that they are the same for each resolution of a camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
XY = tuple[float, float]

FLATTEST = 1e-9  # twice the area of points that lie on one line, in the picture's area
_NUDGE = (1.2360679e-9, 1.4142135e-9)  # takes touches and corners out of the way, alike for all points
_FLAT = 1e-300  # rises that a difference of x cannot be divided by
_FLATTEST_MAP = 1e-6
_UNDETERMINED = (
    "the ground's points do not determine a plane: four of them must be such that no three lie on one line, in the picture "
    "and on the ground; spread them over the ground"
)
MAX_MISFIT = 0.2


class Area:
    """A polygon; where it crosses itself, what an odd number of its edges surrounds is inside (even-odd rule)."""

    def __init__(self, points: Sequence[XY]) -> None:
        start = np.asarray(points, np.float64)
        end = np.roll(start, -1, axis=0)
        rise = end[:, 1] - start[:, 1]
        self._x, self._y, self._end_y = start[:, 0], start[:, 1], end[:, 1]
        self._slope = np.divide(
            end[:, 0] - start[:, 0], rise, out=np.zeros_like(rise), where=np.abs(rise) > _FLAT
        )

    def contains(self, points: Points) -> NDArray[np.bool_]:
        """Which of the points (N, 2) are inside, bool of shape (N,); NaN is not."""
        x, y = points[:, :1], points[:, 1:]
        straddles = (self._y > y) != (self._end_y > y)
        left_of = x < (y - self._y) * self._slope + self._x
        inside: NDArray[np.bool_] = np.logical_xor.reduce(straddles & left_of, axis=1)
        return inside


def on_one_line(points: Sequence[XY]) -> bool:
    """True where no three of the points span an area."""
    first = points[0]
    farthest = max(points, key=lambda point: math.dist(first, point))
    return all(abs(_turn(first, farthest, point)) <= FLATTEST for point in points)


def _turn(a: XY, b: XY, p: XY) -> float:
    """Above 0 where p is to the right of the way from a to b, as seen in a picture (y grows downwards)."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def crossings(line: Sequence[XY], start: XY, end: XY) -> int:
    """Net crossings of a line by the way from start to end: + for each from its left to its right, - for each back.

    The way back gives exactly the negative. Touches count as if the way lay a hair beside them.
    """
    if end < start:  # the same arithmetic both ways
        return -crossings(line, end, start)
    p = (start[0] + _NUDGE[0], start[1] + _NUDGE[1])
    q = (end[0] + _NUDGE[0], end[1] + _NUDGE[1])
    net = 0
    for i in range(len(line) - 1):
        a, b = line[i], line[i + 1]
        from_left, to_left = _turn(a, b, p) < 0, _turn(a, b, q) < 0
        if from_left != to_left and (_turn(p, q, a) < 0) != (_turn(p, q, b) < 0):
            net += 1 if from_left else -1
    return net


def distance_to(line: Sequence[XY], point: XY) -> float:
    """Distance of a point from a line of two or more points."""
    nearest = math.inf
    for i in range(len(line) - 1):
        (ax, ay), (bx, by) = line[i], line[i + 1]
        dx, dy = bx - ax, by - ay
        length = dx * dx + dy * dy
        part = ((point[0] - ax) * dx + (point[1] - ay) * dy) / length if length > 0 else 0.0
        part = min(1.0, max(0.0, part))
        nearest = min(nearest, math.hypot(point[0] - ax - part * dx, point[1] - ay - part * dy))
    return nearest


def angle_between(one: XY, two: XY) -> float:
    """Degrees between two directions, 0..180."""
    cross, dot = one[0] * two[1] - one[1] * two[0], one[0] * two[0] + one[1] * two[1]
    return abs(math.degrees(math.atan2(cross, dot)))


class Homography:
    """Picture to ground from four or more pairs: the normalised direct linear transformation (least squares) of Hartley and
    Zisserman, "Multiple View Geometry", 2nd edition, algorithm 4.2.

    image: points as fractions of the picture. ground: the same points, metres. Raises ValueError, which says what is wrong.
    """

    def __init__(self, image: Sequence[XY], ground: Sequence[XY]) -> None:
        source, target = np.asarray(image, np.float64), np.asarray(ground, np.float64)
        if not (np.ptp(source, axis=0).max() > 0 and np.ptp(target, axis=0).max() > 0):
            raise ValueError(_UNDETERMINED)
        (one, to_unit), (two, to_ground) = _normalised(source), _normalised(target)
        _, sizes, rows = np.linalg.svd(_equations(one, two))
        unit_matrix = rows[-1].reshape(3, 3)
        if min(sizes[7] / sizes[0], abs(np.linalg.det(unit_matrix))) < _FLATTEST_MAP:
            raise ValueError(_UNDETERMINED)
        self.matrix: Points = np.linalg.inv(to_ground) @ unit_matrix @ to_unit
        depth = source @ self.matrix[2, :2] + self.matrix[2, 2]
        if not ((depth > 0).all() or (depth < 0).all()):
            raise ValueError(
                "the ground's image and metres do not go round in the same order; "
                "give the two of each pair the same place in both lists"
            )
        self.matrix *= 1.0 if depth[0] > 0 else -1.0
        self._check(source, target)

    def to_metres(self, points: Points) -> Points:
        """Where points (N, 2) of the picture lie on the ground, metres; NaN for those on or above its horizon."""
        mapped = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        depth = np.where(mapped[:, 2] > 0, mapped[:, 2], np.nan)
        result: Points = mapped[:, :2] / depth[:, None]
        return result

    def _check(self, source: Points, target: Points) -> None:
        misfit = np.hypot(*(self.to_metres(source) - target).T)
        worst, extent = int(misfit.argmax()), float(np.hypot(*np.ptp(target, axis=0)))
        if misfit[worst] > MAX_MISFIT * extent:
            raise ValueError(
                f"the ground's points contradict one another: point {worst + 1} is {misfit[worst]:.1f} m away from where the "
                "others put it; measure it again"
            )


def _normalised(points: Points) -> tuple[Points, Points]:
    """The points with their mean at 0 and a mean distance of sqrt(2) from it, and the matrix that made them so."""
    centre = points.mean(0)
    scale = math.sqrt(2.0) / float(np.hypot(*(points - centre).T).mean())
    matrix = np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1.0]])
    return (points - centre) * scale, matrix


def _equations(source: Points, target: Points) -> Points:
    rows = []
    for (x, y), (u, v) in zip(source.tolist(), target.tolist(), strict=True):
        rows.append([-x, -y, -1, 0, 0, 0, u * x, u * y, u])
        rows.append([0, 0, 0, -x, -y, -1, v * x, v * y, v])
    return np.asarray(rows, np.float64)

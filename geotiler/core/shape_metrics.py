"""How well the outline of an object agrees with that of its true shape.

Everything takes arrays of pairs of polygons or multipolygons and answers one number for each pair.
Lengths are in the unit of the coordinates, which must be the same along x and y.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Geometries = npt.NDArray[np.object_]

LARGEST_STRETCH = 2.0
"""Pieces of an outline whose image on the other one is longer or shorter than by this factor are
not compared: they were projected around a corner.

Source: Girard et al., Polygonal Building Extraction by Frame Field Learning, CVPR 2021."""

POINTS_AT_ONCE = 500_000


class _Corners(NamedTuple):
    """Corners of all rings of some polygons."""

    xy: Floats
    """(n, 2), rings not closed."""
    owner: Ints
    """(n): polygon of each."""


def corner_count(shapes: Geometries) -> Ints:
    """(n): corners of each polygon, holes included; the closing point counts once."""
    return np.bincount(_corners(shapes).owner, minlength=len(shapes))


def polis(one: Geometries, other: Geometries) -> Floats:
    """(n): PoLiS distance: mean distance from the corners of each polygon to the other's outline.

    0 for equal polygons; symmetric.

    Source: Avbelj, Müller and Bamler, A Metric for Polygon Comparison and Building Extraction
    Evaluation, IEEE GRSL 12 (2015).
    """
    return (_to_outline(one, other) + _to_outline(other, one)) / 2


def c_iou(iou: Floats, corners: Ints, true_corners: Ints) -> Floats:
    """(n): complexity-aware IoU: less by how much the numbers of corners differ, relatively.

    C-IoU = IoU · (1 - |N - N'| / (N + N')), here of each pair of objects; published figures are
    of all polygons of an image together.

    Source: Zorzi, Bazrafkan, Habenschuss and Fraundorfer, PolyWorld, CVPR 2022.
    """
    result: Floats = iou * (1 - np.abs(corners - true_corners) / (corners + true_corners))
    return result


def max_tangent_angle_deg(shapes: Geometries, truth: Geometries, spacing: Floats) -> Floats:
    """(n): largest angle, 0 to 90 degrees, between an outline and its nearest true outline.

    The outline is cut into pieces of at most `spacing`, never across a corner; their ends are
    moved to the nearest points of the true outline, and each piece is compared with the straight
    line between its moved ends. NaN where no piece can be compared.

    Args:
        shapes: what was found.
        truth: the true shape of each.
        spacing: (n) longest piece of each.

    Source: Girard et al., Polygonal Building Extraction by Frame Field Learning, CVPR 2021:
    "max tangent angle error".
    """
    rings, owner = _rings(shapes)
    cut = shapely.segmentize(rings, spacing[owner])
    points, ring = shapely.get_coordinates(cut, return_index=True)
    result = np.full(len(shapes), -1.0)
    targets = shapely.boundary(truth)
    shapely.prepare(targets)
    for part in _batches(ring):
        here, of_ring = points[part], ring[part]
        of_pair = owner[of_ring]
        there = _nearest(here, targets[of_pair])
        same = of_ring[1:] == of_ring[:-1]
        angle = _angles_deg(np.diff(here, axis=0), np.diff(there, axis=0))
        usable = same & np.isfinite(angle)
        np.maximum.at(result, of_pair[1:][usable], angle[usable])
    return np.where(result < 0, np.nan, result)


def _rings(shapes: Geometries) -> tuple[Geometries, Ints]:
    """All rings, and the polygon of each."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    return rings, owner[part]


def _corners(shapes: Geometries) -> _Corners:
    rings, owner = _rings(shapes)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    closing = np.ones(len(ring), bool)  # the last point of each ring
    closing[:-1] = ring[1:] != ring[:-1]
    return _Corners(xy=xy[~closing], owner=owner[ring[~closing]])


def _to_outline(shapes: Geometries, others: Geometries) -> Floats:
    """(n): mean distance from the corners of a polygon to the outline of the other."""
    corners = _corners(shapes)
    outlines = shapely.boundary(others)
    distance = shapely.distance(shapely.points(corners.xy), outlines[corners.owner])
    total = np.bincount(corners.owner, distance, minlength=len(shapes))
    return total / np.bincount(corners.owner, minlength=len(shapes))


def _batches(ring: Ints) -> list[slice]:
    """The points in parts of about POINTS_AT_ONCE that end between rings."""
    edges = [0]
    while edges[-1] < len(ring):
        last = min(edges[-1] + POINTS_AT_ONCE, len(ring)) - 1
        edges.append(int(np.searchsorted(ring, ring[last], side="right")))
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _nearest(points: Floats, outlines: Geometries) -> Floats:
    """(n, 2): the point of each outline that is nearest to each point."""
    lines = shapely.shortest_line(shapely.points(points), outlines)
    nearest: Floats = shapely.get_coordinates(lines)[1::2]
    return nearest


def _angles_deg(pieces: Floats, images: Floats) -> Floats:
    """(n): angle between a piece and its image, 0 to 90; NaN where it cannot be told."""
    lengths, image_lengths = np.hypot(*pieces.T), np.hypot(*images.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        stretch = image_lengths / lengths
        cross = pieces[:, 0] * images[:, 1] - pieces[:, 1] * images[:, 0]
        dot = (pieces * images).sum(axis=1)
        # The arc tangent keeps digits where the arc cosine has none, near 0.
        angle = np.degrees(np.arctan2(np.abs(cross), np.abs(dot)))
    kept = (stretch >= 1 / LARGEST_STRETCH) & (stretch <= LARGEST_STRETCH)
    result: Floats = np.where(kept, angle, np.nan)
    return result

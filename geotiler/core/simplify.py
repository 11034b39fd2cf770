"""Fewer corners: Douglas-Peucker over many rings at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Geometries = npt.NDArray[np.object_]

STAIRS_PX = 1.0
"""Tolerance for outlines along pixels. The staircase of a straight edge is a band of 0.71 to 1.41
pixels, by its direction, so that this takes most of it away and leaves what is larger than a pixel.
"""

HALVINGS = 3
"""How often the tolerance of a polygon is halved that would become invalid."""


def simplify(geometries: Geometries, pixel_size: Floats, tolerance: Floats) -> Geometries:
    """Polygons with a part of their corners, none moved, all left out ones within the tolerance.

    Distances are measured on the ground. A ring keeps at least four corners. Where a polygon
    would become invalid its tolerance is halved, at last it stays as it is. Polygons are taken
    one by one: a border that two of them share may come apart.

    Args:
        geometries: in pixel coordinates, rings of four corners or more.
        pixel_size: (n, 2) size of a pixel on the ground at each of them.
        tolerance: (n) in the unit of `pixel_size`; 0 leaves a polygon alone.

    Source: Douglas and Peucker, Cartographica 10 (1973).
    """
    result = geometries.copy()
    open_ = np.flatnonzero(tolerance > 0)
    for halving in range(HALVINGS + 1):
        if not open_.size:
            break
        # Scaled so that the tolerance is 1 for all.
        scale = pixel_size[open_] / tolerance[open_, None] * 2.0**halving
        thin = _thinned(geometries[open_], scale)
        sound = shapely.is_valid(thin)
        result[open_[sound]] = thin[sound]
        open_ = open_[~sound]
    return result


def _thinned(geometries: Geometries, scale: Floats) -> Geometries:
    """The polygons with the corners that a tolerance of 1 leaves, valid or not.

    Args:
        geometries: polygons and multipolygons.
        scale: (n, 2): what to multiply the coordinates of each with.
    """
    parts, owner = shapely.get_parts(geometries, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    starts = np.searchsorted(ring, np.arange(len(rings) + 1))
    kept = corners_kept(points * scale[owner[ring_part]][ring], starts)
    thin_rings = shapely.linearrings(points[kept], indices=ring[kept])
    thin: Geometries = shapely.polygons(thin_rings, indices=ring_part)
    if len(thin) == len(geometries):
        return thin
    whole = thin[np.searchsorted(owner, np.arange(len(geometries)))]
    several = np.bincount(owner, minlength=len(geometries)) > 1
    member = several[owner]
    group = (np.cumsum(several) - 1)[owner[member]]
    whole[several] = shapely.multipolygons(thin[member], indices=group)
    return whole


def corners_kept(points: Floats, starts: Indices) -> npt.NDArray[np.bool_]:
    """(point): True for corners that stay when all others may be off by up to 1.

    Each ring is cut at two corners that lie far apart, and each half once more at the corner
    furthest off; from there on an arc is cut there only if that corner is further off than 1.

    Args:
        points: (n, 2): closed rings, one after the other.
        starts: (ring + 1).
    """
    kept = np.zeros(len(points), bool)
    first, last = starts[:-1], starts[1:] - 1
    centre = np.add.reduceat(points, first, axis=0) / np.diff(starts)[:, None]
    # The closing point repeats the first; it is left out of the search.
    anchor = _furthest(points, first, last, centre)
    other = _furthest(points, first, last, points[anchor])
    # Arcs are positions along the ring from the anchor on; `where` turns them into points.
    size = last - first
    where = _Positions(first, size, anchor)
    half = (other - anchor) % size
    kept[anchor] = kept[other] = True
    ring = np.tile(np.arange(len(first)), 2)
    begin = np.concatenate([np.zeros_like(half), half])
    end = np.concatenate([half, size])
    forced = True
    while len(ring):
        inner = end - begin > 1
        ring, begin, end = ring[inner], begin[inner], end[inner]
        if not len(ring):
            break
        middle, distance = _widest(points, where, ring, begin, end)
        cut = (distance > 1) | forced
        forced = False
        ring, begin, end, middle = ring[cut], begin[cut], end[cut], middle[cut]
        kept[where(ring, middle)] = True
        ring = np.tile(ring, 2)
        begin, end = np.concatenate([begin, middle]), np.concatenate([middle, end])
    return kept


class _Positions:
    """Points of rings, counted from an anchor of each."""

    def __init__(self, first: Indices, size: Indices, anchor: Indices) -> None:
        self._first = first
        self._size = size
        self._shift = anchor - first

    def __call__(self, ring: Indices, position: Indices) -> Indices:
        """Index of the point at a position of a ring; positions go around."""
        return self._first[ring] + (self._shift[ring] + position) % self._size[ring]


def _furthest(points: Floats, first: Indices, last: Indices, origin: Floats) -> Indices:
    """(ring): the first point furthest from an origin each."""
    size = last - first
    index = np.repeat(first - np.cumsum(size) + size, size) + np.arange(size.sum())
    away = points[index] - np.repeat(origin, size, axis=0)
    return index[_first_maximum((away**2).sum(axis=1), size)]


def _widest(
    points: Floats, where: _Positions, ring: Indices, begin: Indices, end: Indices
) -> tuple[Indices, Floats]:
    """(arc): position between begin and end furthest from the chord, and how far it is."""
    size = end - begin - 1
    arc = np.repeat(np.arange(len(ring)), size)
    position = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size) + begin[arc] + 1
    start = points[where(ring, begin)]
    chord = points[where(ring, end)] - start
    away = points[where(ring[arc], position)] - start[arc]
    square = (chord**2).sum(axis=1)
    along = (away * chord[arc]).sum(axis=1) / np.where(square > 0, square, 1)[arc]
    foot = chord[arc] * np.clip(along, 0, 1)[:, None]
    distance = np.hypot(*(away - foot).T)
    best = _first_maximum(distance, size)
    return position[best], distance[best]


def _first_maximum(values: Floats, sizes: Indices) -> Indices:
    """(group): index of the first largest value in each group of consecutive values."""
    starts = np.cumsum(sizes) - sizes
    largest = np.maximum.reduceat(values, starts)
    hits = np.flatnonzero(values == np.repeat(largest, sizes))
    return hits[np.searchsorted(hits, starts)]

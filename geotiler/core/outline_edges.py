"""Outlines cut into edges: stretches between the corners that Douglas-Peucker leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.simplify import corners_kept
from geotiler.core.walls import segment_moments

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Geometries = npt.NDArray[np.object_]

EDGE_PX = 1.0
"""Boundary may lie this far from its edge: the staircase of a straight wall does, and no more."""


@dataclass(frozen=True, kw_only=True)
class OutlineEdges:
    """Rings of many polygons, in pixels of one size, each polygon about an origin of its own."""

    start: Floats
    """(segment, 2): pieces of outline, ring by ring; each ring begins at a corner."""
    stop: Floats
    segment_edge: Ints
    """(segment): edge of each piece, ascending."""
    moments: Floats
    """(edge, 6), see `geotiler.core.walls`."""
    tail: Floats
    """(edge, 2): the corner it begins at."""
    head: Floats
    """(edge, 2): the corner it ends at."""
    ring: Ints
    """(edge): ring of each edge, ascending."""
    ring_polygon: Ints
    """(ring): polygon of each ring, ascending; its shell comes first."""
    origin: Floats
    """(polygon, 2): in the coordinates of the polygons."""
    scale: Floats
    """(polygon, 2): multiplies coordinates less the origin."""

    def select(self, keep: npt.NDArray[np.bool_]) -> OutlineEdges:
        """The edges of the polygons marked in `keep` (polygon)."""
        rings = keep[self.ring_polygon]
        edges = rings[self.ring]
        segments = edges[self.segment_edge]
        return OutlineEdges(
            start=self.start[segments],
            stop=self.stop[segments],
            segment_edge=(np.cumsum(edges) - 1)[self.segment_edge[segments]],
            moments=self.moments[edges],
            tail=self.tail[edges],
            head=self.head[edges],
            ring=(np.cumsum(rings) - 1)[self.ring[edges]],
            ring_polygon=(np.cumsum(keep) - 1)[self.ring_polygon[rings]],
            origin=self.origin[keep],
            scale=self.scale[keep],
        )

    def placed(self, points: Floats, ring: Ints) -> Floats:
        """(n, 2): points of rings, back in the coordinates of the polygons."""
        polygon = self.ring_polygon[ring]
        back: Floats = points / self.scale[polygon] + self.origin[polygon]
        return back


def outline_edges(
    polygons: Geometries, scale: Floats, *, within_px: float = EDGE_PX
) -> OutlineEdges:
    """The edges of polygons (no multipolygons).

    Args:
        polygons: in pixel coordinates.
        scale: (polygon, 2): what makes their pixels square and of one size.
        within_px: how far from its edge boundary may lie.
    """
    rings, ring_polygon = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    starts = np.searchsorted(ring, np.arange(len(rings) + 1))
    shells = np.searchsorted(ring_polygon, np.arange(len(polygons)))
    origin = xy[starts[shells]]
    polygon = ring_polygon[ring]
    points = (xy - origin[polygon]) * scale[polygon]
    kept = corners_kept(points / within_px, starts)

    # Without the closing points, and from the first corner of each ring on.
    size = np.diff(starts) - 1
    open_starts = np.cumsum(size) - size
    of = np.repeat(np.arange(len(rings)), size)
    inside = np.arange(len(of)) - open_starts[of]
    is_corner = kept[starts[of] + inside]
    first = np.flatnonzero(is_corner)[np.searchsorted(of[is_corner], np.arange(len(rings)))]
    shift = inside[first]
    turned = starts[of] + (inside + shift[of]) % size[of]
    corner = kept[turned]
    start = points[turned]
    stop = points[starts[of] + (inside + shift[of] + 1) % size[of]]
    edge = np.cumsum(corner) - 1
    begins = np.flatnonzero(corner)
    tail = start[begins]
    ring_of_edge = of[begins]
    last = np.append(begins[1:], len(of)) - 1
    return OutlineEdges(
        start=start,
        stop=stop,
        segment_edge=edge,
        moments=np.add.reduceat(segment_moments(start, stop), begins, axis=0),
        tail=tail,
        head=stop[last],
        ring=ring_of_edge,
        ring_polygon=ring_polygon.astype(np.int64),
        origin=origin,
        scale=scale,
    )

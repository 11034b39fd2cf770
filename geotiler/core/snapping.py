"""Walls in common: lanes of less than two pixels between buildings are closed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from geotiler.core.neighbours import Drawn, apart
from geotiler.core.regularize import Status

SNAP_PX = 2.0
"""Walls that are nearer than this are one wall of two buildings: a lane of one pixel between
them, widened by the steps of the mask."""

CLEARANCE_PX = 1e-3
"""What is thinner is no part of a building but the remainder of a sum."""


def snapped(features: Drawn) -> Drawn:
    """The features with narrow lanes between them given to the later one of two.

    The lane is what a morphological closing of both fills. Where a polygon would not stay one,
    or would lose or gain a hole, it stays as it was.
    """
    drawn, status = features.drawn.copy(), features.status.copy()
    tree = shapely.STRtree(drawn)
    later, earlier = tree.query(drawn, predicate="dwithin", distance=SNAP_PX)
    pairs = np.stack([later, earlier], axis=1)[later > earlier]
    for one, other in pairs[np.lexsort(pairs.T[::-1])].tolist():
        wider = _with_lane(drawn[one], drawn[other])
        if wider is not None:
            drawn[one] = wider
            status[one] = Status.SIMPLIFIED if not status[one] else Status.CUT
    found = apart(replace(features, drawn=drawn, status=status), gap_px=0.0)
    changed = np.flatnonzero(~shapely.equals_exact(found.drawn, features.drawn))
    found.drawn[changed] = [without_spikes(polygon) for polygon in found.drawn[changed]]
    return found


def without_spikes(polygon: shapely.Polygon) -> shapely.Polygon:
    """A polygon without spikes and slits thinner than `CLEARANCE_PX`; as it is if it has none.

    Differences of polygons that share a wall leave them. They are valid in pixels, and may cross
    themselves once their corners are rounded or taken to another coordinate system.
    """
    half = CLEARANCE_PX / 2
    found = polygon
    for distance in (-half, 2 * half, -half):  # an opening, and a closing
        found = shapely.buffer(found, distance, join_style="mitre")
    parts = shapely.get_parts(found)
    if not len(parts):
        return polygon
    largest = parts[int(shapely.area(parts).argmax())]
    # Sharp corners lose little length; going to the end of a spike and back is more.
    is_thin = len(parts) > 1 or polygon.length - largest.length > 10 * CLEARANCE_PX
    is_sound = largest.is_valid and largest.area > 0.99 * polygon.area
    return largest if is_thin and is_sound else polygon


def _with_lane(one: shapely.Polygon, other: shapely.Polygon) -> shapely.Polygon | None:
    """The first polygon with the lane between both; None where that is not one sound polygon."""
    both = shapely.union(one, other)
    wide = shapely.buffer(both, SNAP_PX / 2, join_style="mitre")
    closed = shapely.buffer(wide, -SNAP_PX / 2, join_style="mitre")
    lane = shapely.difference(closed, both)
    parts = [part for part in shapely.get_parts(lane) if part.distance(other) == 0]
    wider = shapely.difference(shapely.union_all([one, *parts]), other)
    sound = (
        wider.geom_type == "Polygon"
        and wider.is_valid
        and len(wider.interiors) == len(one.interiors)
        and one.area < wider.area < one.area + SNAP_PX * one.length
    )
    return wider if sound else None

"""Walls in common: what stands less than two pixels apart is drawn together."""

from __future__ import annotations

from dataclasses import replace

import shapely

from geotiler.core.neighbours import Drawn, apart
from geotiler.core.regularize import Status

SNAP_PX = 2.0
"""Walls that are nearer than this are one wall of two buildings: a lane of one pixel between
them, widened by the steps of the mask."""


def snapped(features: Drawn) -> Drawn:
    """The features with the walls of later ones moved onto those of earlier ones nearby.

    Corners and walls are moved; where that makes a polygon invalid, or moves it onto a third,
    it stays as it was.
    """
    drawn, status = features.drawn.copy(), features.status.copy()
    tree = shapely.STRtree(drawn)
    later, earlier = tree.query(drawn, predicate="dwithin", distance=SNAP_PX)
    for one, other in sorted(zip(later.tolist(), earlier.tolist(), strict=True)):
        if other >= one:
            continue
        moved = shapely.difference(shapely.snap(drawn[one], drawn[other], SNAP_PX), drawn[other])
        same = shapely.get_num_interior_rings(moved) == shapely.get_num_interior_rings(drawn[one])
        if moved.geom_type != "Polygon" or not moved.is_valid or not same:
            continue
        if abs(moved.area - drawn[one].area) > SNAP_PX * drawn[one].length:
            continue
        drawn[one] = moved
        if status[one] != Status.SIMPLIFIED:
            status[one] = Status.CUT
    return apart(replace(features, drawn=drawn, status=status), rough_too=False)

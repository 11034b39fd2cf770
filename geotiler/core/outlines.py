"""Complete features of a class raster as tables of rings in pixel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.tracing import Bools, Ints, offsets


@dataclass(frozen=True, kw_only=True)
class Outlines:
    """Complete features in pixel coordinates (x to the right, y down, corners are integers).

    A feature has one part, or several that touch at corners (8-connected). A part is one shell,
    counter-clockwise in (x, y) arithmetic, and its holes; no ring touches itself.
    """

    xy: npt.NDArray[np.int32]
    """(vertex, 2): corners of all rings, one after the other, not closed."""
    ring_starts: Ints
    """(ring + 1): where each ring begins in `xy`."""
    ring_area_px: Ints
    """(ring): pixels enclosed; negative for holes. A part's shell comes before its holes."""
    ring_part: Ints
    """(ring): part of each ring, ascending."""
    part_feature: Ints
    """(part): feature of each part, ascending."""
    class_id: npt.NDArray[np.uint8]
    """(feature): class of each feature."""

    def __len__(self) -> int:
        """Number of features."""
        return len(self.class_id)

    @property
    def ring_feature(self) -> Ints:
        """(ring): feature of each ring."""
        return self.part_feature[self.ring_part]

    def area_px(self) -> Ints:
        """(feature): pixels covered, holes left out; exact."""
        total = np.zeros(len(self), np.int64)
        np.add.at(total, self.ring_feature, self.ring_area_px)
        return total

    def bounds_px(self) -> Ints:
        """(feature, 4): left, top, right, bottom."""
        if not len(self):
            return np.empty((0, 4), np.int64)
        feature = self.ring_feature
        first = np.searchsorted(feature, np.arange(len(self)))
        low = np.minimum.reduceat(self.xy, self.ring_starts[:-1][first], axis=0)
        high = np.maximum.reduceat(self.xy, self.ring_starts[:-1][first], axis=0)
        return np.hstack([low, high]).astype(np.int64)

    def places(self) -> Ints:
        """(feature): a number that ascends in the order of a `PolygonStream`, one of its own for
        each feature of a raster: its last row, then where its bottom side begins in it.
        """
        if not len(self):
            return np.empty(0, np.int64)
        first = self.ring_starts[np.searchsorted(self.ring_feature, np.arange(len(self)))]
        x, y = self.xy.astype(np.int64).T
        low = np.maximum.reduceat(y, first)
        is_bottom = y == np.repeat(low, np.diff([*first, len(y)]))
        return (low << 32) | np.minimum.reduceat(np.where(is_bottom, x, 1 << 31), first)

    def without_rings(self, drop: Bools) -> Outlines:
        """The same features less the holes marked in `drop` (ring); shells must stay."""
        return self._rings(~drop)

    def select(self, keep: Bools) -> Outlines:
        """The features marked in `keep` (feature)."""
        rings = self._rings(keep[self.ring_feature])
        kept_parts = keep[self.part_feature]
        return Outlines(
            xy=rings.xy,
            ring_starts=rings.ring_starts,
            ring_area_px=rings.ring_area_px,
            ring_part=(np.cumsum(kept_parts) - 1)[rings.ring_part],
            part_feature=(np.cumsum(keep) - 1)[self.part_feature[kept_parts]],
            class_id=self.class_id[keep],
        )

    def between(self, start: int, stop: int) -> Outlines:
        """The features from one position up to another, as views."""
        first, last = np.searchsorted(self.part_feature, [start, stop])
        begin, end = np.searchsorted(self.ring_part, [first, last])
        low, high = self.ring_starts[begin], self.ring_starts[end]
        return Outlines(
            xy=self.xy[low:high],
            ring_starts=self.ring_starts[begin : end + 1] - low,
            ring_area_px=self.ring_area_px[begin:end],
            ring_part=self.ring_part[begin:end] - first,
            part_feature=self.part_feature[first:last] - start,
            class_id=self.class_id[start:stop],
        )

    def _rings(self, keep: Bools) -> Outlines:
        sizes = np.diff(self.ring_starts)
        return Outlines(
            xy=self.xy[np.repeat(keep, sizes)],
            ring_starts=offsets(sizes[keep]),
            ring_area_px=self.ring_area_px[keep],
            ring_part=self.ring_part[keep],
            part_feature=self.part_feature,
            class_id=self.class_id,
        )

    def polygons(self) -> npt.NDArray[np.object_]:
        """(feature): shapely Polygon, or MultiPolygon where a feature has several parts."""
        if not len(self):
            return np.empty(0, object)
        ring_of_vertex = np.repeat(np.arange(len(self.ring_part)), np.diff(self.ring_starts))
        rings = shapely.linearrings(self.xy.astype(np.float64), indices=ring_of_vertex)
        return self.polygons_of(rings)

    def polygons_of(self, rings: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
        """(feature): polygons of other rings (ring) in the place of these."""
        parts: npt.NDArray[np.object_] = shapely.polygons(rings, indices=self.ring_part)
        if len(parts) == len(self):
            return parts
        whole: npt.NDArray[np.object_] = parts[
            np.searchsorted(self.part_feature, np.arange(len(self)))
        ]
        several = np.bincount(self.part_feature, minlength=len(self)) > 1
        member = several[self.part_feature]
        groups = np.cumsum(several) - 1
        whole[several] = shapely.multipolygons(
            parts[member], indices=groups[self.part_feature[member]]
        )
        return whole


def covered(outlines: Outlines) -> Bools:
    """The pixels (row, col) that features cover, within the bounds of all of them; at least one."""
    low, high = outlines.xy.min(axis=0), outlines.xy.max(axis=0)
    column, row = (outlines.xy - low).astype(np.int64).T
    following = np.arange(1, len(row) + 1)
    following[outlines.ring_starts[1:] - 1] = outlines.ring_starts[:-1]
    upright = np.flatnonzero(column == column[following])
    begin, end = np.sort([row[upright], row[following[upright]]], axis=0)
    width, height = (high - low).tolist()
    sides = np.zeros((height + 1, width + 1), np.int32)
    np.add.at(sides, (begin, column[upright]), 1)
    np.add.at(sides, (end, column[upright]), -1)
    np.cumsum(sides, axis=0, out=sides)
    is_odd: Bools = np.cumsum(sides[:-1, :-1], axis=1) % 2 == 1
    return is_odd


def joined_outlines(tables: Sequence[Outlines]) -> Outlines:
    """The features of several tables, in order; at least one table."""
    if len(tables) == 1:
        return tables[0]
    parts = offsets(np.array([len(table.part_feature) for table in tables]))
    features = offsets(np.array([len(table) for table in tables]))
    vertices = offsets(np.array([len(table.xy) for table in tables]))
    return Outlines(
        xy=np.concatenate([table.xy for table in tables]),
        ring_starts=np.concatenate(
            [
                *(table.ring_starts[:-1] + at for table, at in zip(tables, vertices, strict=False)),
                vertices[-1:],
            ]
        ),
        ring_area_px=np.concatenate([table.ring_area_px for table in tables]),
        ring_part=np.concatenate(
            [table.ring_part + at for table, at in zip(tables, parts, strict=False)]
        ),
        part_feature=np.concatenate(
            [table.part_feature + at for table, at in zip(tables, features, strict=False)]
        ),
        class_id=np.concatenate([table.class_id for table in tables]),
    )

"""How `geotiler vectorize` draws outlines; each batch by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.contour import crossings
from geotiler.core.coverage import contoured, noded
from geotiler.core.measure import Ground
from geotiler.core.neighbours import Drawn, drawn_features
from geotiler.core.outlines import Outlines
from geotiler.core.regularize import Status, regularize
from geotiler.core.simplify import STAIRS_PX, simplify
from geotiler.errors import InputError
from geotiler.io.probability_sampler import ProbabilitySampler
from geotiler.io.remote import shown
from geotiler.specs import Regularize, VectorizeSpec

CONTOUR_PX = 0.3
"""Tolerance for outlines between the pixels, which have no staircase."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sized:
    """Outlines that are large enough, and what was left out for them."""

    outlines: Outlines
    pixel_size: Floats
    """(feature, 2): on the ground."""
    pixel_area: Floats
    """(feature)."""
    filled: npt.NDArray[np.int64]
    """(feature): holes that were filled."""
    small: npt.NDArray[np.int64]
    """Places of features that were too small."""

    def part(self, start: int, stop: int) -> Sized:
        """The features from one position up to another."""
        count = len(self.outlines)
        if start == 0 and stop >= count:
            return self
        return Sized(
            outlines=self.outlines.between(start, min(stop, count)),
            pixel_size=self.pixel_size[start:stop],
            pixel_area=self.pixel_area[start:stop],
            filled=self.filled[start:stop],
            small=self.small,
        )


def sized(outlines: Outlines, ground: Ground, spec: VectorizeSpec, *, fill: bool) -> Sized:
    """The outlines of at least the least area, less holes below theirs.

    Raises:
        InputError: they lie nowhere on the earth.
    """
    bounds = outlines.bounds_px()
    size, pixel_area = ground.pixel_size_m((bounds[:, :2] + bounds[:, 2:]) / 2)
    if not np.isfinite(pixel_area).all():
        raise InputError(
            f"{shown(spec.mask)} reaches beyond where its CRS has a place on the earth",
            hint="its transform or its CRS is wrong",
        )
    ring_area = outlines.ring_area_px * pixel_area[outlines.ring_feature]
    small = (outlines.ring_area_px < 0) & (ring_area > -spec.min_hole_m2)
    if not fill:
        small[:] = False
    filled = np.bincount(outlines.ring_feature[small], minlength=len(outlines))
    outlines = outlines.without_rings(small)
    keep = outlines.area_px() * pixel_area >= spec.min_area_m2
    return Sized(
        outlines=outlines.select(keep),
        pixel_size=size[keep],
        pixel_area=pixel_area[keep],
        filled=filled[keep],
        small=outlines.places()[~keep],
    )


def draw(
    table: Sized,
    spec: VectorizeSpec,
    sampler: ProbabilitySampler | None,
    *,
    contour: bool,
    grain_px: float,
) -> Drawn:
    """The features of some outlines, drawn as the specification says, with their attributes.

    Args:
        table: what to draw.
        spec: how.
        sampler: of probabilities, if there are any.
        contour: outlines run where the probability crosses its threshold.
        grain_px: side of the pixels that the mask was made in.
    """
    outlines = table.outlines
    columns: dict[str, npt.NDArray[Any]] = {
        "class_id": outlines.class_id,
        "filled": table.filled,
        "pixel_size": table.pixel_size,
    }
    rough = outlines.polygons()
    if sampler is not None and len(outlines):
        sides, above, mean = sampler.sample(outlines)
        columns["mean_probability"] = mean
        if contour:
            points = crossings(sides, above[:, 0], above[:, 1])
            rough = outlines.polygons_of(shapely.linearrings(points, indices=sides.ring))
    elif sampler is not None:
        columns["mean_probability"] = np.empty(0)
    found = regularize(
        rough,
        table.pixel_size,
        mode=spec.regularize,
        bound_px=spec.max_deviation_px,
        grain_px=grain_px,
    )
    columns["angle"] = found.angle
    drawn = found.geometries
    plain = np.flatnonzero(found.status == Status.SIMPLIFIED)
    step = CONTOUR_PX if contour else STAIRS_PX
    tolerance = step * grain_px * np.sqrt(table.pixel_area[plain])
    if spec.simplify_m is not None:
        tolerance = np.full(len(plain), spec.simplify_m)
    drawn[plain] = simplify(rough[plain], table.pixel_size[plain], tolerance)
    return drawn_features(rough, drawn, found.status, columns)


def rough_coverage(
    outlines: Sequence[Outlines], sampler: ProbabilitySampler | None, *, contour: bool
) -> tuple[npt.NDArray[np.object_], Floats | None]:
    """Polygons (feature) of a whole map whose borders are common ones, and the mean (feature)
    probability of each, if there are probabilities.

    Args:
        outlines: all of the map.
        sampler: of probabilities, if there are any.
        contour: borders run where two classes are equally likely.
    """
    if sampler is None:
        return noded(outlines), None
    sides, points, means = [], [], []
    for table in outlines:
        here, above, mean = sampler.sample(table)
        means.append(mean)
        if contour:
            sides.append(here)
            points.append(crossings(here, above[:, 0], above[:, 1]))
    rough = contoured(outlines, sides, points) if contour else noded(outlines)
    return rough, np.concatenate(means)


def reach_px(spec: VectorizeSpec, ground: Ground, shape: tuple[int, int], grain_px: float) -> float:
    """How far a drawn outline may lie beyond its rough one: a corner of 4 px, or the tolerance."""
    far = 6.0 * grain_px
    if spec.simplify_m is not None:
        middle = np.array([[shape[1] / 2, shape[0] / 2]])
        size, _ = ground.pixel_size_m(middle)
        if np.isfinite(size).all():
            far = max(far, 2.0 * spec.simplify_m / float(size.min()))
    return far


def directions(features: Drawn, ground: Ground) -> Floats:
    """(feature): direction of the longer sides on the ground, degrees clockwise from north.

    That of the walls where they have one, else that of the narrowest rectangle around.
    """
    count = len(features)
    size = features.columns["pixel_size"]
    side = np.sqrt(size.prod(axis=1))[:, None] if count else np.ones((0, 1))
    scale = size / side
    angle = features.columns["angle"].copy()
    points, owner = shapely.get_coordinates(features.drawn, return_index=True)
    points = points * scale[owner]
    missing = np.flatnonzero(np.isnan(angle) | (features.status == Status.SIMPLIFIED))
    if missing.size:
        chosen = np.isin(owner, missing)
        square = shapely.set_coordinates(features.drawn[missing].copy(), points[chosen])
        boxes = shapely.minimum_rotated_rectangle(square)
        for index, box in zip(missing.tolist(), boxes, strict=True):
            corner = shapely.get_coordinates(box)
            step = corner[1] - corner[0] if len(corner) > 1 else np.array([1.0, 0.0])
            angle[index] = np.arctan2(step[1], step[0])
    turn = angle[owner]
    along = np.cos(turn) * points[:, 0] + np.sin(turn) * points[:, 1]
    across = np.cos(turn) * points[:, 1] - np.sin(turn) * points[:, 0]
    starts = np.searchsorted(owner, np.arange(count))
    if not count:
        return np.empty(0)
    spans = [
        np.maximum.reduceat(each, starts) - np.minimum.reduceat(each, starts)
        for each in (along, across)
    ]
    angle = np.where(spans[0] >= spans[1] - 1e-9, angle, angle + np.pi / 2)
    step = np.stack([np.cos(angle), np.sin(angle)], axis=1) / scale
    middle = shapely.bounds(features.drawn)
    return ground.bearing_deg((middle[:, :2] + middle[:, 2:]) / 2, step)


def is_coverage(spec: VectorizeSpec, is_several: bool) -> bool:
    """Whether the map is simplified as a whole: several classes, and nothing else asked for."""
    return is_several and spec.regularize is Regularize.AUTO

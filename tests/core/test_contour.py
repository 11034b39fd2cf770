"""Outlines between pixels, against marching squares by hand and known shapes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geotiler.core.contour import NEAREST, crossings, pixel_sides, row_sums
from geotiler.core.polygons import PolygonStream, object_outlines

GRIDS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 1)
)


def traced(mask):
    """All outlines in one table: an empty row below completes them."""
    stream = PolygonStream(mask.shape[1])
    (found,) = stream.add_strip(np.pad(mask, ((0, 1), (0, 0))))
    return found


def padded(values, at, fill):
    whole = np.pad(values, 1, constant_values=fill)
    return whole[at[:, 0] + 1, at[:, 1] + 1]


def contour(field, level=0.5):
    outlines = traced((field >= level).astype(np.uint8))
    sides = pixel_sides(outlines)
    inside = padded(field, sides.inside, np.nan) - level
    outside = padded(field, sides.outside, np.nan) - level
    points = crossings(sides, inside, outside)
    rings = shapely.linearrings(points, indices=sides.ring)
    return outlines, shapely.polygons(rings, indices=outlines.ring_part)


@settings(max_examples=30)
@given(GRIDS)
def test_sides_lie_between_a_pixel_inside_and_one_outside(field):
    mask = (field >= 0.5).astype(np.uint8)
    sides = pixel_sides(traced(mask))
    assert (padded(mask, sides.inside, 0) == 1).all()
    assert (padded(mask, sides.outside, 0) == 0).all()
    assert (np.abs(sides.inside - sides.outside).sum(axis=1) == 1).all()


@settings(max_examples=30)
@given(GRIDS)
def test_contours_are_valid_and_hold_the_centres_of_their_pixels(field):
    outlines, polygons = contour(field)
    assert shapely.is_valid(polygons).all()
    assert len(polygons) == len(outlines)
    rows, cols = np.nonzero(field >= 0.5)
    centres = shapely.points(cols + 0.5, rows + 0.5)
    assert shapely.covers(shapely.union_all(polygons), centres).all() or not len(centres)
    rows, cols = np.nonzero(field < 0.5)
    others = shapely.points(cols + 0.5, rows + 0.5)
    assert not shapely.intersects(shapely.union_all(polygons), others).any()


@settings(max_examples=30)
@given(GRIDS)
def test_sums_over_rings_are_sums_over_pixels(field):
    outlines = traced((field >= 0.5).astype(np.uint8))
    sides = pixel_sides(outlines)
    left_of = np.pad(np.cumsum(field, axis=1), ((0, 0), (1, 0)))
    col = np.maximum(sides.inside[:, 1], sides.outside[:, 1])
    row = np.clip(sides.inside[:, 0], 0, len(field) - 1)
    total = row_sums(sides, len(outlines.ring_part), left_of[row, col])
    assert total.sum() == pytest.approx(field[field >= 0.5].sum())


@pytest.mark.parametrize("degrees", [0, 12, 45, 70])
def test_a_straight_edge_has_no_staircase(degrees):
    rows, cols = np.indices((60, 60)) + 0.5
    normal = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    away = (cols - 30.2) * normal[0] + (rows - 29.7) * normal[1]
    _, (polygon,) = contour(np.clip(0.5 - away / 6, 0, 1))
    xy = shapely.get_coordinates(polygon)
    off = (xy - [30.2, 29.7]) @ normal
    inner = ((xy > 1) & (xy < 59)).all(axis=1)
    assert np.abs(off[inner]).max() < NEAREST


def test_a_disc_is_round():
    rows, cols = np.indices((50, 50)) + 0.5
    _, (polygon,) = contour(np.clip(0.5 + (15.4 - np.hypot(cols - 25, rows - 25)) / 4, 0, 1))
    radius = np.hypot(*(shapely.get_coordinates(polygon) - 25).T)
    assert radius == pytest.approx(15.4, abs=0.02)


def test_the_edge_of_the_raster_stays_halfway_or_outside():
    _, (polygon,) = contour(np.ones((3, 4)))
    assert polygon.bounds == (0, 0, 4, 3)


@pytest.mark.parametrize(
    "above", [(0.2, -0.3), (-0.3, 0.2), (0.2, 0.3), (-0.1, -0.2), (0.1, np.nan)]
)
@pytest.mark.parametrize("shape", [(1, 2), (2, 1)])
def test_two_objects_cross_their_common_side_at_one_point(above, shape):
    """Whichever of them lies inside, and whether or not both are above the threshold."""
    objects = np.array([1, 2], np.int32).reshape(shape)
    value = np.array(above).reshape(shape)
    sides = pixel_sides(object_outlines(objects, 1, (0, 0)))
    there = ((sides.outside >= 0) & (sides.outside < shape)).all(axis=1)
    outside = np.full(len(there), np.nan)
    outside[there] = value[tuple(sides.outside[there].T)]
    points = crossings(sides, value[tuple(sides.inside.T)], outside)[there]
    assert len(points) == 2
    assert points[0].tolist() == points[1].tolist()
    known = above[0] * above[1] < 0
    assert (points[0].tolist() != [0.5 * shape[1], 0.5 * shape[0]]) == known

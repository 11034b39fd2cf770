"""Maps of several classes drawn between the pixels: no gaps, no overlaps, true borders."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geotiler.core.contour import crossings, pixel_sides, side_ends
from geotiler.core.coverage import contoured, simplified_coverage
from geotiler.core.polygons import PolygonStream

FIELDS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 4), st.integers(1, 9), st.integers(1, 9)),
    elements=st.floats(0, 1),
)


def drawn(fields):
    """Polygons of the largest of some fields, and the class of each."""
    leader = fields.argmax(axis=0)
    stream = PolygonStream(leader.shape[1])
    classes = (leader + 1).astype(np.uint8)
    tables = [t for row in classes for t in stream.add_strip(row[None])] + list(stream.finish())
    tables = [table for table in tables if len(table)]
    sides = [pixel_sides(table) for table in tables]
    wide = np.pad(fields, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    around = np.pad(leader, 1)
    points = []
    for each in sides:
        inner, outer = each.inside.T + 1, each.outside.T + 1
        a, b = around[tuple(inner)], around[tuple(outer)]
        above = [wide[a, *at] - wide[b, *at] for at in (inner, outer)]
        points.append(crossings(each, *above))
    return contoured(tables, sides, points), np.concatenate([t.class_id for t in tables])


@settings(max_examples=60, deadline=None)
@given(FIELDS)
def test_there_are_neither_gaps_nor_overlaps(fields):
    polygons, classes = drawn(fields)
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    whole = shapely.union_all(polygons)
    # Between the pixels only the corners of the raster are cut.
    assert not shapely.get_num_interior_rings(shapely.get_parts(whole)).any()
    assert shapely.area(polygons).sum() == pytest.approx(whole.area)
    rows, cols = np.indices(fields.shape[1:]).reshape(2, -1)
    at = shapely.STRtree(polygons).query(shapely.points(cols + 0.5, rows + 0.5), "within")
    assert at[0].tolist() == list(range(len(rows)))
    np.testing.assert_array_equal(classes[at[1]], fields.argmax(axis=0).ravel() + 1)
    assert shapely.coverage_is_valid(simplified_coverage(polygons, np.ones(2), 0.6))


@settings(max_examples=30, deadline=None)
@given(FIELDS)
def test_sides_end_where_the_next_ones_begin(fields):
    stream = PolygonStream(fields.shape[2])
    (table,) = stream.add_strip(np.pad(fields.argmax(axis=0).astype(np.uint8), ((0, 1), (0, 0))))
    sides = pixel_sides(table)
    start, stop = side_ends(sides)
    for ring in range(len(table.ring_starts) - 1):
        mine = sides.ring == ring
        np.testing.assert_array_equal(np.roll(start[mine], -1, axis=0), stop[mine])
        middle = (start[mine] + stop[mine]) / 2
        pixels = (sides.inside[mine] + sides.outside[mine])[:, ::-1] / 2 + 0.5
        np.testing.assert_array_equal(middle, pixels)


def test_three_countries_meet_at_a_point_and_have_straight_borders():
    rows, cols = np.indices((60, 60)) + 0.5
    towards = np.radians([20, 140, 260])
    fields = np.stack([(cols - 30) * np.cos(t) + (rows - 30) * np.sin(t) for t in towards])
    polygons, _ = drawn(fields)
    assert len(polygons) == 3
    for one, other in ((0, 1), (1, 2), (0, 2)):
        shared = shapely.get_coordinates(shapely.intersection(polygons[one], polygons[other]))
        inner = (np.hypot(*(shared - 30).T) > 1.5) & ((shared > 1) & (shared < 59)).all(axis=1)
        xy = shared[inner] - 30
        assert len(xy) > 20
        # On a border two of the three are equal.
        values = np.sort(np.stack([xy @ [np.cos(t), np.sin(t)] for t in towards]), axis=0)
        assert np.abs(values[2] - values[1]).max() < 0.04

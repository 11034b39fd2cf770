"""Simplified outlines: fewer corners, within the tolerance, valid."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geotiler.core.polygons import PolygonStream
from geotiler.core.simplify import simplify

BLOBS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 1)
)


def outlines(mask, eight=False):
    stream = PolygonStream(mask.shape[1], eight_connected=eight)
    found = [*stream.add_strip(mask), *stream.finish()]
    return np.concatenate([each.polygons() for each in found])


def staircase(length: int, slope: float) -> shapely.Polygon:
    """The pixels below a straight edge."""
    top = np.floor(np.arange(length) * slope).astype(int) + 5
    mask = (np.arange(top.max() + 1)[:, None] < top).astype(np.uint8)
    return outlines(mask)[0]


@settings(max_examples=150, deadline=None)
@given(BLOBS, st.floats(0.3, 4.0), st.floats(0.3, 3.0), st.booleans())
def test_no_corner_moves_and_none_left_out_is_further_off_than_the_tolerance(
    mask, tolerance, height_m, eight
):
    rough = outlines(mask, eight)
    size = np.tile([1.0, height_m], (len(rough), 1))
    thin = simplify(rough, size, np.full(len(rough), tolerance))
    assert shapely.is_valid(thin).all()
    assert (shapely.get_type_id(thin) == shapely.get_type_id(rough)).all()
    for one, other in zip(rough, thin, strict=True):
        corners = shapely.get_coordinates(one)
        left = shapely.get_coordinates(other)
        assert {tuple(point) for point in left} <= {tuple(point) for point in corners}
        edge = shapely.boundary(shapely.transform(other, lambda p: p * size[0]))
        off = shapely.distance(shapely.points(corners * size[0]), edge)
        assert off.max() <= tolerance + 1e-9
        rings = [shapely.get_num_interior_rings(shapely.get_parts(each)) for each in (one, other)]
        assert rings[0].tolist() == rings[1].tolist()


@pytest.mark.parametrize("slope", [0.05, 0.1, 1 / 3, 0.5, 0.8, 1.0])
def test_a_staircase_becomes_a_line(slope):
    polygon = np.array([staircase(60, slope)])
    thin = simplify(polygon, np.ones((1, 2)), np.full(1, 1.42))[0]
    assert shapely.get_num_coordinates(thin) <= 8


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (7, 12)])
def test_a_rectangle_stays_itself_at_any_tolerance(shape):
    box = outlines(np.ones(shape, np.uint8))
    for tolerance in (0.5, 1.0, 5.0, 100.0):
        assert simplify(box, np.ones((1, 2)), np.array([tolerance]))[0].equals(box[0])


def test_no_tolerance_leaves_every_corner():
    rough = np.array([staircase(40, 0.3)])
    assert simplify(rough, np.ones((1, 2)), np.zeros(1))[0].equals_exact(rough[0])


def test_each_polygon_has_its_own_tolerance():
    rough = np.array([staircase(40, 0.3)] * 3)
    thin = simplify(rough, np.ones((3, 2)), np.array([0.0, 0.8, 3.0]))
    counts = shapely.get_num_coordinates(thin)
    assert counts[0] > counts[1] > counts[2]


def test_nothing_simplifies_to_nothing():
    assert len(simplify(np.empty(0, object), np.ones((0, 2)), np.ones(0))) == 0

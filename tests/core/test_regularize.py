"""Regular outlines: known buildings come back from their masks, and misfits are refused."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio import features
from scipy import ndimage
from shapely import affinity

from geotiler.core.polygons import PolygonStream
from geotiler.core.regularize import Status, regularize
from geotiler.specs import Regularize

BLOBS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 1)
)


def outlines(mask):
    stream = PolygonStream(mask.shape[1])
    found = [*stream.add_strip(mask), *stream.finish()]
    return np.concatenate([each.polygons() for each in found])


def burned(polygon, side=140):
    """The pixels whose centres lie in a polygon."""
    return features.rasterize([polygon], out_shape=(side, side), dtype=np.uint8)


def drawn(mask, **options):
    found = outlines(mask)
    return found, regularize(found, np.ones((len(found), 2)), **options)


def rectangle(width, height, degrees, x=70.0, y=70.0):
    box = shapely.box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return affinity.rotate(box, degrees)


def turns_of(polygon):
    """Direction of each edge of the shell, degrees."""
    step = np.diff(shapely.get_coordinates(polygon.exterior), axis=0)
    return np.degrees(np.arctan2(step[:, 1], step[:, 0]))


@given(
    st.floats(12, 80), st.floats(12, 80), st.floats(0, 180), st.floats(60, 80), st.floats(60, 80)
)
def test_a_rectangle_at_any_angle_comes_back(width, height, degrees, x, y):
    truth = rectangle(width, height, degrees, x, y)
    (_,), found = drawn(burned(truth))
    (back,) = found.geometries
    assert found.status[0] == Status.RIGHT_ANGLES
    assert shapely.get_num_coordinates(back) == 5
    corners, true_corners = (shapely.get_coordinates(each)[:-1] for each in (back, truth))
    distance = np.hypot(*(corners[:, None] - true_corners[None]).T)
    assert distance.min(axis=0).max() < 1.0  # two walls of half a pixel, and their direction
    assert shapely.area(shapely.symmetric_difference(back, truth)) / truth.length < 0.5
    off = np.degrees(found.angle[0]) - degrees
    assert abs((off + 45) % 90 - 45) < 60 / max(width, height)  # a pixel over its length


@given(st.integers(0, 10**6), st.floats(0, 90), st.floats(24, 60), st.floats(24, 60))
def test_a_noisy_rectangle_comes_back_within_half_a_pixel(seed, degrees, width, height):
    truth = rectangle(width, height, degrees)
    rng = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(burned(truth).astype(float), 1)
    noise = ndimage.gaussian_filter(rng.normal(size=soft.shape), 1)
    mask = soft + 0.08 * noise / noise.std() * (4 * soft * (1 - soft)) >= 0.5
    found, result = drawn(ndimage.binary_opening(mask).astype(np.uint8))
    one = shapely.area(found).argmax()
    back = result.geometries[one]
    assert result.status[one] == Status.RIGHT_ANGLES
    assert shapely.area(shapely.symmetric_difference(back, truth)) / truth.length < 0.5


@settings(max_examples=150)
@given(BLOBS, st.sampled_from(Regularize), st.floats(0.1, 2.0))
def test_any_mask_gives_valid_polygons_within_the_bound(mask, mode, bound_px):
    rough, result = drawn(np.kron(mask, np.ones((3, 3), np.uint8)), mode=mode, bound_px=bound_px)
    assert shapely.is_valid(result.geometries).all()
    refused = result.status == Status.SIMPLIFIED
    assert all(a == b for a, b in zip(rough[refused], result.geometries[refused], strict=True))
    for one, other in zip(rough, result.geometries, strict=True):
        assert shapely.get_num_interior_rings(one) == shapely.get_num_interior_rings(other)
        dense = shapely.get_coordinates(shapely.segmentize(one.boundary, 0.2))
        off = shapely.distance(shapely.points(dense), other.boundary)
        assert off.mean() <= bound_px + 0.2
    if mode is Regularize.NONE:
        assert refused.all()


@settings(max_examples=40)
@given(BLOBS, st.integers(0, 10**6))
def test_a_polygon_is_decided_by_itself_alone(mask, seed):
    rough = outlines(np.kron(mask, np.ones((3, 3), np.uint8)))
    whole = regularize(rough, np.ones((len(rough), 2)))
    order = np.random.default_rng(seed).permutation(len(rough))
    part = order[: len(order) // 2 + 1]
    again = regularize(rough[part], np.ones((len(part), 2)))
    assert [a.wkb for a in again.geometries] == [b.wkb for b in whole.geometries[part]]
    np.testing.assert_array_equal(again.status, whole.status[part])


def test_right_angles_follow_the_ground_where_pixels_are_not_square():
    """At 60° N a pixel of equal degrees is half as wide as high."""
    truth = rectangle(40, 24, 25)
    squeezed = affinity.scale(truth, 2.0, 1.0, origin=(70, 70))
    rough = outlines(burned(squeezed))
    found = regularize(rough, np.array([[0.5, 1.0]]))
    (ground,) = shapely.transform(found.geometries, lambda p: p * [0.5, 1.0])
    turns = np.diff(turns_of(ground)) % 90
    assert np.minimum(turns, 90 - turns).max() < 1e-6
    assert shapely.get_num_coordinates(ground) == 5


def ell(degrees):
    shape = shapely.difference(shapely.box(40, 45, 100, 90), shapely.box(65, 65, 101, 91))
    return affinity.rotate(shape, degrees)


def with_court(degrees):
    shape = shapely.difference(shapely.box(30, 40, 110, 95), shapely.box(50, 55, 85, 80))
    return affinity.rotate(shape, degrees)


def chamfered(degrees):
    corners = [(40, 40), (90, 40), (110, 60), (110, 100), (40, 100)]
    return affinity.rotate(shapely.Polygon(corners), degrees)


@pytest.mark.parametrize("degrees", [0, 7, 20, 33, 45, 61, 88])
@pytest.mark.parametrize(("make", "corners"), [(ell, 6), (with_court, 8), (chamfered, 5)])
def test_ells_courtyards_and_diagonals_are_drawn_as_such(make, corners, degrees):
    truth = make(degrees)
    (_,), found = drawn(burned(truth))
    (back,) = found.geometries
    assert found.status[0] == Status.RIGHT_ANGLES
    assert shapely.get_num_coordinates(shapely.get_rings(back)).sum() == corners + len(
        shapely.get_rings(back)
    )
    assert shapely.hausdorff_distance(back, truth) < 1.2


@pytest.mark.parametrize("radius", [6, 9.3, 14, 30])
def test_round_things_become_circles_of_their_size(radius):
    truth = shapely.Point(70.3, 69.6).buffer(radius, quad_segs=64)
    (rough,), found = drawn(burned(truth))
    (back,) = found.geometries
    assert found.status[0] == Status.CIRCLE
    assert back.area == pytest.approx(rough.area)
    assert shapely.hausdorff_distance(back, truth) < 0.6


@pytest.mark.parametrize("side", [6, 9, 12, 20, 40])
@pytest.mark.parametrize("degrees", [0, 15, 45])
def test_squares_do_not(side, degrees):
    _, found = drawn(burned(rectangle(side, side, degrees)))
    assert found.status[0] == Status.RIGHT_ANGLES
    assert shapely.get_num_coordinates(found.geometries[0]) == 5


def test_a_slanted_wall_keeps_its_direction():
    """Not a staircase of right angles, and not refused for it."""
    truth = shapely.Polygon([(30, 40), (110, 40), (110, 75), (30, 100)])
    (_,), found = drawn(burned(truth))
    assert found.status[0] == Status.ANY_ANGLE
    assert shapely.get_num_coordinates(found.geometries[0]) == 5
    assert shapely.hausdorff_distance(found.geometries[0], truth) < 1
    (rough,), only = drawn(burned(truth), mode=Regularize.RIGHT_ANGLES)
    assert only.status[0] == Status.SIMPLIFIED
    assert only.geometries[0] == rough


def test_nothing_and_multipolygons_pass_through():
    empty = regularize(np.empty(0, object), np.ones((0, 2)))
    assert len(empty.geometries) == 0
    two = shapely.MultiPolygon([shapely.box(0, 0, 9, 9), shapely.box(9, 9, 20, 20)])
    result = regularize(np.array([two]), np.ones((1, 2)))
    assert result.geometries[0] == two
    assert result.status[0] == Status.SIMPLIFIED

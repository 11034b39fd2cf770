"""Outlines against `rasterio.features.shapes` on the whole raster, and the laws they obey."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio import features
from scipy import ndimage
from shapely.geometry import shape

from geotiler.core import polygons
from geotiler.core.outlines import covered, joined_outlines
from geotiler.core.polygons import PolygonStream, object_outlines

MASKS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 0, 1, 1, 2]),
)
LAWS = settings(max_examples=120, deadline=None)


def trace(mask, heights=(10**6,), eight=False):
    """All outlines of a mask given in strips whose heights repeat."""
    stream = PolygonStream(mask.shape[1], eight_connected=eight)
    found, row, turn = [], 0, 0
    while row < len(mask):
        height = heights[turn % len(heights)]
        found += stream.add_strip(mask[row : row + height])
        row, turn = row + height, turn + 1
    return [*found, *stream.finish()]


def features_of(found):
    geometries = np.concatenate([outlines.polygons() for outlines in found])
    classes = np.concatenate([outlines.class_id for outlines in found])
    return geometries, classes


def oracle(mask):
    """(class, canonical bytes) of the polygons of the whole raster, by rasterio."""
    found = features.shapes(mask, mask=mask > 0, connectivity=4)
    return sorted((int(value), shapely.normalize(shape(each)).wkb) for each, value in found)


def canonical(found):
    geometries, classes = features_of(found)
    return sorted(
        zip(classes.tolist(), [shapely.normalize(each).wkb for each in geometries], strict=True)
    )


def spiral(turns: int) -> np.ndarray:
    """A corridor one pixel wide that winds inward, walls one pixel wide."""
    side = 4 * turns + 1
    mask = np.zeros((side, side), np.uint8)
    row, col, step = 0, 0, side - 1
    mask[0, 0] = 1
    moves = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    for turn in range(4 * turns):
        drow, dcol = moves[turn % 4]
        for _ in range(step):
            row, col = row + drow, col + dcol
            mask[row, col] = 1
        if turn >= 2 and turn % 2 == 0:
            step -= 2
    return mask


@LAWS
@given(MASKS, st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_strips_of_any_height_give_the_polygons_of_the_whole(mask, heights):
    found = trace(mask, heights)
    assert canonical(found) == oracle(mask)
    for one, other in zip(features_of(found), features_of(trace(mask)), strict=True):
        assert len(one) == len(other)
        assert all(a == b for a, b in zip(one, other, strict=True))  # same order, same corners


@LAWS
@given(MASKS, st.integers(1, 5), st.booleans())
def test_rasterizing_the_polygons_gives_the_mask_back(mask, height, eight):
    geometries, classes = features_of(trace(mask, [height], eight))
    back = np.zeros_like(mask)
    if len(geometries):
        pairs = zip(geometries, classes.tolist(), strict=True)
        back = features.rasterize(pairs, out_shape=mask.shape, dtype=np.uint8)
    np.testing.assert_array_equal(back, mask)


@LAWS
@given(MASKS, st.integers(1, 5), st.booleans())
def test_polygons_are_valid_and_areas_count_the_pixels(mask, height, eight):
    found = trace(mask, [height], eight)
    geometries, classes = features_of(found)
    area_px = np.concatenate([outlines.area_px() for outlines in found])
    assert shapely.is_valid(geometries).all()
    np.testing.assert_array_equal(shapely.area(geometries), area_px)
    for class_id in (1, 2):
        assert area_px[classes == class_id].sum() == (mask == class_id).sum()


@LAWS
@given(MASKS, st.integers(1, 5))
def test_eight_connected_features_are_the_components_that_touch_at_corners(mask, height):
    geometries, classes = features_of(trace(mask, [height], eight=True))
    for class_id in (1, 2):
        count = ndimage.label(mask == class_id, np.ones((3, 3)))[1]
        assert (classes == class_id).sum() == count
    whole = features_of(trace(mask, eight=True))[0]
    assert all(a == b for a, b in zip(geometries, whole, strict=True))


@LAWS
@given(MASKS)
def test_rotating_the_mask_rotates_the_polygons(mask):
    geometries, _ = features_of(trace(mask))
    height = len(mask)
    turned = shapely.transform(geometries, lambda p: np.stack([height - p[:, 1], p[:, 0]], axis=1))
    rotated, _ = features_of(trace(np.rot90(mask, -1)))
    as_bytes = [sorted(shapely.normalize(g).wkb for g in each) for each in (turned, rotated)]
    assert as_bytes[0] == as_bytes[1]


@pytest.mark.parametrize("height", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    "mask",
    [
        spiral(5),
        1 - spiral(5),
        np.ones((9, 9), np.uint8),
        np.indices((9, 9)).sum(axis=0).astype(np.uint8) % 2,
        np.pad(np.pad(np.pad(np.ones((3, 3), np.uint8), 2), 2, constant_values=1), 1),
        np.repeat(np.eye(7, dtype=np.uint8), 2, axis=0),
        np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.uint8),
    ],
    ids=["spiral", "walls", "full", "checkerboard", "nested", "diagonal", "diamond"],
)
def test_shapes_that_cross_many_seams(mask, height):
    assert canonical(trace(mask, [height])) == oracle(mask)


def test_a_hole_that_touches_itself_becomes_two():
    mask = np.ones((4, 4), np.uint8)
    mask[1, 1] = mask[2, 2] = 0
    (polygon,), _ = features_of(trace(mask, [1]))
    assert polygon.is_valid
    assert len(polygon.interiors) == 2


def test_pixels_that_touch_at_a_corner_are_two_polygons_or_one_of_two_parts():
    mask = np.eye(2, dtype=np.uint8)
    assert len(features_of(trace(mask))[0]) == 2
    (joined,), _ = features_of(trace(mask, [1], eight=True))
    assert joined.geom_type == "MultiPolygon"
    assert joined.is_valid


def test_blocks_inside_a_strip_change_nothing(monkeypatch):
    mask = (np.random.default_rng(5).random((40, 30)) < 0.55).astype(np.uint8)
    whole = canonical(trace(mask))
    monkeypatch.setattr(polygons, "BLOCK_PX", 64)
    assert canonical(trace(mask)) == whole == oracle(mask)


def test_features_are_ordered_by_their_last_row_then_column():
    mask = np.zeros((6, 9), np.uint8)
    mask[0:5, 0] = mask[2:4, 2] = mask[0:4, 5] = mask[1, 7] = 1
    geometries, _ = features_of(trace(mask, [2]))
    bounds = shapely.bounds(geometries)
    assert [tuple(each) for each in bounds[:, [3, 0]]] == [(2, 7), (4, 2), (4, 5), (5, 0)]


def test_only_what_is_open_is_carried():
    row = (np.arange(2000) % 4 < 2).astype(np.uint8)
    strip = np.stack([row, np.zeros_like(row)])
    stream = PolygonStream(2000)
    for _ in range(20):
        done = sum(len(outlines) for outlines in stream.add_strip(strip))
        assert done == 500
        assert not stream._open


def test_holes_and_features_can_be_left_out():
    mask = np.zeros((9, 12), np.uint8)
    mask[0:6, 0:6] = 1
    mask[1, 1] = mask[3:5, 3:5] = 0
    mask[7, 8] = 2
    (whole,) = PolygonStream(12).add_strip(mask)
    filled = whole.without_rings(whole.ring_area_px == -1)
    assert filled.area_px().tolist() == [32, 1]
    assert [len(each.interiors) for each in filled.polygons()] == [1, 0]
    kept = filled.select(np.array([False, True]))
    assert kept.class_id.tolist() == [2]
    assert kept.bounds_px().tolist() == [[8, 7, 9, 8]]
    assert kept.polygons()[0].equals(shapely.box(8, 7, 9, 8))
    assert len(kept.select(np.array([False])).polygons()) == 0


def test_a_strip_of_another_width_is_refused():
    with pytest.raises(ValueError, match="expected rows of 4 pixels"):
        list(PolygonStream(4).add_strip(np.zeros((2, 5), np.uint8)))


@LAWS
@given(MASKS)
def test_pixels_covered_by_outlines(mask):
    labels, _ = ndimage.label(mask == 1)
    found = joined_outlines(trace((mask == 1).astype(np.uint8)))
    for index in range(len(found)):
        one = found.between(index, index + 1)
        left, top, right, bottom = one.bounds_px()[0].tolist()
        row, col = np.argwhere(covered(one))[0] + [top, left]
        expected = labels[top:bottom, left:right] == labels[row, col]
        np.testing.assert_array_equal(covered(one), expected)


@LAWS
@given(MASKS)
def test_objects_that_touch_have_outlines_of_their_own(mask):
    """Numbers of connected areas as objects: whatever they touch, all of them come back."""
    objects = np.zeros(mask.shape, np.int32)
    for value in np.unique(mask[mask > 0]):
        labels, _ = ndimage.label(mask == value)
        objects = np.where(labels > 0, labels + objects.max(), objects)
    if not objects.any():
        return
    found = object_outlines(objects.astype(np.int32), 7, (100, 1000))
    assert (found.class_id == 7).all()
    assert len(found) == objects.max()
    assert (np.diff(found.places()) > 0).all()
    numbers = set()
    for index in range(len(found)):
        one = found.between(index, index + 1)
        left, top, _, _ = one.bounds_px()[0].tolist()
        rows, cols = np.nonzero(covered(one))
        (number,) = set(objects[rows + top - 100, cols + left - 1000].tolist())
        assert len(rows) == (objects == number).sum()
        numbers.add(number)
    assert numbers == set(range(1, objects.max() + 1))


@LAWS
@given(MASKS, st.booleans(), st.integers(0, 9), st.integers(0, 9))
def test_features_between_two_positions(mask, eight, start, more):
    found = joined_outlines(trace(mask, eight=eight))
    stop = min(start + more, len(found))
    start = min(start, stop)
    position = np.arange(len(found))
    expected = found.select((position >= start) & (position < stop))
    some = found.between(start, stop)
    for field in dataclasses.fields(some):
        np.testing.assert_array_equal(getattr(some, field.name), getattr(expected, field.name))

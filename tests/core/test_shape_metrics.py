"""Metrics of outlines against polygons computed by hand, and against plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geotiler.core import shape_metrics
from geotiler.core.shape_metrics import c_iou, corner_count, max_tangent_angle_deg, polis

SQUARE = shapely.box(0, 0, 10, 10)
HOLED = SQUARE.difference(shapely.box(3, 3, 6, 6))


def pairs(*shapes: shapely.Geometry) -> np.ndarray:
    return np.array(shapes, object)


@st.composite
def stars(draw: st.DrawFn) -> shapely.Polygon:
    """A polygon without right angles."""
    count = draw(st.integers(3, 9))
    radii = draw(st.lists(st.floats(4, 12), min_size=count, max_size=count))
    angles = np.arange(count) * 2 * math.pi / count
    x, y = draw(st.tuples(st.floats(-2, 2), st.floats(-2, 2)))
    return shapely.Polygon(
        np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    )


def rings_of(shape: shapely.Polygon) -> list[np.ndarray]:
    return [np.array(ring.coords) for ring in (shape.exterior, *shape.interiors)]


def nearest(point: np.ndarray, shape: shapely.Polygon) -> tuple[float, np.ndarray]:
    """Distance to the outline and the nearest point on it, segment by segment."""
    best = (math.inf, point)
    for ring in rings_of(shape):
        for start, stop in itertools.pairwise(ring):
            along = stop - start
            share = np.clip((point - start) @ along / (along @ along), 0, 1)
            foot = start + share * along
            best = min(best, (float(np.hypot(*(point - foot))), foot), key=lambda item: item[0])
    return best


def plain_polis(one: shapely.Polygon, other: shapely.Polygon) -> float:
    total = 0.0
    for here, there in ((one, other), (other, one)):
        corners = [point for ring in rings_of(here) for point in ring[:-1]]
        total += sum(nearest(point, there)[0] for point in corners) / (2 * len(corners))
    return total


@settings(max_examples=20)
@given(stars(), stars())
def test_polis_agrees_with_its_formula(one: shapely.Polygon, other: shapely.Polygon) -> None:
    found = polis(pairs(one, other, one), pairs(other, one, one))
    assert found[:2] == pytest.approx([plain_polis(one, other)] * 2)
    assert found[2] == 0.0


def test_polis_by_hand() -> None:
    shifted = shapely.box(1, 0, 11, 10)  # two corners of each lie 1 away, two lie on the outline
    larger = shapely.box(-1, -1, 11, 11)  # corners: 1 from outside, the root of 2 from inside
    holed = plain_polis(HOLED, SQUARE)
    found = polis(pairs(shifted, larger, HOLED), pairs(SQUARE, SQUARE, SQUARE))
    assert found == pytest.approx([0.5, (1 + math.sqrt(2)) / 2, holed])
    # Corners of the hole lie 3 or 4 from the square; the square's own lie on the outline.
    assert holed == pytest.approx((3 + 3 + 3 + 4) / 8 / 2)


def test_corners_are_counted_once_with_those_of_holes() -> None:
    several = shapely.MultiPolygon([SQUARE, shapely.box(20, 0, 30, 10)])
    assert corner_count(pairs(SQUARE, HOLED, several)).tolist() == [4, 8, 8]


def test_c_iou_by_hand() -> None:
    found = c_iou(np.array([1.0, 0.8, 0.6]), np.array([4, 6, 12]), np.array([4, 4, 4]))
    assert found == pytest.approx([1.0, 0.8 * (1 - 2 / 10), 0.6 * (1 - 8 / 16)])


def plain_angle(shape: shapely.Polygon, truth: shapely.Polygon, spacing: float) -> float:
    worst = -1.0
    for ring in rings_of(shape):
        for start, stop in itertools.pairwise(ring):
            count = math.ceil(np.hypot(*(stop - start)) / spacing)
            points = [start + (stop - start) * i / count for i in range(count + 1)]
            feet = [nearest(point, truth)[1] for point in points]
            for a, b, fa, fb in zip(points, points[1:], feet, feet[1:], strict=False):
                piece, image = b - a, fb - fa
                if not 0.5 <= np.hypot(*image) / np.hypot(*piece) <= 2:
                    continue
                cosine = abs(piece @ image) / np.hypot(*piece) / np.hypot(*image)
                worst = max(worst, math.degrees(math.acos(min(1.0, cosine))))
    return worst


@settings(max_examples=20)
@given(stars(), stars(), st.floats(0.7, 4))
def test_tangent_angles_agree_with_plain_loops(
    one: shapely.Polygon, other: shapely.Polygon, spacing: float
) -> None:
    expected = plain_angle(one, other, spacing)
    found = max_tangent_angle_deg(pairs(one), pairs(other), np.array([spacing]))[0]
    assert (-1.0 if np.isnan(found) else found) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("degrees", [0.0, 3.0, 10.0])
def test_a_turned_wall_is_off_by_the_turn(degrees: float) -> None:
    """Walls long enough for corners not to matter; the truth is a wide strip with far ends."""
    truth = shapely.box(-1000, -10, 1000, 10)
    turned = shapely.affinity.rotate(shapely.box(-20, -9, 20, 9), degrees)
    sides = max_tangent_angle_deg(pairs(turned), pairs(truth), np.array([2.0]))
    # The short walls stand across: their images do not move along the strip, or hardly.
    assert sides[0] == pytest.approx(degrees, abs=1e-6)


def test_equal_outlines_have_no_error_and_batches_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    shapes = shapely.affinity.rotate(SQUARE, 20), HOLED, shapely.box(0, 0, 30, 4)
    one = np.array([shapes[i] for i in rng.integers(0, 3, 40)], object)
    spacing = np.full(40, 2.0)
    assert max_tangent_angle_deg(one, one, spacing) == pytest.approx(0.0, abs=1e-5)
    moved = shapely.transform(one, lambda p: p * [1.1, 0.9])
    whole = max_tangent_angle_deg(one, moved, spacing)
    monkeypatch.setattr(shape_metrics, "POINTS_AT_ONCE", 7)
    np.testing.assert_array_equal(max_tangent_angle_deg(one, moved, spacing), whole)


def test_no_pairs_no_numbers() -> None:
    nothing = np.empty(0, object)
    assert polis(nothing, nothing).shape == (0,)
    assert max_tangent_angle_deg(nothing, nothing, np.empty(0)).shape == (0,)
    assert corner_count(nothing).shape == (0,)

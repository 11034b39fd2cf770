"""Metres on the ground, not on the map."""

from __future__ import annotations

import math

import pyproj
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geotiler.core.geodesy import ground_gsd_m

SHAPE = (200, 300)


@given(latitude=st.floats(-70, 70), map_m=st.floats(0.05, 30))
def test_a_web_mercator_pixel_shrinks_with_the_cosine(latitude: float, map_m: float) -> None:
    _, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(10, latitude)
    transform = Affine(map_m, 0, 1e6, 0, -map_m, y + map_m * SHAPE[0] / 2)
    found = ground_gsd_m(tuple(transform)[:6], 3857, SHAPE)
    assert found is not None
    assert found == pytest.approx((map_m * math.cos(math.radians(latitude)),) * 2, rel=0.008)


@given(latitude=st.floats(-80, 80))
def test_a_degree_is_narrower_than_high(latitude: float) -> None:
    transform = Affine(1e-5, 0, 20, 0, -1e-5, latitude)
    found = ground_gsd_m(tuple(transform)[:6], "EPSG:4326", SHAPE)
    assert found is not None
    assert found[1] == pytest.approx(1.1132, rel=0.01)
    assert found[0] / found[1] == pytest.approx(math.cos(math.radians(latitude)), rel=0.01)


@given(angle=st.floats(0, 360))
def test_turning_a_scene_does_not_change_its_pixels(angle: float) -> None:
    upright = Affine.translation(500_000, 5_000_000) @ Affine.scale(0.4, -0.7)
    turned = (
        Affine.translation(500_000, 5_000_000) @ Affine.rotation(angle) @ Affine.scale(0.4, -0.7)
    )
    expected = ground_gsd_m(tuple(upright)[:6], 32633, SHAPE)
    found = ground_gsd_m(tuple(turned)[:6], 32633, SHAPE)
    assert expected == pytest.approx((0.4, 0.7), rel=1e-3)
    assert found == pytest.approx(expected, rel=1e-3)


def test_feet_are_metres_in_the_end() -> None:
    found = ground_gsd_m((1, 0, 6_000_000, 0, -1, 2_100_000), 2227, SHAPE)  # California, US feet
    assert found == pytest.approx((0.3048, 0.3048), rel=1e-3)


@pytest.mark.parametrize(
    "crs",
    [None, 'LOCAL_CS["drawing",UNIT["metre",1]]', 'ENGCRS["x",EDATUM["y"],CS[Cartesian,2]]'],
)
def test_no_place_on_the_earth_is_no_distance(crs: str | None) -> None:
    assert ground_gsd_m((1, 0, 0, 0, -1, 0), crs, SHAPE) is None


def test_beyond_the_map_is_no_distance() -> None:
    assert ground_gsd_m((1, 0, 1e9, 0, -1, 1e9), 32633, SHAPE) is None

"""Ground measures against the geodesic solver, in every kind of CRS."""

from __future__ import annotations

import time

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geotiler.core.measure import Ground

WGS84 = pyproj.Geod(ellps="WGS84")

PLACES = {
    "web mercator, 60° N": ("EPSG:3857", (0.5, 0, 2_700_000, 0, -0.5, 8_399_737)),
    "degrees, 45° S": ("EPSG:4326", (5e-6, 0, 170.0, 0, -5e-6, -45.0)),
    "UTM, rotated": ("EPSG:32633", (0.4, 0.3, 400_000, 0.3, -0.4, 5_500_000)),
    "feet": ("EPSG:2263", (1.0, 0, 985_000, 0, -1.0, 200_000)),
    "polar": ("EPSG:3413", (2.0, 0, -200_000, 0, -2.0, -1_200_000)),
    "across the antimeridian": ("EPSG:32601", (1.0, 0, 215_000, 0, -1.0, 200_000)),
}


def geodesic(ground, geometry):
    """Area and perimeter, holes included, by the solver; any orientation."""
    to_lonlat = pyproj.Transformer.from_crs(ground.crs, ground.crs.geodetic_crs, always_xy=True)
    geod = ground.crs.get_geod()

    def ring(coordinates):
        points = ground.to_crs(np.asarray(coordinates))
        area, length = geod.polygon_area_perimeter(*to_lonlat.transform(*points.T))
        return abs(area), length

    shell, holes = ring(geometry.exterior.coords), [ring(r.coords) for r in geometry.interiors]
    return shell[0] - sum(h[0] for h in holes), shell[1] + sum(h[1] for h in holes)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size_px", [4, 400, 40_000], ids=lambda size: f"{size} px")
def test_areas_and_perimeters_agree_with_the_geodesic_solver(place, size_px):
    ground = Ground(PLACES[place][1], PLACES[place][0])
    outer = np.array([[0, 0], [3, 0], [3, 1], [2, 2], [0, 2]]) * size_px / 4 + [11, 7]
    inner = np.array([[0.5, 0.5], [0.5, 1.5], [1.5, 1.0]]) * size_px / 4 + [11, 7]
    polygon = shapely.Polygon(outer, [inner])
    area, length = ground.measure(np.array([polygon, polygon]))
    expected = geodesic(ground, polygon)
    np.testing.assert_allclose(area, expected[0], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(length, expected[1], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.floats(-179, 179), st.floats(-84, 84), st.integers(1, 300), st.integers(1, 300))
def test_a_rectangle_anywhere_in_web_mercator(lon, lat, width, height):
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(lon, lat)
    ground = Ground((0.6, 0, x, 0, -0.6, y), "EPSG:3857")
    box = shapely.box(0, 0, width, height)
    area, length = ground.measure(np.array([box]))
    expected = geodesic(ground, box)
    np.testing.assert_allclose([area[0], length[0]], expected, rtol=1e-5, atol=1e-4)
    size, pixel_area = ground.pixel_size_m(np.array([[width / 2, height / 2]]))
    assert pixel_area[0] == pytest.approx(area[0] / (width * height), rel=1e-4)
    assert size[0, 0] * size[0, 1] == pytest.approx(pixel_area[0], rel=1e-4)


def test_parts_add_up():
    ground = Ground(PLACES["feet"][1], "EPSG:2263")
    one, other = shapely.box(0, 0, 10, 10), shapely.box(10, 10, 20, 30)
    area, length = ground.measure(np.array([one, other, shapely.MultiPolygon([one, other])]))
    assert area[2] == pytest.approx(area[0] + area[1])
    assert length[2] == pytest.approx(length[0] + length[1])


def test_without_a_crs_measures_are_in_pixels_and_places_those_of_the_transform():
    """A world file says where, and nobody says in which unit."""
    ground = Ground((3.0, 0, 100, 0, -3.0, 100), None)
    box = shapely.box(2, 3, 6, 13)
    area, length = ground.measure(np.array([box]))
    assert (area[0], length[0]) == (40, 28)
    assert ground.geometries_to_crs(np.array([box]))[0].equals(shapely.box(106, 61, 118, 91))
    up = ground.bearing_deg(np.array([[2.0, 3.0]]), np.array([[0.0, -1.0]]))
    assert up.tolist() == [0]
    assert not ground.in_metres


def test_nothing_measures_nothing():
    area, length = Ground(PLACES["feet"][1], "EPSG:2263").measure(np.empty(0, object))
    assert len(area) == len(length) == 0


def test_many_polygons_are_measured_quickly():
    ground = Ground(PLACES["UTM, rotated"][1], "EPSG:32633")
    left = np.arange(20_000.0)
    boxes = shapely.box(left, 0, left + 10, 10)
    started = time.perf_counter()
    ground.measure(boxes)
    assert time.perf_counter() - started < 5  # 0.1 s on a quiet machine

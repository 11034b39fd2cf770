"""Walls in common: what is left of sums of polygons is no part of a building."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geotiler.core.snapping import CLEARANCE_PX, without_spikes

SQUARE = [(100.0, 100.0), (100.0, 120.0), (120.0, 120.0), (120.0, 100.0)]
HAIR = 1e-12


def _somewhere(polygon):
    """As in a coordinate system whose numbers are large: corners are rounded to a nanometre."""
    return shapely.transform(polygon, lambda xy: xy * [0.5, -0.5] + [690_000, 5_340_000])


@pytest.mark.parametrize("depth", [7.3, -7.3], ids=["spike", "slit"])
def test_spikes_and_slits_of_no_width_go(depth):
    tip = (100.0 - depth, 111.1 - depth / 3)
    thin = shapely.Polygon([SQUARE[0], (100.0, 110.0), tip, (100.0, 110.0 + HAIR), *SQUARE[1:]])
    assert not _somewhere(thin).is_valid
    found = without_spikes(thin)
    assert _somewhere(found).is_valid
    assert found.hausdorff_distance(shapely.Polygon(SQUARE)) < 2 * CLEARANCE_PX


@pytest.mark.parametrize(
    "polygon",
    [
        shapely.Polygon(SQUARE),
        shapely.Polygon(SQUARE, [[(105, 105), (106, 105), (106, 106)]]),
        shapely.Polygon([(0, 0), (40, 20), (40, 0)]),
        shapely.Polygon([(0, 0), (1e-4, 0), (1e-4, 1e-4)]),  # nothing but one
    ],
)
def test_sound_polygons_stay_as_they_are(polygon):
    assert without_spikes(polygon) is polygon


def test_of_two_halves_on_a_hair_the_larger_one_is_left_only_if_it_is_nearly_all():
    small = [(120.0, 110.0), (120.1, 110.0 - HAIR), (120.2, 109.9), (120.2, 110.1)]
    much = without_spikes(shapely.union(shapely.Polygon(SQUARE), shapely.Polygon(small)))
    assert much.geom_type == "Polygon"
    assert np.isclose(much.area, 400.0, rtol=1e-3)

"""Neighbours do not overlap, whatever batches they come in."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geotiler.core.neighbours import Neighbourhood, apart, concatenated, drawn_features
from geotiler.core.polygons import PolygonStream
from geotiler.core.regularize import Status, regularize

REACH_PX = 5.0


def features_of(outlines, drawn=None):
    rough = outlines.polygons()
    if drawn is None:
        found = regularize(rough, np.ones((len(rough), 2)), bound_px=1.5)
        drawn, status = found.geometries, found.status
    else:
        drawn = drawn(rough)
        status = np.full(len(rough), Status.RIGHT_ANGLES, np.uint8)
    return drawn_features(rough, drawn, status, {"area": outlines.area_px()})


def swollen(rough):
    """Badly drawn: each covers its surroundings."""
    return shapely.buffer(rough, 1.2, join_style="mitre")


def town(seed, gap_px, side=50):
    """Blocks with lanes between them, ragged, some of one pixel only."""
    rng = np.random.default_rng(seed)
    mask = np.ones((side, side), np.uint8)
    for axis in (0, 1):
        lines = np.cumsum(rng.integers(6, 20, 12))
        for line in lines[lines < side]:
            mask[(slice(None),) * axis + (slice(line, line + gap_px),)] = 0
    mask[rng.random(mask.shape) < 0.01] = 0
    mask[: int(rng.integers(1, side)), int(rng.integers(1, side))] = 1  # joins blocks of a column
    return mask


def streamed(mask, height, drawn):
    stream, hood = PolygonStream(mask.shape[1]), Neighbourhood(REACH_PX)
    out = []
    for row in range(0, len(mask), height):
        for outlines in stream.add_strip(mask[row : row + height]):
            features = features_of(outlines, drawn)
            bounds = stream.open_bounds().astype(float)
            out += hood.add(features, bounds, min(row + height, len(mask)))
    for outlines in stream.finish():
        out += hood.add(features_of(outlines, drawn), np.empty((0, 4)), len(mask))
    out += hood.finish()
    return concatenated(out)


def overlap(polygons):
    tree = shapely.STRtree(polygons)
    one, other = tree.query(polygons, "intersects")
    upper = one < other
    return shapely.area(shapely.intersection(polygons[one[upper]], polygons[other[upper]])).sum()


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([None, swollen]))
def test_what_did_not_overlap_does_not(seed, gap_px, drawn):
    whole = streamed(town(seed, gap_px), 10**6, drawn)
    assert overlap(whole.drawn) < 1e-9
    assert shapely.is_valid(whole.drawn).all()
    assert (shapely.area(whole.drawn) > 0).all()
    assert shapely.intersects(whole.drawn, whole.rough).all()


@settings(max_examples=12)
@given(
    st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 30), st.sampled_from([None, swollen])
)
def test_strips_do_not_matter(seed, gap_px, height, drawn):
    mask = town(seed, gap_px)
    whole, strips = (streamed(mask, each, drawn) for each in (10**6, height))
    assert [a.wkb for a in whole.drawn] == [b.wkb for b in strips.drawn]
    np.testing.assert_array_equal(whole.status, strips.status)
    np.testing.assert_array_equal(whole.columns["area"], strips.columns["area"])


def test_the_later_one_is_cut_back_and_says_so():
    rough = shapely.box([0, 11], [0, 0], [10, 20], [10, 10])
    drawn = shapely.box([0, 10.4], [0, 0], [10.7, 20], [10, 10])
    status = np.full(2, Status.RIGHT_ANGLES, np.uint8)
    result = apart(drawn_features(rough, drawn, status, {}))
    assert result.drawn[0].equals(drawn[0])
    assert result.drawn[1].bounds[0] == 10.75
    assert result.status.tolist() == [Status.RIGHT_ANGLES, Status.CUT]


def test_who_would_vanish_keeps_its_own_outline():
    rough = shapely.box([0, 11], [0, 4], [10, 13], [10, 6])
    drawn = np.array([shapely.box(0, 0, 13.5, 10), rough[1]])
    result = apart(drawn_features(rough, drawn, np.ones(2, np.uint8), {}))
    assert overlap(result.drawn) == 0
    assert result.drawn[1].equals(rough[1])

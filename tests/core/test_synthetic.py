from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from rasterio.features import rasterize

from geotiler.core import synthetic
from geotiler.core.synthetic import CHUNK_PX, SyntheticScene
from geotiler.specs import Window

SCENE = SyntheticScene(seed=11, height=700, width=830, gsd_m=0.6)
"""Neither side is a multiple of the chunk, and four chunks meet inside."""


def all_of(scene: SyntheticScene) -> Window:
    return Window(row=0, col=0, height=scene.height, width=scene.width)


@pytest.fixture(scope="module")
def whole() -> synthetic.Rendered:
    return SCENE.render(all_of(SCENE))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    row = draw(st.integers(0, SCENE.height - 1))
    col = draw(st.integers(0, SCENE.width - 1))
    return Window(
        row=row,
        col=col,
        height=draw(st.integers(1, SCENE.height - row)),
        width=draw(st.integers(1, SCENE.width - col)),
    )


@settings(deadline=None, max_examples=30)
@given(window=windows())
def test_a_window_equals_the_crop_of_the_whole(whole: synthetic.Rendered, window: Window) -> None:
    for part, all_pixels in zip(SCENE.render(window), whole, strict=True):
        assert_array_equal(part, all_pixels[(..., *window.slices)])


def test_a_window_does_not_depend_on_what_was_rendered_before(
    whole: synthetic.Rendered,
) -> None:
    """Fresh caches, the lower right chunk first: nothing may leak from neighbours."""
    for cache in (synthetic._chunk, synthetic._town):
        cache.cache_clear()
    window = Window(row=CHUNK_PX, col=CHUNK_PX, height=100, width=100)
    assert_array_equal(SCENE.render(window)[0], whole[0][(..., *window.slices)])


def test_the_picture_does_not_depend_on_the_size_of_the_scene(
    whole: synthetic.Rendered,
) -> None:
    """Only the areas without data lie relative to the edges."""
    larger = SyntheticScene(seed=SCENE.seed, height=1100, width=1000, gsd_m=SCENE.gsd_m)
    rgb, _, valid = larger.render(all_of(SCENE))
    both = valid & whole[2]
    assert both.mean() > 0.5
    assert_array_equal(rgb[:, both], whole[0][:, both])


@pytest.mark.parametrize(("seed", "gsd_m"), [(11, 0.6), (3, 0.3), (4, 1.0)])
def test_the_mask_is_the_rasterized_outlines(seed: int, gsd_m: float) -> None:
    """Oracle: GDAL, which also asks for the pixel's centre.

    A centre within rounding error of an outline may fall either way, hence 1 in 10,000.
    """
    scene = SyntheticScene(seed=seed, height=600, width=640, gsd_m=gsd_m)
    _, footprints, _ = scene.render(all_of(scene))
    outlines = scene.footprints(all_of(scene))
    burnt = rasterize(outlines, footprints.shape, dtype="uint8").astype(bool)
    assert footprints.any()
    assert np.count_nonzero(burnt != footprints) <= 1e-4 * footprints.size


@settings(deadline=None, max_examples=12)
@given(
    row=st.integers(1, SCENE.height - 1),
    col=st.integers(1, SCENE.width - 1),
)
def test_a_partition_reports_every_outline_once(row: int, col: int) -> None:
    rows, cols = ((0, row), (row, SCENE.height)), ((0, col), (col, SCENE.width))
    parts = [
        Window(row=top, col=left, height=bottom - top, width=right - left)
        for top, bottom in rows
        for left, right in cols
    ]
    found = [outline.wkb for part in parts for outline in SCENE.footprints(part)]
    expected = [outline.wkb for outline in SCENE.footprints(all_of(SCENE))]
    assert sorted(found) == sorted(expected)


def test_outlines_are_valid_apart_and_inside_the_valid_area(
    whole: synthetic.Rendered,
) -> None:
    outlines = SCENE.footprints(all_of(SCENE))
    assert outlines
    assert shapely.is_valid(outlines).all()
    assert (
        shapely.box(0, 0, SCENE.width, SCENE.height)
        .buffer(1e-6)
        .contains(shapely.union_all(outlines))
    )
    total = sum(outline.area for outline in outlines)
    assert shapely.union_all(outlines).area == pytest.approx(total, rel=1e-9)
    assert not (whole[1] & ~whole[2]).any()


def test_pixels_are_black_exactly_where_there_is_no_data(whole: synthetic.Rendered) -> None:
    rgb, _, valid = whole
    assert_array_equal(valid, (rgb != 0).any(axis=0))
    assert 0 < np.count_nonzero(~valid) < 0.2 * valid.size


def test_the_seed_decides(whole: synthetic.Rendered) -> None:
    synthetic._chunk.cache_clear()
    again = SyntheticScene(seed=11, height=700, width=830, gsd_m=0.6)
    assert again.render(all_of(again))[0].tobytes() == whole[0].tobytes()
    other = SyntheticScene(seed=12, height=700, width=830, gsd_m=0.6)
    assert (other.render(all_of(other))[0] != whole[0]).mean() > 0.5


def test_the_same_town_at_another_gsd() -> None:
    """A town halved in pixels has its buildings at half the coordinates."""
    fine = SyntheticScene(seed=5, height=800, width=800, gsd_m=0.4)
    coarse = SyntheticScene(seed=5, height=400, width=400, gsd_m=0.8)
    _, of_fine, known = fine.render(all_of(fine))
    _, of_coarse, _ = coarse.render(all_of(coarse))
    centre = of_fine[::2, ::2] & known[::2, ::2]
    overlap = np.count_nonzero(centre & of_coarse) / np.count_nonzero(centre | of_coarse)
    assert overlap > 0.9


def test_a_tenth_to_a_fifth_is_built() -> None:
    """Over a large scene, at a coarse GSD to be quick about it."""
    scene = SyntheticScene(seed=7, height=640, width=640, gsd_m=2.5)
    _, footprints, valid = scene.render(all_of(scene))
    assert 0.10 <= footprints.sum() / valid.sum() <= 0.20


def test_a_window_beyond_the_scene_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the scene"):
        SCENE.render(Window(row=600, col=0, height=200, width=10))

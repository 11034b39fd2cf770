"""Boundary IoU against erosion of the whole raster by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from geotiler.core.boundary import BoundaryCounts

RASTERS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 18), st.just(2)),
    elements=st.sampled_from([0, 1, 1, 1, 2, 255]),
)  # fmt: skip


def band(classes: np.ndarray, class_id: int, distance: int) -> np.ndarray:
    """By the paper: a mask less its erosion; unknown pixels and the edge do not erode it."""
    mine = classes == class_id
    square = np.ones((2 * distance + 1,) * 2, bool)
    inner = ndimage.binary_erosion(mine | (classes == 255), square, border_value=1)
    return mine & ~inner


@given(RASTERS, st.integers(1, 4), st.integers(1, 9))
def test_strips_agree_with_the_whole(pair: np.ndarray, distance: int, height: int) -> None:
    truth, predicted = pair[..., 0].copy(), pair[..., 1].copy()
    counts = BoundaryCounts(distance)
    for row in range(0, len(truth), height):
        counts.add(truth[row : row + height], predicted[row : row + height])
    counts.finish()
    known = (truth != 255) & (predicted != 255)
    for class_id in (1, 2):
        one, other = (band(each, class_id, distance) for each in (truth, predicted))
        assert counts.both[class_id] == (one & other & known).sum()
        assert counts.either[class_id] == ((one | other) & known).sum()
    assert counts.either[[0, 255]].sum() == 0


def test_a_square_within_a_square() -> None:
    """6x6 within 8x8: bands of one pixel have 20 and 28 pixels and none in common."""
    truth, predicted = np.zeros((2, 12, 12), np.uint8)
    truth[2:10, 2:10] = 1
    predicted[3:9, 3:9] = 1
    counts = BoundaryCounts(1)
    counts.add(truth, predicted)
    counts.finish()
    assert (counts.both[1], counts.either[1]) == (0, 48)


def test_the_edge_of_a_scene_is_no_outline() -> None:
    full = np.ones((9, 9), np.uint8)
    counts = BoundaryCounts(2)
    counts.add(full, full)
    counts.finish()
    assert counts.either.sum() == 0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        BoundaryCounts(1).add(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))

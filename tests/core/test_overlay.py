"""Pictures keep their size, say what they mean, and never paint where nothing was found."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from geotiler.core.overlay import (
    FALSE_ALARM,
    FOUND,
    MISSED,
    NODATA,
    beside,
    busiest,
    compared,
    displayable,
    painted,
)


def _grey(height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def test_bytes_are_shown_as_they_are_and_nodata_in_grey() -> None:
    bands = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    valid = np.ones((5, 6), bool)
    valid[2, 3] = False
    image = displayable(bands, valid)
    np.testing.assert_array_equal(image[valid], np.moveaxis(bands[:3], 0, -1)[valid])
    assert tuple(image[2, 3]) == NODATA


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_other_types_are_stretched_over_the_valid_pixels(dtype: type, count: int) -> None:
    bands = np.tile(np.linspace(1000, 3000, 400).reshape(1, 20, 20), (count, 1, 1)).astype(dtype)
    bands[:, 0, 0] = -999 if dtype is not np.uint16 else 65535
    valid = np.ones((20, 20), bool)
    valid[0, 0] = False
    image = displayable(bands, valid)
    assert image.dtype == np.uint8
    assert image[valid].min() == 0
    assert image[valid].max() == 255
    assert 110 < image[10, 0, 0] < 150


def test_not_a_number_and_an_empty_scene_are_no_trouble() -> None:
    bands = np.full((3, 4, 4), np.nan, np.float32)
    image = displayable(bands, np.zeros((4, 4), bool))
    assert (image == NODATA).all()


def test_colours_say_found_missed_and_false_alarm() -> None:
    found, truth = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    found[5, 5] = truth[5, 5] = True
    truth[10, 10] = True
    found[15, 15] = True
    image = compared(_grey(), found, truth)
    assert tuple(image[5, 5]) == FOUND
    assert tuple(image[10, 10]) == MISSED
    assert tuple(image[15, 15]) == FALSE_ALARM
    untouched = ~(found | truth)
    np.testing.assert_array_equal(image[untouched], _grey()[untouched])


def test_painting_leaves_its_input_alone_and_outlines_the_area() -> None:
    image = _grey()
    area = np.zeros((20, 30), bool)
    area[5:12, 5:12] = True
    result = painted(image, area, FOUND)
    assert (image == 100).all()
    assert tuple(result[5, 8]) == FOUND
    assert tuple(result[8, 8]) not in (FOUND, (100, 100, 100))


def test_pictures_stand_side_by_side_at_one_height() -> None:
    both = beside(_grey(40, 30), _grey(20, 20), gap_px=8)
    assert both.shape == (40, 30 + 8 + 40, 3)


@pytest.mark.parametrize("side_px", [1, 4, 7, 100])
def test_the_busiest_square_has_no_better(side_px: int) -> None:
    area = np.random.default_rng(3).random((23, 31)) > 0.7
    area[9:14, 20:26] = True
    rows, cols = min(side_px, 23), min(side_px, 31)
    row, col = busiest(area, side_px)
    every = [
        area[r : r + rows, c : c + cols].sum()
        for r in range(23 - rows + 1)
        for c in range(31 - cols + 1)
    ]
    assert area[row : row + rows, col : col + cols].sum() == max(every)


def test_nothing_to_look_at_is_looked_at_in_the_middle() -> None:
    assert busiest(np.zeros((20, 30), bool), 10) == (5, 10)


def test_a_band_of_one_value_is_drawn_dark_without_a_warning() -> None:
    bands = np.full((3, 4, 5), 30_000, np.uint16)
    valid = np.ones((4, 5), bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (displayable(bands, valid) == 0).all()

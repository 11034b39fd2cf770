"""Patches parted where the probability drops between the objects in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geotiler.core.watershed import parted

LAWS = settings(max_examples=80, deadline=None)


def houses(height, width, *peaks, base=0.0):
    """A probability that falls by 0.02 for each pixel from the nearest of some (row, col, top)."""
    row, col = np.mgrid[:height, :width]
    cones = [top - 0.02 * np.hypot(row - r, col - c) for r, c, top in peaks]
    return np.clip(np.max([*cones, np.full((height, width), base)], axis=0), 0, 1).astype(
        np.float32
    )


def patch_of(probability, threshold=0.5):
    """The patch that holds the highest probability."""
    labels, _ = ndimage.label(probability > threshold)
    return labels == labels.ravel()[probability.argmax()]


def test_two_houses_are_parted_along_the_valley():
    probability = houses(41, 71, (20, 20, 0.99), (20, 48, 0.97))
    inside = patch_of(probability)
    objects = parted(probability, inside, threshold=0.5, smallest_px=20)
    assert objects is not None
    np.testing.assert_array_equal(objects > 0, inside)
    assert objects.max() == 2
    # Both cones are as high at column 34.5, since one of them is higher by a pixel's step.
    left = objects == objects[20, 20]
    columns = np.flatnonzero(left[20])
    assert columns.max() in (34, 35)
    assert not left[:, 36:].any()
    assert left[:, :33][inside[:, :33]].all()


def test_one_house_stays_one():
    probability = houses(41, 41, (20, 20, 0.99))
    assert parted(probability, patch_of(probability), threshold=0.5, smallest_px=20) is None


@pytest.mark.parametrize("top", [0.7, 0.85, 0.98])
def test_what_is_not_known_is_neither_a_core_nor_a_valley(top):
    probability = np.full((40, 60), top, np.float32)
    probability[18:25, 8:15] = probability[18:25, 46:53] = np.nan
    probability[:, 30] = np.nan
    inside = np.ones(probability.shape, bool)
    assert parted(probability, inside, threshold=0.5, smallest_px=40) is None
    probability[:, 30] = 0.55  # two roofs, of each of which a part is not known
    objects = parted(probability, inside, threshold=0.5, smallest_px=40)
    assert objects is not None
    assert objects.max() == 2
    assert (objects > 0).all()


def test_what_has_no_core_of_its_own_is_no_object():
    probability = houses(41, 71, (20, 20, 0.99), (20, 48, 0.97))
    # Of the levels 0.8 is the first that parts them; above it the lesser one has 225 pixels.
    inside = patch_of(probability)
    lesser = ndimage.label(probability > 0.8)[0]
    assert (lesser == lesser[20, 48]).sum() == 225
    assert parted(probability, inside, threshold=0.5, smallest_px=225) is not None
    assert parted(probability, inside, threshold=0.5, smallest_px=300) is None


def test_levels_up_to_the_threshold_part_nothing():
    """A valley of 0.7 is one where patches are above 0.5, and none where they are above 0.8."""
    probability = np.full((20, 40), 0.99, np.float32)
    probability[:, 19:21] = 0.7
    inside = np.ones(probability.shape, bool)
    assert parted(probability, inside, threshold=0.5, smallest_px=20) is not None
    assert parted(probability, inside, threshold=0.69, smallest_px=20) is not None
    probability[:, 19:21] = 0.94  # only the last level is above
    assert parted(probability, inside, threshold=0.8, smallest_px=20) is not None
    assert parted(probability, inside, threshold=0.95, smallest_px=20) is None


def test_a_plateau_is_shared_by_distance():
    probability = np.full((9, 60), 0.6, np.float32)
    probability[2:7, 2:10] = probability[2:7, 50:58] = 0.99
    objects = parted(probability, np.ones((9, 60), bool), threshold=0.5, smallest_px=20)
    assert objects is not None
    ends = [np.flatnonzero(row == objects[4, 4]).max() for row in objects[2:7]]
    assert min(ends) >= 28
    assert max(ends) <= 30


def test_an_outline_that_bends_back_is_not_jumped_across():
    """A pixel belongs to the core that it is reached from inside the patch, not to the nearer."""
    probability = np.zeros((21, 30), np.float32)
    probability[0:5, :] = 0.6  # a corridor above,
    probability[:, 0:5] = 0.6  # to the left,
    probability[16:, :] = 0.6  # and below a gap
    probability[0:5, 22:] = 0.99
    probability[16:, 0:8] = 0.99
    inside = probability > 0.5
    objects = parted(probability, inside, threshold=0.5, smallest_px=20)
    assert objects is not None
    assert objects[20, 29] == objects[18, 2]  # the other core is nearer, 16 rows above


@LAWS
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.integers(4, 40), st.integers(1, 12))
def test_objects_are_connected_large_enough_and_all_of_the_patch(seed, height, width, smallest):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((height, width)), 1.5)
    spread = (noise - noise.min()) / max(float(np.ptp(noise)), 1e-9)
    probability = (0.3 + 0.7 * spread).astype(np.float32)
    inside = patch_of(probability)
    objects = parted(probability, inside, threshold=0.5, smallest_px=smallest)
    if objects is None:
        return
    np.testing.assert_array_equal(objects > 0, inside)
    count = int(objects.max())
    assert count > 1
    for number in range(1, count + 1):
        assert (objects == number).sum() >= smallest
        assert ndimage.label(objects == number)[1] == 1


def test_a_plateau_with_bumps_is_shared_by_distance():
    """The rim of a patch is no shorter way."""
    probability = np.zeros((24, 64), np.float32)
    probability[2:22, 2:62] = 0.6
    probability[0:2, 30:34] = probability[22:24, 30:34] = 0.6
    probability[8:16, 6:14] = probability[8:16, 50:58] = 0.99
    objects = parted(probability, probability > 0.5, threshold=0.5, smallest_px=20)
    assert objects is not None
    one, other = (int((objects == number).sum()) for number in (1, 2))
    assert abs(one - other) < 0.1 * (one + other)


@LAWS
@given(st.integers(0, 2**32 - 1))
def test_the_border_of_the_array_does_not_matter(seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((24, 30)), 2)
    spread = (noise - noise.min()) / float(np.ptp(noise))
    probability = (np.rint((0.3 + 0.7 * spread) * 25) / 25).astype(np.float32)  # many ties
    inside = patch_of(probability)
    (rows, columns) = ndimage.find_objects(inside.astype(int))[0]
    tight = parted(probability[rows, columns], inside[rows, columns], threshold=0.5, smallest_px=8)
    wide = parted(np.pad(probability, 2), np.pad(inside, 2), threshold=0.5, smallest_px=8)
    if tight is None:
        assert wide is None
        return
    np.testing.assert_array_equal(wide[2:-2, 2:-2][rows, columns], tight)


@pytest.mark.parametrize("pad", [1, 5])
def test_what_lies_around_a_patch_does_not_matter(pad):
    probability = houses(50, 90, (20, 20, 0.99), (22, 44, 0.97), (30, 70, 0.96))
    inside = patch_of(probability)
    objects = parted(probability, inside, threshold=0.5, smallest_px=15)
    assert objects is not None
    assert objects.max() == 3
    around = np.pad(probability, pad, constant_values=0.9)
    wide = parted(around, np.pad(inside, pad), threshold=0.5, smallest_px=15)
    np.testing.assert_array_equal(wide, np.pad(objects, pad))

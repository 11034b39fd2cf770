"""Sieving, against the same rule applied to labelled components one by one, and against GDAL."""

from __future__ import annotations

import numpy as np
import rasterio.features
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from geotiler.core.sieve import Sieve

MAPS = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 14), st.integers(1, 10)),
    elements=st.sampled_from([0, 1, 1, 2, 3, 255]),
)


def slowly(classes, size_px, eight):
    structure = np.ones((3, 3)) if eight else None
    labels, small, count = np.zeros(classes.shape, int), set(), 0
    for value in np.unique(classes[classes != 255]):
        found, number = ndimage.label(classes == value, structure)
        labels[found > 0] = found[found > 0] + count
        sizes = np.bincount(found.ravel())[1:]
        small |= {count + 1 + i for i in range(number) if sizes[i] < size_px}
        count += number
    result = classes.copy()
    for patch in small:
        border = dict.fromkeys(range(255), 0)
        for row, col in np.argwhere(labels == patch):
            for y, x in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                if 0 <= y < classes.shape[0] and 0 <= x < classes.shape[1]:
                    other = labels[y, x]
                    if other and other != patch and other not in small:
                        border[int(classes[y, x])] += 1
        best = max(border, key=lambda value: (border[value], -value))
        if border[best]:
            result[labels == patch] = best
    return result


def sieved(classes, size_px, *, eight_connected=False, heights=()):
    sieve = Sieve(classes.shape[1], size_px, eight_connected=eight_connected)
    done, row = [], 0
    for height in heights:
        done.append(sieve.add_rows(classes[row : row + height]))
        row += height
    done += [sieve.add_rows(classes[row:]), sieve.finish()]
    assert sieve.waiting_rows == 0
    return np.concatenate(done)


@given(MAPS, st.integers(0, 12), st.booleans(), st.lists(st.integers(0, 4), max_size=6))
def test_it_is_the_rule_in_strips_of_any_height(classes, size_px, eight, heights):
    found = sieved(classes, size_px, eight_connected=eight, heights=heights)
    np.testing.assert_array_equal(found, slowly(classes, size_px, eight))


def plain(classes, size_px, eight):
    """Where GDAL's rule and ours mean the same: pixels of large patches, and of small ones whose
    neighbours are all large and of one class."""
    labels, sizes, count = np.zeros(classes.shape, int), [0], 0
    for value in np.unique(classes[classes != 255]):
        found, number = ndimage.label(classes == value, np.ones((3, 3)) if eight else None)
        labels[found > 0] = found[found > 0] + count
        sizes += np.bincount(found.ravel())[1:].tolist()
        count += number
    large = np.array(sizes) >= size_px
    clear = large[labels]
    for patch in set(labels[~clear & (labels > 0)].tolist()):
        shape = ndimage.generate_binary_structure(2, 2 if eight else 1)
        around = ndimage.binary_dilation(labels == patch, shape) & (labels != patch)
        around &= labels > 0
        if around.any() and large[labels[around]].all() and len(set(classes[around])) == 1:
            clear |= labels == patch
    return clear & (labels > 0)


@given(MAPS, st.integers(1, 6), st.booleans())
def test_where_the_rules_agree_it_is_gdals_sieve(classes, size_px, eight):
    theirs = rasterio.features.sieve(
        classes, size_px, mask=classes != 255, connectivity=8 if eight else 4
    )
    same = plain(classes, size_px, eight)
    ours = sieved(classes, size_px, eight_connected=eight)
    np.testing.assert_array_equal(ours[same], theirs[same])


@given(MAPS, st.integers(1, 5), st.booleans(), st.data())
def test_a_row_depends_on_its_surroundings_only(classes, size_px, eight, data):
    row = data.draw(st.integers(0, len(classes) - 1))
    top = max(0, row - 2 * size_px)
    part = classes[top : row + 1 + 2 * size_px]
    whole = sieved(classes, size_px, eight_connected=eight)[row]
    np.testing.assert_array_equal(sieved(part, size_px, eight_connected=eight)[row - top], whole)


@given(MAPS, st.integers(1, 5), st.booleans())
def test_no_row_waits_longer_than_it_may(classes, size_px, eight):
    sieve = Sieve(classes.shape[1], size_px, eight_connected=eight)
    for row in classes:
        sieve.add_rows(row[None])
        assert sieve.waiting_rows <= 2 * size_px


@given(MAPS, st.integers(0, 12), st.booleans(), st.integers(1, 14))
def test_it_counts_the_patches_that_changed(classes, size_px, eight, height):
    sieve = Sieve(classes.shape[1], size_px, eight_connected=eight)
    done = [sieve.add_rows(classes[row : row + height]) for row in range(0, len(classes), height)]
    changed = np.concatenate([*done, sieve.finish()]) != classes
    patches = 0
    for value in np.unique(classes):
        labels, _ = ndimage.label(classes == value, np.ones((3, 3)) if eight else None)
        patches += len(np.unique(labels[changed & (labels > 0)]))
    assert sieve.replaced == patches

"""Sieving, against the same rule applied to labelled components one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from geotiler.core.sieve import HALO, sieved

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


@given(MAPS, st.integers(0, 12), st.booleans())
def test_it_is_the_rule(classes, size_px, eight):
    found = sieved(classes, size_px, eight_connected=eight)
    np.testing.assert_array_equal(found, slowly(classes, size_px, eight))


@given(MAPS, st.integers(1, 5), st.booleans(), st.data())
def test_a_row_depends_on_its_surroundings_only(classes, size_px, eight, data):
    row = data.draw(st.integers(0, len(classes) - 1))
    top = max(0, row - HALO * size_px)
    part = classes[top : row + 1 + HALO * size_px]
    whole = sieved(classes, size_px, eight_connected=eight)[row]
    np.testing.assert_array_equal(sieved(part, size_px, eight_connected=eight)[row - top], whole)

"""A histogram loses nothing and its bins say where things are."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geotiler.core.sizes import size_histogram


@given(st.lists(st.floats(1e-3, 1e7), min_size=1, max_size=50))
def test_every_size_is_in_one_bin_and_the_ends_are_filled(sizes: list[float]) -> None:
    values = np.array(sizes)
    bins = size_histogram(values)
    assert sum(one.count for one in bins) == len(sizes)
    for one in bins[:-1]:
        assert one.count == np.count_nonzero((values >= one.start) & (values < one.stop))
    assert bins[0].count > 0
    assert bins[-1].count > 0
    assert all(a.stop == b.start for a, b in itertools.pairwise(bins))


def test_what_has_no_size_is_left_out() -> None:
    assert size_histogram(np.array([0.0, -1.0, np.nan, np.inf])) == []
    assert sum(one.count for one in size_histogram(np.array([0.0, 3.0, np.nan]))) == 1

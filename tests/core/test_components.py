"""Sums over areas, against scipy's labels of the whole raster at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from geotiler.core.components import ComponentSums


@given(
    hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 3)
    ),
    st.integers(1, 5),
)
def test_areas_are_those_of_the_whole_raster(classes: np.ndarray, step: int) -> None:
    values = np.random.default_rng(0).random((2, *classes.shape))
    sums = ComponentSums()
    for top in range(0, len(classes), step):
        rows = slice(top, top + step)
        sums.add_rows(classes[rows], values[:, rows])
    for class_id in np.unique(classes[classes > 0]):
        labels, count = ndimage.label(classes == class_id)
        for label in range(1, count + 1):
            inside = labels == label
            row, col = np.argwhere(inside)[0]
            cells, total = sums.take(int(row), int(col))
            assert cells == inside.sum()
            np.testing.assert_allclose(total, values[:, inside].sum(axis=1))

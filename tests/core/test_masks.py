"""Probabilities become ids once; what is invalid stays invalid."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geotiler.core.masks import class_counts, class_ids, quantised


def _drawn(seed: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 150, 2))
    return rng.random((classes, *shape), dtype=np.float32), rng.random(shape) < 0.7


@given(seed=st.integers(0, 999), threshold=st.floats(0.01, 0.99), identity=st.integers(1, 254))
def test_one_class_goes_by_the_threshold(seed: int, threshold: float, identity: int) -> None:
    probabilities, valid = _drawn(seed, 1)
    probabilities[0, 0, 0] = np.float32(threshold)
    valid[0, 0] = True
    found = class_ids(probabilities, valid, ids=[identity], threshold=threshold)
    assert found.dtype == np.uint8
    assert found[0, 0] == identity  # from the threshold on
    chosen = probabilities[0] >= np.float32(threshold)
    np.testing.assert_array_equal(found == identity, chosen & valid)
    np.testing.assert_array_equal(found == 0, ~chosen & valid)
    np.testing.assert_array_equal(found == 255, ~valid)


@given(seed=st.integers(0, 999), classes=st.integers(2, 5))
def test_several_classes_go_by_the_likeliest(seed: int, classes: int) -> None:
    probabilities, valid = _drawn(seed, classes)
    ids = [7 * k + 3 for k in range(classes)]
    found = class_ids(probabilities, valid, ids=ids, threshold=None)
    for k, identity in enumerate(ids):
        chosen = (probabilities[k] >= probabilities).all(axis=0) & valid
        np.testing.assert_array_equal(found == identity, chosen)
    np.testing.assert_array_equal(found == 255, ~valid)
    counts = class_counts(found)
    assert counts.sum() == found.size
    assert all(counts[value] == (found == value).sum() for value in (*ids, 255))


@given(seed=st.integers(0, 999), classes=st.integers(1, 3))
def test_stored_probabilities_are_off_by_half_a_step_at_most(seed: int, classes: int) -> None:
    probabilities, valid = _drawn(seed, classes)
    kept = probabilities.copy()
    stored = quantised(probabilities, valid)
    np.testing.assert_array_equal(probabilities, kept)
    assert stored.dtype == np.uint8
    assert (stored[:, valid] <= 254).all()
    assert (stored[:, ~valid] == 255).all()
    error = np.abs(stored[:, valid] / 254.0 - probabilities[:, valid])
    assert error.size == 0 or error.max() <= 1 / 508 + 1e-6


def test_the_ends_are_kept() -> None:
    stored = quantised(np.array([[[0.0, 1.0, 0.5]]], np.float32), np.ones((1, 3), bool))
    assert stored.ravel().tolist() == [0, 254, 127]

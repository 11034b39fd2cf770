"""A sweep over thresholds against scikit-learn, threshold by threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from geotiler.core.thresholds import ThresholdCounts, probability_steps

PIXELS = hnp.arrays(
    np.uint8, st.tuples(st.integers(2, 60), st.just(2)), elements=st.integers(0, 254)
)


def counted(truth: np.ndarray, steps: np.ndarray) -> ThresholdCounts:
    counts = ThresholdCounts()
    counts.add(truth, steps)
    return counts


@given(PIXELS, st.integers(1, 254))
def test_each_threshold_agrees_with_scikit_learn(pixels: np.ndarray, step: int) -> None:
    truth, steps = pixels[:, 0] > 120, pixels[:, 1]
    curve = counted(truth, steps).curve()
    index = curve.at(step / 254)
    assert curve.threshold[index] == step / 254
    taken = steps >= step
    found = (curve.iou[index], curve.f1[index], curve.precision[index], curve.recall[index])
    scores = metrics.jaccard_score, metrics.f1_score, metrics.precision_score, metrics.recall_score
    for value, score in zip(found, scores, strict=True):
        assert np.nan_to_num(value) == pytest.approx(score(truth, taken, zero_division=0))
    if truth.any():
        expected = metrics.average_precision_score(truth, steps / 254)
        assert curve.average_precision == pytest.approx(expected)
    else:
        assert curve.average_precision is None
    assert np.nan_to_num(curve.iou).max() == np.nan_to_num(curve.iou[curve.best])


@given(PIXELS, st.integers(1, 20))
def test_blocks_add_up(pixels: np.ndarray, size: int) -> None:
    truth, steps = pixels[:, 0] > 120, pixels[:, 1]
    total = ThresholdCounts()
    for first in range(0, len(pixels), size):
        part = slice(first, first + size)
        total = total + counted(truth[part], steps[part])
    np.testing.assert_array_equal(total.counts, counted(truth, steps).counts)


def test_probabilities_become_the_steps_of_segment() -> None:
    values = np.array([0, 0.5, 1.0, 1.0000001, 1 / 254], np.float32)
    assert probability_steps(values).tolist() == [0, 127, 254, 254, 1]

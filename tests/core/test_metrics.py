"""Scores against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from geotiler.core.metrics import ClassScore, ConfusionMatrix, mean_of

RASTERS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(2)),
    elements=st.sampled_from([0, 1, 2, 7, 255]),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(RASTERS)
def test_scores_agree_with_scikit_learn(pair):
    truth, predicted = pair[..., 0], pair[..., 1]
    matrix = ConfusionMatrix()
    matrix.add(truth, predicted)
    known = (truth != 255) & (predicted != 255)
    assert matrix.scored == known.sum()
    assert matrix.ignored == known.size - known.sum()
    if not known.any():
        assert matrix.accuracy is None
        return
    t, p = truth[known], predicted[known]
    assert matrix.accuracy == pytest.approx(metrics.accuracy_score(t, p))
    assert matrix.present == sorted((set(t.tolist()) | set(p.tolist())) - {0})
    for class_id in matrix.present:
        score, options = matrix.score(class_id), {"zero_division": 0}
        pair_of_sets = t == class_id, p == class_id
        assert score.iou == pytest.approx(metrics.jaccard_score(*pair_of_sets, **options))
        assert score.f1 == pytest.approx(metrics.f1_score(*pair_of_sets, **options))
        expected = metrics.precision_score(*pair_of_sets, **options)
        assert (score.precision or 0) == pytest.approx(expected)
        assert (score.recall or 0) == pytest.approx(metrics.recall_score(*pair_of_sets, **options))


@settings(max_examples=50, deadline=None)
@given(RASTERS, st.integers(1, 5))
def test_blocks_add_up_to_the_whole(pair, height):
    whole, blocks = ConfusionMatrix(), ConfusionMatrix()
    whole.add(pair[..., 0], pair[..., 1])
    for row in range(0, len(pair), height):
        blocks.add(pair[row : row + height, :, 0], pair[row : row + height, :, 1])
    np.testing.assert_array_equal(whole.counts, blocks.counts)


def test_what_cannot_be_judged_has_no_score():
    nothing = ClassScore(true_positive=0, false_positive=0, false_negative=0)
    assert (nothing.iou, nothing.f1, nothing.precision, nothing.recall) == (None,) * 4
    missed = ClassScore(true_positive=0, false_positive=0, false_negative=3)
    assert (missed.iou, missed.precision, missed.recall) == (0.0, None, 0.0)
    assert mean_of([None, 0.5, 1.0]) == 0.75
    assert mean_of([None]) is None


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        ConfusionMatrix().add(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))

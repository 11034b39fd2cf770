"""Counts of scenes add up, in any order and with what only some of them have."""

from __future__ import annotations

import numpy as np
import pytest

from geotiler.core.metrics import ClassScore
from geotiler.core.object_scores import ObjectTally
from geotiler.core.scores import ClassCounts, pooled
from geotiler.core.thresholds import ThresholdCounts


def counts(seed: int, *, swept: bool = True) -> ClassCounts:
    values = np.random.default_rng(seed).integers(1, 99, 20).tolist()
    curve = ThresholdCounts()
    curve.add(np.array([True, False]), np.array(values[:2], np.uint8))
    return ClassCounts(
        pixels=ClassScore(
            true_positive=values[0], false_positive=values[1], false_negative=values[2]
        ),
        boundary=(values[3], values[3] + values[4]),
        objects=ObjectTally(
            truth=values[5], predicted=values[6], matched=values[7], iou_sum=values[8] / 7,
            polis_sum=values[9] / 7, c_iou_sum=values[10] / 7, angle_sum_deg=values[11] / 7,
            angles=values[12],
        ),
        thresholds=curve if swept else None,
    )  # fmt: skip


def test_classes_add_up_by_name() -> None:
    one, other, third = counts(1), counts(2), counts(3, swept=False)
    total = pooled([{"house": one}, {"road": third, "house": other}, {"house": third}])
    house = total["house"]
    assert house.pixels.true_positive == sum(
        each.pixels.true_positive for each in (one, other, third)
    )
    both, either = np.sum([each.boundary for each in (one, other, third)], axis=0)
    assert house.boundary_iou == both / either
    assert house.objects.f1 == pytest.approx(
        2 * sum(each.objects.matched for each in (one, other, third))
        / sum(each.objects.truth + each.objects.predicted for each in (one, other, third))
    )  # fmt: skip
    assert house.thresholds is not None
    assert house.thresholds.counts.sum() == 4
    assert total["road"] == third
    assert third.thresholds is None


def test_means_are_over_pairs_not_over_scenes() -> None:
    many = ObjectTally(truth=9, predicted=9, matched=9, polis_sum=9.0, angles=9, angle_sum_deg=90)
    one = ObjectTally(truth=1, predicted=1, matched=1, polis_sum=11.0)
    assert (many + one).polis == 2.0
    assert (many + one).max_tangent_angle_deg == 10.0
    assert ObjectTally().polis is None
    assert ClassCounts(pixels=counts(1).pixels).boundary_iou is None

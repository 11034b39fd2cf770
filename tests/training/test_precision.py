"""What a network is trained in: what the machine computes, and a word where it does not."""

from __future__ import annotations

import pytest

from geotiler.training import precision
from geotiler.training.precision import best_precision, slow_precision


@pytest.mark.parametrize("has_it", [True, False])
def test_a_precision_that_is_imitated_is_told_and_never_chosen(
    has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 on a CPU without it: ten times the time of float32, as measured."""
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: has_it)
    assert slow_precision(best_precision("auto", "cpu"), "cpu") is None
    told = slow_precision("bf16-mixed", "cpu")
    assert (told is None) == has_it
    assert told is None or "train.precision=32-true" in told


def test_other_devices_and_float32_are_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    assert slow_precision("32-true", "cpu") is None
    assert slow_precision("bf16-mixed", "cuda") is None

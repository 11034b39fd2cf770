"""The learning rate's shape."""

from __future__ import annotations

from geotiler.training.optimisation import rate_factor


def _rates(steps: int) -> list[float]:
    return [rate_factor(s, warmup=10, steps=steps, decay=40) for s in range(steps + 1)]


def test_it_rises_stays_and_falls_to_zero() -> None:
    rates = _rates(200)
    assert rates[:10] == sorted(rates[:10])
    assert set(rates[10:160]) == {1.0}
    assert rates[160:] == sorted(rates[160:], reverse=True)
    assert rates[-1] == 0.0


def test_a_longer_run_shares_its_beginning() -> None:
    """What makes it possible to lengthen a run from a checkpoint."""
    assert _rates(200)[:150] == _rates(400)[:150]

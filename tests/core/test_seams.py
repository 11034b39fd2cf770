"""The seam index tells a visible grid from an invisible one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotiler.core.grid import starts
from geotiler.core.seams import LEAST_PAIRS, SeamMeter, reliable_seam_index, seam_index, tile_lines


@given(length=st.integers(1, 300), tile=st.integers(2, 90), data=st.data())
def test_lines_are_where_a_window_begins_or_has_ended(
    length: int, tile: int, data: st.DataObject
) -> None:
    first = starts(length, tile, data.draw(st.integers(1, tile)))
    changes = {
        line
        for line in range(1, length)
        if {s for s in first if s <= line - 1 < s + tile}
        != {s for s in first if s <= line < s + tile}
    }
    assert set(tile_lines(first, tile, length)) == changes


def _brute(p: np.ndarray, valid: np.ndarray, rows: set[int], cols: set[int]) -> float | None:
    """The definition, pair by pair."""
    on, off = [], []
    for r in range(valid.shape[0]):
        for c in range(1, valid.shape[1]):
            if valid[r, c] and valid[r, c - 1]:
                (on if c in cols else off).append(np.abs(p[:, r, c] - p[:, r, c - 1]).sum())
    for r in range(1, valid.shape[0]):
        for c in range(valid.shape[1]):
            if valid[r, c] and valid[r - 1, c]:
                (on if r in rows else off).append(np.abs(p[:, r, c] - p[:, r - 1, c]).sum())
    if not (on and off and sum(off)):
        return None
    return float(np.mean(on) / np.mean(off))


@given(seed=st.integers(0, 999), classes=st.integers(1, 3))
def test_it_is_the_mean_step_on_lines_over_that_elsewhere(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.random((classes, 84, 30), dtype=np.float32)
    valid = rng.random((84, 30)) < 0.8
    rows, cols = (8, 16), (10, 20)
    meter = SeamMeter(rows, cols)
    for top, bottom in ((0, 8), (8, 9), (9, 84)):
        meter.add(top, p[:, top:bottom], valid[top:bottom])
    assert meter.index == pytest.approx(_brute(p, valid, set(rows), set(cols)), rel=1e-5)


def test_without_lines_or_without_steps_there_is_no_index() -> None:
    meter = SeamMeter((), ())
    meter.add(
        0, np.random.default_rng(0).random((1, 9, 9), dtype=np.float32), np.ones((9, 9), bool)
    )
    assert meter.index is None
    flat = SeamMeter((4,), (4,))
    flat.add(0, np.zeros((1, 9, 9), np.float32), np.ones((9, 9), bool))
    assert flat.index is None


def test_a_step_on_a_line_shows() -> None:
    p = np.random.default_rng(0).random((1, 40, 40), dtype=np.float32) * np.float32(0.01)
    p[:, :, 20:] += 0.5
    on, off = SeamMeter((), (20,)), SeamMeter((), (10,))
    for meter in (on, off):
        meter.add(0, p, np.ones((40, 40), bool))
    assert on.index is not None
    assert off.index is not None
    assert on.index > 50 > 1 > off.index


def test_a_figure_of_few_pairs_is_not_told() -> None:
    enough = np.array([[50.0, 1000.0], [1100.0, LEAST_PAIRS]])
    few = np.array([[50.0, 1000.0], [1100.0, LEAST_PAIRS - 1]])
    assert reliable_seam_index(enough) == seam_index(enough) == pytest.approx(1.1)
    assert reliable_seam_index(few) is None

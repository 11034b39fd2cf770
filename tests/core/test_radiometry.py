"""Stored values become what a network was trained on, whatever their type."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geotiler.core.radiometry import (
    PHOTOGRAPH,
    border_nodata,
    chosen_bands,
    finite_float32,
    normalise,
    percentile_scale,
    photograph_scale,
    told_scale,
)
from geotiler.errors import SpecError
from geotiler.specs import Scale

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64")


@given(
    dtype=st.sampled_from(TYPES),
    limits=st.tuples(st.integers(-3000, 3000), st.integers(1, 10_000)),
    seed=st.integers(0, 99),
)
def test_it_is_the_formula(dtype: str, limits: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    bounds = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
    low, high = (max(-9000, bounds.min), min(9000, bounds.max)) if bounds else (-9000, 9000)
    raw = rng.integers(low, high, (2, 5, 7)).astype(dtype)
    valid = rng.random((5, 7)) < 0.7
    scale = Scale(minimum=limits[0], maximum=limits[0] + limits[1])
    mean, std = (0.4, 0.6), (0.2, 0.3)
    found = normalise(raw, valid, scale=scale, mean=mean, std=std)
    unit = np.clip((raw.astype(float) - scale.minimum) / (scale.maximum - scale.minimum), 0, 1)
    expected = (unit - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, valid], expected[:, valid], atol=1e-4)
    assert (found[:, ~valid] == 0).all()


@given(raw=arrays.arrays(np.float64, (1, 4, 4)))
def test_no_value_makes_it_infinite_or_warns(raw: np.ndarray) -> None:
    valid = np.isfinite(raw[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = normalise(raw, valid, scale=Scale(minimum=0, maximum=255), mean=(0.5,), std=(0.25,))
    assert np.isfinite(found).all()
    assert found.min() >= -2
    assert found.max() <= 2


def test_a_small_range_far_from_zero_keeps_its_digits() -> None:
    raw = np.array([[[1_000_000.0, 1_000_000.5, 1_000_001.0]]])
    scale = Scale(minimum=1_000_000, maximum=1_000_001)
    found = normalise(raw, np.ones((1, 3), bool), scale=scale, mean=(0.0,), std=(1.0,))
    np.testing.assert_allclose(found.ravel(), [0, 0.5, 1], atol=1e-6)


@given(raw=arrays.arrays(np.float64, (3,)))
def test_float32_of_a_finite_value_is_finite(raw: np.ndarray) -> None:
    found = finite_float32(raw)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), np.isnan(raw))
    assert np.isfinite(found[~np.isnan(raw)]).all()


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50, unique=True))
def test_a_measured_range_lies_within_the_values(values: list[float]) -> None:
    sample = np.array([*values, np.nan, np.inf])
    scale = percentile_scale(sample)
    assert min(values) <= scale.minimum < scale.maximum <= max(values)


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), factor=st.floats(0.01, 100))
def test_a_photograph_in_other_units_is_read_alike(low: float, span: float, factor: float) -> None:
    """Whatever the units, 2 and 98 % lie where they do in 8 bits, which stay as they are."""
    scale = photograph_scale(Scale(minimum=low, maximum=low + span))
    other = photograph_scale(Scale(minimum=low * factor, maximum=(low + span) * factor))
    assert (other.minimum, other.maximum) == pytest.approx(
        (scale.minimum * factor, scale.maximum * factor), abs=1e-6 * factor * (abs(low) + span)
    )
    dark, bright = (255 * share for share in PHOTOGRAPH)
    known = photograph_scale(Scale(minimum=dark, maximum=bright))
    assert (known.minimum, known.maximum) == pytest.approx((0, 255), abs=1e-9)


@pytest.mark.parametrize("sample", [[], [np.nan], [3, 3, 3]])
def test_a_range_that_cannot_be_measured_is_refused(sample: list[float]) -> None:
    with pytest.raises(SpecError, match="--scale"):
        percentile_scale(np.array(sample))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((None, None, None), (1, 2, 3)),
        (("red", "green", "blue"), (1, 2, 3)),
        (("blue", "green", "red"), (3, 2, 1)),
        (("nir", "red", "green", "blue"), (2, 3, 4)),
        (("red", "green", "blue", "alpha"), (1, 2, 3)),
        ((None, None, None, "alpha"), (1, 2, 3)),
        ((None, None, None, None), None),
        ((None,), None),
        ((None, "alpha"), None),
    ],
)
def test_bands_go_by_name_then_by_number(
    names: tuple[str | None, ...], expected: tuple[int, ...] | None
) -> None:
    assert chosen_bands(names, ("red", "green", "blue")) == expected


def test_dark_roofs_are_not_nodata_and_dark_borders_are() -> None:
    image = np.full((120, 120, 3), 90, np.uint8)
    image[50:70, 50:70] = 0
    assert border_nodata(image).all()
    image[:, :15] = 4
    valid = border_nodata(image)
    assert not valid[:, :15].any()
    assert valid[:, 20:].all()


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e6))
def test_a_scale_that_is_told_is_nearly_the_one_measured(low: float, span: float) -> None:
    measured = Scale(minimum=low, maximum=low + span)
    told = told_scale(measured)
    span = measured.maximum - measured.minimum
    assert abs(told.minimum - measured.minimum) <= span / 10_000 + 1e-9 * abs(low)
    assert abs(told.maximum - measured.maximum) <= span / 10_000 + 1e-9 * abs(low)
    assert told_scale(told) == told

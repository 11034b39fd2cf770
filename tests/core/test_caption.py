"""A caption says what can be read, below the picture and never over it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotiler.core.caption import captioned, drawable, scale_bar
from geotiler.core.overlay import FOUND, MISSED


def _grey(height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), 120, np.uint8)


@pytest.mark.parametrize("width", [8, 64, 400])
def test_a_caption_adds_lines_and_never_widens_the_picture(width: int) -> None:
    entries = [(FOUND, "found"), (MISSED, "missed")]
    bar = scale_bar(0.5, width)
    image = captioned(_grey(20, width), entries, [(bar, width)], "© somebody")
    assert image.shape[1] == width
    assert image.shape[0] > 20
    np.testing.assert_array_equal(image[:20], _grey(20, width))


def test_the_bar_stands_below_what_it_is_true_of() -> None:
    bar = scale_bar(0.5, 200)
    below = captioned(_grey(20, 600), bars=[(bar, 200)])[20:]
    drawn = np.flatnonzero((below != below[0, 0]).any(axis=(0, 2)))
    assert drawn.max() < 200
    assert drawn.size > bar.length_px
    both = captioned(_grey(20, 600), bars=[(bar, 200), (scale_bar(0.01, 400), 600)])[20:]
    np.testing.assert_array_equal(both[:, :200], below[:, :200])
    second = np.flatnonzero((both[:, 200:] != 255).any(axis=(0, 2)))
    assert 0 < second.min() < second.max() < 400, "each below its own picture"


def test_nothing_to_say_changes_nothing() -> None:
    np.testing.assert_array_equal(captioned(_grey()), _grey())


def test_every_entry_is_drawn_however_many_there_are() -> None:
    colours = [(10 * index, 255 - 10 * index, 7) for index in range(20)]
    image = captioned(_grey(20, 200), [(colour, "a class") for colour in colours])
    seen = {tuple(pixel) for pixel in image[20:].reshape(-1, 3).tolist()}
    assert seen >= set(colours)


@given(st.floats(1e-3, 1e4), st.integers(40, 20_000))
def test_a_scale_bar_is_round_true_and_fits(pixel_m: float, width_px: int) -> None:
    bar = scale_bar(pixel_m, width_px)
    value, unit = bar.label.split()
    length_m = float(value) * (1000 if unit == "km" else 1)
    assert re.fullmatch(
        r"[125]0*(\.0*)?|0\.0*[125]", f"{length_m:.10f}".rstrip("0").rstrip(".") or ""
    )
    assert bar.length_px <= width_px * 0.25 + 1
    assert abs(bar.length_px - length_m / pixel_m) <= 0.51
    # the next longer one, at most 2.5 times as long, would not fit
    assert length_m * 2.5 >= pixel_m * width_px * 0.25 * (1 - 1e-6)


def test_words_are_put_into_letters_that_can_be_drawn() -> None:
    assert drawable("© Müller, 5 m²") == "(c) Muller, 5 m2"
    assert drawable("東京") == "??"

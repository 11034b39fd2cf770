"""A misspelt name is answered with the one that was meant."""

from __future__ import annotations

import pytest

from geotiler.spelling import did_you_mean, nearest, plain


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("bulidings", "Buildings"), ("LANDUS", "landuse"), ("landuse", "landuse"), ("xyz", None)],
)
def test_a_misspelt_word_is_recognised(typed: str, meant: str | None) -> None:
    assert nearest(typed, ["Buildings", "landuse"]) == meant
    told = did_you_mean(typed, ["Buildings", "landuse"])
    assert told == ("" if meant is None else f", did you mean {meant!r}?")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Value error, 'x' is not one of 'a', 'b'.", "'x' is not one of 'a', 'b'."),
        (
            "Invalid value for '--n': Input should be a valid number, unable to parse string as a "
            "number",
            "Invalid value for '--n': expected a valid number",
        ),
        ("Missing option '--output' / '-o'.", "Missing option '--output' / '-o'."),
    ],
)
def test_messages_of_a_library_lose_what_says_nothing(said: str, told: str) -> None:
    assert plain(said) == told

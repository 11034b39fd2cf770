"""A misspelt name is answered with the one that was meant."""

from __future__ import annotations

import pytest

from geotiler.spelling import did_you_mean, nearest


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("bulidings", "Buildings"), ("LANDUS", "landuse"), ("landuse", "landuse"), ("xyz", None)],
)
def test_a_misspelt_word_is_recognised(typed: str, meant: str | None) -> None:
    assert nearest(typed, ["Buildings", "landuse"]) == meant
    told = did_you_mean(typed, ["Buildings", "landuse"])
    assert told == ("" if meant is None else f", did you mean {meant!r}?")

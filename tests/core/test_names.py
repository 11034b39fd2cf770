"""Files are paired by name only where the names say so."""

from __future__ import annotations

import pytest

from geotiler.core.names import ENDINGS, bare_name, has_name_of


@pytest.mark.parametrize("ending", ["", *ENDINGS])
def test_a_mask_is_named_after_its_scene(ending: str) -> None:
    assert has_name_of(f"labels/Town{ending}.png", "scenes/town.tif")
    assert bare_name(f"labels/Town{ending}.png") == bare_name("scenes/town.tif") == "town"


@pytest.mark.parametrize("other", ["town2.png", "towns_mask.png", "mask.png", "old_town.png"])
def test_a_similar_name_is_another_name(other: str) -> None:
    assert not has_name_of(other, "town.tif")
    assert bare_name(other) != "town"


def test_a_name_that_is_an_ending_stays() -> None:
    assert bare_name("_mask.png") == "_mask"

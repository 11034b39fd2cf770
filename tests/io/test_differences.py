"""What differs between two runs: told if something does, causes first, as a person writes it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotiler.io.differences import difference

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(one=VALUES, other=VALUES)
def test_a_difference_is_told_if_and_only_if_there_is_one(one: Any, other: Any) -> None:
    assert difference(one, one) is None
    # In JSON true is not 1, but Python's equality says so; a missing key is as null.
    if difference(one, other) is None:
        assert _without_nulls(one) == _without_nulls(other)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if _without_nulls(v) is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


FILE = {"path": "/data/a.tif", "bytes": 5, "changed_ns": 1}


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"threshold": 0.5}, {"threshold": 0.6}, "`threshold` was 0.5, now 0.6"),
        ({"tile_px": [32, 64]}, {"tile_px": [32, 96]}, "`tile_px` was 32,64, now 32,96"),
        ({"tile_px": [64, 64]}, {"tile_px": [96, 96]}, "`tile_px` was 64, now 96"),
        ({"scale": [0, 3000.0]}, {"scale": [0, 255]}, "`scale` was 0,3000, now 0,255"),
        ({"a": {"b": 1}}, {"a": {"b": None}}, "a b was 1, now not given"),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, "a 2 b was 2, now 3"),
        ({}, {"new": "x"}, "`new` was not given, now x"),
        ({"dissolve": False}, {"dissolve": True}, "`dissolve` was off, now on"),
        ({"settings": {"seed": 1}}, {"settings": {"seed": 2}}, "`seed` was 1, now 2"),
        (
            {"scene": {"file": [FILE]}},
            {"scene": {"file": [{**FILE, "changed_ns": 2}]}},
            "scene /data/a.tif has changed since",
        ),
        (
            {"scene": {"file": [FILE]}},
            {"scene": {"file": [{**FILE, "path": "/data/b.tif"}]}},
            "scene was /data/a.tif, now /data/b.tif",
        ),
    ],
)
def test_the_difference_is_named(before: Any, now: Any, words: str) -> None:
    assert difference(before, now) == words


def test_a_resolution_that_was_stated_is_not_the_models_own() -> None:
    """Both are half a metre: what differs is who said so."""
    words = difference({"gsd_m": [0.5, 0.5]}, {"gsd_m": 0.5})
    assert words == "`gsd_m` was 0.5, now the model's own 0.5"


def test_what_follows_from_a_change_is_not_blamed_for_it() -> None:
    """Whether somebody asked for a tile is not known, so it is told, but not as a cause."""
    before = {"network_px": [900, 900], "tile_px": [512, 512], "overlap_px": 64, "backend": "a"}
    now = {"network_px": [800, 900], "tile_px": [480, 480], "overlap_px": 32, "backend": "a"}
    words = difference(before, now)
    assert words == "`overlap_px` was 64, now 32; `tile_px` was 512, now 480 (may follow from it)"
    alone = {**before, "tile_px": [480, 480]}
    assert difference(before, alone) == "`tile_px` was 512, now 480"


def test_several_causes_are_told_and_many_are_counted() -> None:
    names = ["bands", "scale", "threshold", "seed", "stride_px"]
    words = difference(dict.fromkeys(names, 1), dict.fromkeys(names, 2))
    assert words is not None
    assert [name for name in names if f"`{name}` was 1, now 2" in words] == names[:3]
    assert words.endswith("; and `seed`, `stride_px`")


@pytest.mark.parametrize("also_other", [False, True])
def test_a_backend_is_not_told_for_its_precision(also_other: bool) -> None:
    before = {"precision": "float32", "backend": "openvino 2025.1 cpu float32"}
    now = {"precision": "bfloat16", "backend": "openvino 2025.1 cpu bfloat16"}
    if also_other:
        now["backend"] = "torch 2.9 cpu bfloat16"
    words = difference(before, now)
    assert words is not None
    assert words.startswith("`precision` was float32, now bfloat16")
    assert ("torch" in words) == also_other


SCENE = {"transform": [0.5, 0, 500_000, 0, -0.5, 5_000_000], "size_px": [300, 400]}
WHOLE: dict[str, Any] = {"scene": SCENE}
PART = {**WHOLE, "area_px": [100, 20, 40, 60], "scene_px": [300, 400]}
ASKED = "`bounds` 500010,4999930,500040,4999950"


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (PART, WHOLE, f"the area was {ASKED}, now all of the scene"),
        (WHOLE, PART, f"the area was all of the scene, now {ASKED}"),
        (
            PART,
            {**PART, "area_px": [100, 20, 40, 80], "area_outline": "ab"},
            f"the area was {ASKED}, now `aoi` within 500010,4999930,500050,4999950",
        ),
        (
            {**PART, "area_outline": "ab"},
            {**PART, "area_outline": "cd"},
            "`aoi` has another outline",
        ),
    ],
)
def test_areas_are_told_as_bounds(before: Any, now: Any, words: str) -> None:
    """Row 100 of half a metre is 50 m below the top."""
    assert difference(before, now) == words
    both = difference({**before, "overlap_px": 64}, {**now, "overlap_px": 32})
    assert both == f"`overlap_px` was 64, now 32; {words}"

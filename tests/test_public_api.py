"""The command line and the Python API say the same: words and defaults of flags and fields."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import typer

import geotiler
from geotiler import specs
from geotiler.cli.main import app

PAIRS = {
    "segment": specs.SegmentSpec,
    "vectorize": specs.VectorizeSpec,
    "evaluate": specs.EvaluateSpec,
    "render": specs.RenderSpec,
    "preview": specs.PreviewSpec,
    "tile": specs.TileSpec,
}

UNITS = ("_px", "_m2", "_m")

OTHER_WORDS = {
    "class": "classes",
    "from": "outlines_from",
    "truth": "truths",
    "probability": "probabilities",
    "min_area": "least_area_m2",
    "pixels_only": "objects",
    "scene_gsd": "gsd_m",
}
"""Where the field is not called as the flag, with or without a unit."""

ONLY_ON_THE_COMMAND_LINE = {
    "json", "quiet", "verbose", "dry_run", "config", "progress", "help",
}  # fmt: skip

READ_FROM_TEXT = {
    ("segment", "tile"), ("tile", "tile"), ("tile", "overlap"), ("tile", "output"),
    ("tile", "split"), ("tile", "classes"), ("tile", "labels"), ("evaluate", "class"),
    ("evaluate", "pixels_only"),
}  # fmt: skip
"""Flags whose text is turned into a value, or that have a default of their own words."""


def _options(verb: str) -> dict[str, Any]:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    return {
        max(one.opts, key=len).lstrip("-").replace("-", "_"): one
        for one in command.params
        if one.param_type_name == "option"
    }


def _field(spec: type, flag: str) -> dataclasses.Field[Any] | None:
    fields = {one.name: one for one in dataclasses.fields(spec)}
    names = [flag, *(flag + unit for unit in UNITS), OTHER_WORDS.get(flag, flag)]
    return next((fields[name] for name in names if name in fields), None)


@pytest.mark.parametrize("verb", PAIRS)
def test_every_flag_is_a_field_of_the_same_name_with_the_same_default(verb: str) -> None:
    compared = 0
    for flag, option in _options(verb).items():
        if flag in ONLY_ON_THE_COMMAND_LINE:
            continue
        field = _field(PAIRS[verb], flag)
        assert field is not None, f"{verb} --{flag} has no field in {PAIRS[verb].__name__}"
        if option.required or (verb, flag) in READ_FROM_TEXT:
            continue
        assert field.default == option.default or not (field.default or option.default), flag
        compared += 1
    assert compared or verb == "evaluate"


def test_every_public_name_loads_and_every_verb_is_there() -> None:
    for name in geotiler.__all__:
        assert getattr(geotiler, name) is not None
    assert set(PAIRS) <= set(geotiler.__all__)


def test_it_is_typed() -> None:
    assert (Path(geotiler.__file__).parent / "py.typed").is_file()

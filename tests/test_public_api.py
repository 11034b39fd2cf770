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

PAIRS: dict[str, Any] = {
    "segment": specs.SegmentSpec,
    "vectorize": specs.VectorizeSpec,
    "evaluate": specs.EvaluateSpec,
    "render": specs.RenderSpec,
    "preview": specs.PreviewSpec,
    "tile": specs.TileSpec,
    "classify": (specs.ClassifySpec, specs.ClassifyImagesSpec),
    "export": specs.ExportSpec,
}
"""Verb → the specification of its function, or of its two functions."""

WITHOUT_A_SPECIFICATION = {
    "info": "geotiler.describe(scene), and the plan of geotiler.segment",
    "train": "geotiler.train(task, overrides), the words of the command line",
    "demo": "render, segment, vectorize and evaluate, one after the other",
    "serve": "a service", "models": "files", "data": "files",
    "completion": "the shell's", "man": "the shell's",
}  # fmt: skip

UNITS = ("_px", "_m2", "_m")

OTHER_WORDS = {
    "class": "classes",
    "truth": "truths",
    "probability": "probabilities",
    "min_area": "least_area_m2",
    "pixels_only": "objects",
    "scene_gsd": "gsd_m",
    "to": "target",
}
"""Where the field is not called as the flag, with or without a unit."""

ONLY_ON_THE_COMMAND_LINE = {
    "json", "quiet", "verbose", "dry_run", "config", "progress", "help",
}  # fmt: skip

OF_THE_PRINTED_TABLE = {("classify", "csv"), ("classify", "mlflow_model")}
"""How labels are shown, and who is asked for them: another function of the API."""

ARGUMENTS = {("classify", "inputs"): ("scene", "images"), ("segment", "scenes"): ("scene",)}
"""Where an argument is not called as the field."""

READ_FROM_TEXT = {
    ("segment", "tile"), ("tile", "tile"), ("tile", "overlap"), ("tile", "output"),
    ("tile", "split"), ("tile", "classes"), ("tile", "labels"), ("evaluate", "class"),
    ("evaluate", "pixels_only"), ("classify", "output"),
}  # fmt: skip
"""Flags whose text is turned into a value, or that have a default of their own words."""


def _parameters(verb: str, kind: str) -> dict[str, Any]:
    """Options or arguments of a verb by name, with underscores."""
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    return {
        max(one.opts, key=len).lstrip("-").replace("-", "_"): one
        for one in command.params
        if one.param_type_name == kind
    }


def _fields(verb: str) -> dict[str, list[dataclasses.Field[Any]]]:
    """Fields of a verb's specifications, and of those that stand in them, by name."""
    found: dict[str, list[dataclasses.Field[Any]]] = {}
    open_specs = list(PAIRS[verb]) if isinstance(PAIRS[verb], tuple) else [PAIRS[verb]]
    for spec in open_specs:
        for field in dataclasses.fields(spec):
            found.setdefault(field.name, []).append(field)
            if dataclasses.is_dataclass(field.default):
                open_specs.append(type(field.default))
    return found


def _of_flag(verb: str, flag: str) -> list[dataclasses.Field[Any]]:
    fields = _fields(verb)
    names = [flag, *(flag + unit for unit in UNITS), OTHER_WORDS.get(flag, flag)]
    return next((fields[name] for name in names if name in fields), [])


def test_no_verb_is_left_out() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {*PAIRS, *WITHOUT_A_SPECIFICATION} == set(commands)


@pytest.mark.parametrize("verb", PAIRS)
def test_every_flag_is_a_field_of_the_same_name_with_the_same_default(verb: str) -> None:
    compared = 0
    for flag, option in _parameters(verb, "option").items():
        if flag in ONLY_ON_THE_COMMAND_LINE or (verb, flag) in OF_THE_PRINTED_TABLE:
            continue
        if (verb, flag) == ("segment", "scenes"):
            continue  # a list of scenes is many specifications
        fields = _of_flag(verb, flag)
        assert fields, f"{verb} --{flag} has no field"
        if option.required or (verb, flag) in READ_FROM_TEXT:
            continue
        for field in fields:
            said = option.default
            if said is None and isinstance(option.show_default, str):  # the parser must tell
                said = None if option.show_default != str(field.default) else field.default
            assert field.default == said or not (field.default or said), flag
        compared += 1
    assert compared or verb == "evaluate"


@pytest.mark.parametrize("verb", PAIRS)
def test_every_argument_is_a_field_of_the_same_name(verb: str) -> None:
    fields = _fields(verb)
    for name in _parameters(verb, "argument"):
        for field in ARGUMENTS.get((verb, name), (name,)):
            assert field in fields, f"{verb} {name}"


def test_every_public_name_loads_and_every_verb_is_there() -> None:
    for name in geotiler.__all__:
        assert getattr(geotiler, name) is not None
    assert set(PAIRS) <= set(geotiler.__all__)
    for name in set(geotiler.__all__) - {"errors", "specs"}:
        assert callable(getattr(geotiler, name))


def test_it_is_typed() -> None:
    assert (Path(geotiler.__file__).parent / "py.typed").is_file()

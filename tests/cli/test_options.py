"""One word means one thing in every command, and what every command has, every command has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from geotiler.cli.main import app, main

VERBS = (
    "classify", "demo", "evaluate", "export", "info", "preview", "render", "segment", "tile",
    "train", "vectorize",
)  # fmt: skip

SHARED = {
    "--json": None,
    "--quiet": "-q",
    "--verbose": "-v",
    "--config": None,
    "--progress": None,
}

WITHOUT_OVERWRITE = {
    "info": "writes nothing",
    "demo": "replaces its own files only, and knows them",
    "train": "a run's folder is not replaced: another name, or --resume",
}

WITH_A_PLAN = {"tile", "segment", "classify"}
"""Work of minutes to days with a cost that can be told before. `train --cfg` prints what a run
would be, `info` is a plan itself, and the other verbs take seconds."""


def _options(verb: str) -> dict[str, Any]:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    return {
        max(one.opts, key=len): one for one in command.params if one.param_type_name == "option"
    }


def test_every_verb_is_looked_at() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(VERBS) == set(commands) - {"serve", "models", "data", "completion", "man"}


@pytest.mark.parametrize("verb", VERBS)
def test_what_all_share_is_in_each(verb: str) -> None:
    options = _options(verb)
    for flag, short in SHARED.items():
        assert flag in options, f"geotiler {verb} has no {flag}"
        assert set(options[flag].opts) == {flag, short} - {None}
        assert options[flag].help == _options("segment")[flag].help
    assert ("--overwrite" in options) == (verb not in WITHOUT_OVERWRITE)
    assert ("--dry-run" in options) == (verb in WITH_A_PLAN)


def test_short_flags_stand_for_one_word_each() -> None:
    short: dict[str, set[str]] = {}
    for verb in VERBS:
        for flag, option in _options(verb).items():
            for name in option.opts:
                if name != flag and not name.startswith("--"):
                    short.setdefault(name, set()).add(flag)
    assert short.keys() >= {"-o", "-q", "-v"}
    assert all(len(words) == 1 for words in short.values()), short


def test_no_flag_is_a_switch_here_and_takes_a_value_there() -> None:
    root = typer.main.get_command(app)
    groups = [root, *(each for each in root.commands.values() if hasattr(each, "commands"))]  # type: ignore[attr-defined]
    kinds: dict[str, set[bool]] = {}
    verbs: dict[str, set[str]] = {}
    for name, command in (pair for group in groups for pair in group.commands.items()):
        for option in command.params:
            for flag in (each for each in option.opts if each.startswith("--")):
                kinds.setdefault(flag, set()).add(bool(getattr(option, "is_flag", False)))
                verbs.setdefault(flag, set()).add(name)
    assert len(kinds) > 80
    assert not {flag for flag, found in kinds.items() if len(found) > 1}
    assert verbs["--from"] == {"eurosat"}, "a word that says little has one meaning at most"


@pytest.mark.parametrize(
    "flag",
    [
        "--overwrite", "--dry-run", "--device", "--backend", "--threads", "--scale", "--class",
    ],
)  # fmt: skip
def test_what_several_verbs_have_is_told_in_the_same_words(flag: str) -> None:
    told = {_options(verb)[flag].help for verb in VERBS if flag in _options(verb)}
    assert len(told) == 1, told


@pytest.mark.parametrize("word", ["-v", "--verbose"])
def test_verbose_tells_where_a_setting_came_from(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a verb that does nothing about it itself."""
    monkeypatch.setenv("GEOTILER_RENDER_SEED", "5")
    words = ["render", str(tmp_path / "a.tif"), "--height", "64", "--width", "64", "--overwrite"]
    assert main(words) == 0
    assert "GEOTILER_RENDER_SEED" not in capsys.readouterr().out
    assert main([*words, word]) == 0
    said = capsys.readouterr().out
    assert "5 (from GEOTILER_RENDER_SEED)" in said
    assert "64 (by flag)" in said


@pytest.mark.parametrize(
    ("verb", "flag", "value"),
    [
        ("segment", "--tile", "PX|H,W|auto"),
        ("segment", "--bounds", "W,S,E,N"),
        ("preview", "--bounds", "W,S,E,N"),
        ("classify", "--bounds", "W,S,E,N"),
        ("segment", "--scale", "MIN,MAX|auto"),
        ("tile", "--tile", "PX|H,W"),
    ],
)
def test_the_help_shows_how_a_value_looks(
    verb: str, flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    assert f"{flag} {value} " in capsys.readouterr().out


def test_the_help_says_that_quiet_is_about_the_report_too() -> None:
    assert "table" in _options("segment")["--quiet"].help

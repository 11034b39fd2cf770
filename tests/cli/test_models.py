"""`geotiler models` says what the cards say, as a table and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from geotiler.cli.models import app
from geotiler.errors import ModelError
from geotiler.models import registry
from geotiler.models.bundle import Bundle


@pytest.fixture(autouse=True)
def shipped(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model is the one that ships."""
    monkeypatch.setattr(registry, "weights_dir", lambda: tiny_bundle.folder.parent)


def _output(*arguments: str) -> str:
    found = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def _json(*arguments: str) -> Any:
    return json.loads(_output(*arguments, "--json"))


def test_list(tiny_bundle: Bundle) -> None:
    assert [model["name"] for model in _json("list")["models"]] == ["tiny"]
    assert "tiny" in _output("list")


def test_show(tiny_bundle: Bundle) -> None:
    shown = _json("show", "tiny")
    assert shown["digest"] == tiny_bundle.digest
    assert shown["classes"] == [{"id": 1, "name": "building", "color": "#d7301f"}]
    table = _output("show", str(tiny_bundle.folder))
    for word in (
        "Unet",
        "building",
        "red, green, blue",
        "0.5 m per pixel",
        tiny_bundle.card.licence,
    ):
        assert word in table


def test_check(tiny_bundle: Bundle) -> None:
    for arguments in (("check",), ("check", "tiny")):
        (check,) = _json(*arguments)["checks"]
        assert check["digest"] == tiny_bundle.digest
        assert check["largest_difference"] <= 1e-4
    assert "openvino" in _output("check")


@pytest.mark.parametrize(("typed", "is_near"), [("tinny", True), ("TINY", True), ("xyz", False)])
def test_a_misspelt_model_names_the_nearest(typed: str, is_near: bool) -> None:
    with pytest.raises(ModelError) as caught:
        CliRunner().invoke(app, ["show", typed], catch_exceptions=False)
    assert ("did you mean 'tiny'?" in str(caught.value)) == is_near
    assert "`model` is one of: tiny" in str(caught.value), "told in any case"


def test_an_unknown_model_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="nothing"):
        CliRunner().invoke(app, ["show", "nothing"], catch_exceptions=False)

"""`geotiler models` says what the cards say, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from geotiler.cli.main import main
from geotiler.cli.models import app
from geotiler.errors import ModelError
from geotiler.models import registry
from geotiler.models.bundle import Bundle, replace_card
from geotiler.models.card import Metric


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


def test_list_of_a_weights_folder(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """As a service sees it: by the folders' names, without what is just being written."""
    with pytest.raises(ModelError, match="no model in"):
        _output("list", "--weights", str(tmp_path))
    shutil.copytree(tiny_bundle.folder, tmp_path / "buildings")
    shutil.copytree(tiny_bundle.folder, tmp_path / ".buildings.x1")
    listed = _json("list", "--weights", str(tmp_path))
    assert listed["folder"] == str(tmp_path)
    assert [model["name"] for model in listed["models"]] == ["buildings"]


def test_promote_goes_where_the_service_looks(
    tiny_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, live, other = tmp_path / "run", tmp_path / "live", tmp_path / "other"
    shutil.copytree(tiny_bundle.folder, run / "model")
    command = ["models", "promote", str(run), "--if-better", "iou", "--json"]
    for nothing in (None, ""):
        if nothing is None:
            monkeypatch.delenv("GEOTILER_SERVE_WEIGHTS", raising=False)
        else:
            monkeypatch.setenv("GEOTILER_SERVE_WEIGHTS", nothing)
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "--weights" in line
        assert "GEOTILER_SERVE_WEIGHTS" in line
    monkeypatch.setenv("GEOTILER_SERVE_WEIGHTS", str(live))
    for iou, is_promoted in ((0.5, True), (0.4, False), (0.6, True)):
        metrics = (
            Metric(name="IoU", value=0.9, data="validation split of chips"),
            Metric(name="IoU", value=iou, data="test split, never trained on of chips"),
        )
        replace_card(run / "model", dataclasses.replace(tiny_bundle.card, metrics=metrics))
        assert main(command) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["promoted"] == is_promoted
        assert said["folder"] == str(live / "tiny")
    assert said["data"] == "test split, never trained on of chips"
    assert (said["candidate"], said["current"]) == (0.6, 0.5)
    assert main([*command, "--weights", str(other)]) == 0
    assert (other / "tiny" / "card.json").is_file(), "what is typed wins"


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

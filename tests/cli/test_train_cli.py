"""`geotiler train` on the command line: words, help, and where keys come from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from geotiler.cli.main import main
from geotiler.cli.train import _keys, task_and_overrides
from geotiler.errors import SpecError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("buildings", [])),
        (["model=linknet"], ("buildings", ["model=linknet"])),
        (["buildings-accurate"], ("buildings-accurate", [])),
        (["model=linknet", "mine", "+a.b=1"], ("mine", ["model=linknet", "+a.b=1"])),
    ],
)
def test_a_word_with_an_equals_sign_is_an_override(
    words: list[str], expected: tuple[str, list[str]]
) -> None:
    assert task_and_overrides(words) == expected


def test_two_tasks_are_refused() -> None:
    with pytest.raises(SpecError, match="one and two"):
        task_and_overrides(["one", "two"])


def test_help_shows_flags_groups_and_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "model=linknet", "--help"]) == 0
    shown = capsys.readouterr().out
    flat = " ".join(shown.split())
    for words in (
        "--resume", "--cfg", "buildings-accurate", "architecture: Linknet",
        "transforms basic, none, objects, strong", "loss bce_dice, focal, lovasz, tversky",
        "logger comet, csv, mlflow, tensorboard, wandb",
    ):  # fmt: skip
        assert words in flat


def test_cfg_prints_what_would_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "buildings", "--cfg", "train.optimizer.lr=0.0005", "name=mine"]
    assert main(words) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["train"]["optimizer"]["lr"] == 0.0005
    assert shown["output"] == "outputs/mine"


def test_cfg_is_json_where_json_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for task in ("buildings", "landuse"):
        words = ["train", task, "--cfg", f"name=mine {task}"]
        assert main(words) == 0
        as_yaml = yaml.safe_load(capsys.readouterr().out)
        assert main([*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == as_yaml


def test_of_a_run_that_goes_on_cfg_prints_its_own_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    begun = ["train", "buildings", "--cfg", f"output={folder}"]
    assert main([*begun, "--resume"]) == 3  # there is none
    assert "nothing to resume" in capsys.readouterr().err
    assert main([*begun, "loss=focal", "train.batch=7"]) == 0
    folder.mkdir()
    (folder / "config.yaml").write_text(capsys.readouterr().out)
    (folder / "last.ckpt").touch()  # not looked into
    for more in ([], ["--json"]):
        assert main([*begun, "--resume", "train.steps=9", *more]) == 0
        shown = yaml.safe_load(capsys.readouterr().out)
        assert (shown["train"]["batch"], shown["train"]["steps"]) == (7, 9)
        assert shown["loss"]["focal"] > 0
    assert main([*begun, "--resume", "loss=lovasz"]) == 2
    assert "begun with other settings" in capsys.readouterr().err


def test_home_is_where_it_is_though_shells_leave_the_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["train", "data.root=~/my chips"]) == 3
    assert f"{tmp_path}/my chips" in capsys.readouterr().err


def test_a_misspelt_key_ends_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "train.lr=1"]) == 2
    assert "did you mean train.optimizer.lr?" in capsys.readouterr().err


def test_without_data_it_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train"]) == 3
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert str(tmp_path / "data" / "buildings") in said
    assert "data.root=" in said
    assert "geotiler tile" in said
    assert not list(tmp_path.iterdir())


def test_a_run_prints_a_table_and_its_json_is_whole(
    small_run: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "buildings", *small_run, "train.steps=3"]) == 0
    out = capsys.readouterr().out
    assert "split  chips  loss" in out
    assert main(["train", "buildings", *small_run, "--resume", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] in (3, 6)
    assert 0 <= report["splits"]["val"]["iou"] <= 1


def test_keys_come_from_the_environment_or_from_env_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "COMET_API_KEY", "GEOTILER_SECRET"):
        monkeypatch.setenv(name, "")  # so that it is restored afterwards
        monkeypatch.delenv(name)
    assert _keys() == set()
    (tmp_path / ".env").write_text("COMET_API_KEY=mine\nGEOTILER_SECRET=other\n")
    assert _keys() == {"comet"}
    assert os.environ["COMET_API_KEY"] == "mine"
    assert "GEOTILER_SECRET" not in os.environ
    monkeypatch.setenv("COMET_API_KEY", "theirs")
    _keys()
    assert os.environ["COMET_API_KEY"] == "theirs"

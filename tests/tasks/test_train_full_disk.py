"""`geotiler train` where the disk fills up: what is finished stays, and the run goes on from it."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from geotiler.errors import OutputError
from geotiler.models.registry import find_model
from geotiler.progress import Event, Notice, StageAdvanced
from geotiler.tasks.train import train

STEPS_PER_EPOCH, STEPS = 4, 8

pytestmark = pytest.mark.usefixtures("torch_as_before")


@pytest.fixture
def run(small_landuse_run: list[str], disk_of: Callable[[int], Path]) -> list[str]:
    """Overrides of a run onto a disk of its own."""
    disk = disk_of(16_000_000)
    return [*small_landuse_run, "train.threads=1", f"output={disk / 'run'}"]


def _folder(run: list[str]) -> Path:
    return Path(run[-1].removeprefix("output="))


def _filling(folder: Path, step: int, free_bytes: int) -> Callable[[Event], None]:
    """A listener that leaves so many bytes free after a step, as another program might."""
    steps = 0

    def heard(event: Event) -> None:
        nonlocal steps
        if isinstance(event, StageAdvanced) and event.stage == "training":
            steps += event.amount
            if steps == step:
                _fill(folder.parent, free_bytes)

    return heard


def _fill(disk: Path, free_bytes: int) -> None:
    (disk / "filler").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free_bytes)))


def _steps_of_curve(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row["step"]) for row in csv.DictReader(file)]


def _step_of(checkpoint: Path) -> int:
    state: dict[str, Any] = torch.load(checkpoint, weights_only=False)
    return int(state["global_step"])


def test_before_the_first_checkpoint_nothing_is_left(run: list[str]) -> None:
    folder = _folder(run)
    with pytest.raises(OutputError, match="No space left") as caught:
        train("landuse", run, report=_filling(folder, 2, 0))
    assert "output=" in str(caught.value)
    assert not folder.exists()


@pytest.mark.parametrize("free_bytes", [0, 60_000])
def test_the_last_whole_checkpoint_stays_and_the_run_goes_on(
    run: list[str], free_bytes: int
) -> None:
    """No byte is free for the curve, or too few for a checkpoint."""
    folder = _folder(run)
    with pytest.raises(OutputError, match="No space left") as caught:
        train("landuse", run, report=_filling(folder, STEPS_PER_EPOCH + 1, free_bytes))
    assert caught.value.exit_code == 4
    assert "--resume" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _step_of(folder / "last.ckpt") == _step_of(folder / "best.ckpt") == STEPS_PER_EPOCH
    assert (folder / "last.ckpt").stat().st_size > free_bytes
    assert STEPS_PER_EPOCH in _steps_of_curve(folder)
    assert (folder / "config.yaml").stat().st_size
    assert not (folder / "model").exists()
    assert not [path for path in folder.rglob("*") if ".part" in path.name]
    (folder.parent / "filler").unlink()
    report = train("landuse", [*run, "resume=true", "train.select=last"])
    assert report.as_dict()["steps"] == STEPS
    assert _steps_of_curve(folder)[-1] == STEPS
    assert find_model(str(folder)).card.name


def test_a_model_folder_is_whole_or_absent(run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up between the last step and the model; then while a new model is written."""
    from geotiler.tasks import train_classifier

    folder = _folder(run)
    write = train_classifier.write_bundle

    def filled(*arguments: Any, **more: Any) -> Any:
        _fill(folder.parent, 8_000)
        return write(*arguments, **more)

    monkeypatch.setattr(train_classifier, "write_bundle", filled)
    with pytest.raises(OutputError, match="No space left") as caught:
        train("landuse", run)
    assert "--resume" in str(caught.value)
    assert not [path.name for path in folder.iterdir() if "model" in path.name]
    assert _step_of(folder / "last.ckpt") == STEPS
    (folder.parent / "filler").unlink()
    monkeypatch.undo()
    again = [*run, "resume=true"]
    report = train("landuse", again)
    before = find_model(str(folder)).digest
    assert report.as_dict()["model"] == str(folder / "model")
    monkeypatch.setattr(train_classifier, "write_bundle", filled)
    with pytest.raises(OutputError, match="No space left"):
        train("landuse", again)
    assert find_model(str(folder)).digest == before


def test_a_segmentation_run_keeps_its_checkpoints_too(
    small_run: list[str], disk_of: Callable[[int], Path]
) -> None:
    """The disk fills up while the finished weights are scored, before the model is written."""
    folder = disk_of(100_000_000) / "run"

    def heard(event: Event) -> None:
        if isinstance(event, Notice) and event.message.startswith("scoring"):
            _fill(folder.parent, 500_000)

    run = [*small_run, "train.steps=3", "train.threads=1", f"output={folder}"]
    with pytest.raises(OutputError, match="No space left") as caught:
        train("buildings", run, report=heard)
    assert "--resume" in str(caught.value)
    assert not [path.name for path in folder.iterdir() if "model" in path.name]
    (folder.parent / "filler").unlink()
    assert train("buildings", [*run, "resume=true"]).as_dict()["steps"] == 3
    assert find_model(str(folder)).card.name == "run"


def test_a_logger_that_cannot_write_ends_the_run_as_plainly(run: list[str]) -> None:
    pytest.importorskip("mlflow")
    folder = _folder(run)  # the database lies beside it
    filling = _filling(folder, STEPS_PER_EPOCH + 1, 0)
    with pytest.raises(OutputError, match=r"logger=mlflow cannot go on: .*disk is full") as caught:
        train("landuse", [*run, "logger=mlflow"], report=filling)
    assert "--resume" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _step_of(folder / "last.ckpt") == STEPS_PER_EPOCH


def test_the_command_ends_in_one_line(run: list[str]) -> None:
    folder = _folder(run)
    train("landuse", [*run, f"train.steps={STEPS_PER_EPOCH}"])
    _fill(folder.parent, (folder / "last.ckpt").stat().st_size // 2)
    words = [sys.executable, "-c", "from geotiler.cli.main import run; run()", "train", "landuse"]
    said = subprocess.run(
        [*words, *run, "--resume", "-q"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 4, said.stderr
    (line,) = said.stderr.strip().splitlines()
    assert line.startswith(f"geotiler: {folder} cannot be written: No space left")
    assert "--resume" in line
    assert said.stdout == ""
    assert _step_of(folder / "last.ckpt") == STEPS_PER_EPOCH

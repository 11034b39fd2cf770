"""The real clients, without a network: what they write, and that no key is in it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from geotiler.errors import MissingExtraError, SpecError
from geotiler.tasks.train import train
from geotiler.training.compose import compose
from geotiler.training.loggers import check_logger

KEY = "a1b2c3d4e5" * 4


@pytest.fixture
def run(
    small_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], Path]:
    """A run whose environment holds keys, and its folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "COMET_API_KEY"):
        monkeypatch.setenv(name, KEY)
    return [*small_run, "train.steps=3", "logger.online=false"], tmp_path / "run"


def _without_key(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_tensorboard(run: tuple[list[str], Path]) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    overrides, folder = run
    report = train("buildings", [*overrides, "logger=tensorboard"])
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert {"train_loss", "val_loss", "val_iou"} <= set(events.Tags()["scalars"])
    (final,) = events.Scalars("final_val_iou")
    assert final.value == pytest.approx(report.splits["val"].iou, abs=1e-6)
    assert final.step == 3
    _without_key(folder)


def test_mlflow_on_a_local_store(run: tuple[list[str], Path], tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    overrides, _ = run
    report = train("buildings", [*overrides, "logger=mlflow"])
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'geotiler'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["final_val_iou"] == pytest.approx(report.splits["val"].iou)
    assert found.data.params["train/steps"] == "3"
    kept = {item.path for item in client.list_artifacts(found.info.run_id, "plots")}
    assert {"plots/loss.png", "plots/precision_recall.png"} <= kept
    _without_key(tmp_path)


def test_wandb_offline(run: tuple[list[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    overrides, folder = run
    train("buildings", [*overrides, "logger=wandb"])
    (log,) = folder.glob("wandb/offline-run-*/*.wandb")
    content = log.read_bytes()
    for word in (b"train_loss", b"val_iou", b"final_val_iou", b"steps_per_epoch"):
        assert word in content
    _without_key(tmp_path)


def test_comet_offline(run: tuple[list[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("comet_ml")
    overrides, folder = run
    train("buildings", [*overrides, "logger=comet"])
    (archive,) = folder.glob("comet/*.zip")
    with zipfile.ZipFile(archive) as file:
        content = b"".join(file.read(name) for name in file.namelist())
    for word in (b"train_loss", b"val_iou", b"final_val_iou", b"steps_per_epoch"):
        assert word in content
    assert KEY.encode() not in content
    _without_key(tmp_path)


def test_a_logger_that_is_not_there_is_named_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = compose("buildings", ["logger=comet"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"geotiler\[comet\]"):
        check_logger(config)
    config.logger.name = "paper"
    with pytest.raises(SpecError, match="csv, tensorboard, mlflow, wandb, comet"):
        check_logger(config)

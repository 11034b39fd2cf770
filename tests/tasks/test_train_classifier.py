"""`geotiler train landuse` from tiles to a model folder that classifies."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from geotiler.core.radiometry import normalise
from geotiler.errors import InputError, ModelError, SpecError
from geotiler.models.bundle import open_bundle
from geotiler.models.predictor import open_predictor
from geotiler.specs import Backend
from geotiler.tasks.train import train


def _listed(path: Path) -> list[str]:
    return path.read_text().split()


def _losses(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [row["train_loss"] for row in csv.DictReader(file)]


def test_a_run_leaves_a_model_that_answers_as_reported(
    small_landuse_run: list[str], landuse_tiles: Path, tmp_path: Path
) -> None:
    """The graph, fed by hand as the card says, finds the accuracy and the confusion of the card."""
    more = [
        "train.steps=60",
        "train.steps_per_epoch=30",
        "train.optimizer.lr=0.01",
        "model.image_size=80",
    ]
    report = train("landuse", [*small_landuse_run, *more])
    bundle = open_bundle(report.model)
    card = bundle.card
    assert (card.task, card.activation, card.tile_px, card.input_px) == (
        "classification",
        "softmax",
        64,
        80,
    )
    assert [info.id for info in card.classes] == list(range(1, 11))
    names = [info.name for info in card.classes]
    assert names == sorted(names)
    parts = {
        part: _listed(tmp_path / "run" / "split" / f"eurosat-spatial-{part}.txt")
        for part in ("train", "val", "test")
    }
    assert not set(parts["test"]) & {*parts["train"], *parts["val"]}
    predictor = open_predictor(bundle, backend=Backend.ONNX, device="cpu")
    confusion = np.zeros((10, 10), int)
    for name in parts["test"]:
        label = name.rsplit("_", 1)[0]
        tile = cv2.imread(str(landuse_tiles / label / name))[..., ::-1].transpose(2, 0, 1)
        valid = np.ones((64, 64), bool)
        pixels = normalise(tile, valid, scale=card.scale, mean=card.mean, std=card.std)
        confusion[names.index(label), int(predictor(pixels[None]).argmax())] += 1
    np.testing.assert_array_equal(confusion, card.confusion)
    plots = {path.name for path in (tmp_path / "run" / "plots").iterdir()}
    assert plots == {"loss_curves.png", "val_acc.png", "confusion_matrix.png"}
    assert all(cv2.imread(str(tmp_path / "run" / "plots" / name)).std() > 5 for name in plots)
    accuracy = np.trace(confusion) / confusion.sum()
    assert report.test_accuracy == pytest.approx(accuracy)
    assert card.metrics[0].value == pytest.approx(accuracy, abs=1e-4)
    assert accuracy > 0.5  # chance is 0.1


def test_the_seed_decides_and_every_epoch_looks_anew(
    small_landuse_run: list[str], tmp_path: Path
) -> None:
    """With a rate of nothing the loss tells what was looked at."""
    still = [
        "train.optimizer.lr=1e-12",
        "train.batch=60",
        "train.steps=2",
        "train.steps_per_epoch=1",
    ]
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        output = f"output={tmp_path / name}"
        train("landuse", [*small_landuse_run, *still, output, f"train.seed={seed}"])
        losses.append(_losses(tmp_path / name))
    assert losses[0] == losses[1] != losses[2]
    assert losses[0][0] != losses[0][1]


@pytest.mark.usefixtures("torch_as_before")
def test_the_switch_reaches_torch_and_one_seed_gives_one_loss_with_it(
    small_landuse_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from geotiler.training.classification import Classification

    seen: list[bool] = []
    step = Classification.training_step

    def recorded(self: Classification, batch: Any, index: int) -> Any:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return step(self, batch, index)

    monkeypatch.setattr(Classification, "training_step", recorded)
    losses = []
    for name, wanted in (("a", True), ("b", True), ("c", False)):
        more = ["train.steps=2", f"output={tmp_path / name}", f"train.deterministic={wanted}"]
        train("landuse", [*small_landuse_run, *more, "train.threads=1", "train.accelerator=cpu"])
        losses.append(_losses(tmp_path / name))
        assert seen == [wanted, wanted]
        seen.clear()
    assert losses[0] == losses[1]


def test_a_run_goes_on_and_another_starts_from_it(
    small_landuse_run: list[str], tmp_path: Path
) -> None:
    train("landuse", [*small_landuse_run, "train.steps=4"])
    report = train("landuse", [*small_landuse_run, "resume=true", "train.select=last"])
    assert report.steps == 8
    fine = train(
        "landuse",
        [*small_landuse_run, f"init={report.model}", f"output={tmp_path / 'fine'}",
         "model.mean=[0.1,0.1,0.1]"],
    )  # fmt: skip
    assert open_bundle(fine.model).card.mean == (0.5, 0.5, 0.5)


def test_mlflow_keeps_parameters_scores_pictures_and_the_commit(
    small_landuse_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    work = tmp_path / "work"
    work.mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(work)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "begin"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    monkeypatch.chdir(work)
    report = train("landuse", [*small_landuse_run, "logger=mlflow", f"output={work / 'run'}"])
    client = mlflow.tracking.MlflowClient(f"sqlite:///{work / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'geotiler'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.tags["mlflow.source.git.commit"] == head.stdout.strip()
    assert found.data.metrics["final_test_accuracy"] == pytest.approx(report.test_accuracy)
    assert "val_macro_f1" in found.data.metrics
    assert found.data.params["model/architecture"] == "simple_cnn"
    kept = {item.path for item in client.list_artifacts(found.info.run_id, "plots")}
    assert "plots/confusion_matrix.png" in kept


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("model.image_size=32", SpecError, "image_size"),
        ("train.batch=1", SpecError, "batch"),
        ("train.norm_eval=true", SpecError, "norm_eval"),
        ("transforms.crop_scale=0", SpecError, "crop_scale"),
        ("data.split=sideways", SpecError, "spatial or random"),
        ("data.lists=nowhere", InputError, "nowhere"),
        ("data.root=nowhere.zip", InputError, "nowhere"),
        ("init=buildings", SpecError, "no classifier"),
        ("model.weights=nowhere", ModelError, "nowhere"),
        ("weights=nowhere", ModelError, "nowhere"),
        ("++model.classes.Lawn='#00ff00'", InputError, "Lawn"),
        ("model.classes.Forest=green", ModelError, "colours"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    small_landuse_run: list[str], override: str, error: type[Exception], message: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(error, match=message):
        train("landuse", [*small_landuse_run, override])
    assert not (tmp_path / "run").exists()


def test_a_bad_tile_of_the_test_part_is_told_before_training(
    small_landuse_run: list[str], landuse_tiles: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(landuse_tiles, data)
    name = _listed(data / "eurosat-spatial-test.txt")[0]
    (data / name.rsplit("_", 1)[0] / name).write_bytes(b"junk")
    with pytest.raises(InputError, match=rf"{name} is not an image"):
        train("landuse", [*small_landuse_run, f"data.root={data}"])
    assert not (tmp_path / "run").exists()

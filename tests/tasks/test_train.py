"""`geotiler train` from chips to a model folder that segments."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
import torch
from omegaconf import OmegaConf

from geotiler.core.metrics import ConfusionMatrix
from geotiler.errors import (
    DeviceError,
    GeotilerError,
    InputError,
    ModelError,
    OutputError,
    SpecError,
)
from geotiler.io.work_folder import held
from geotiler.models.bundle import load_network
from geotiler.models.registry import find_model
from geotiler.specs import RenderSpec, SegmentSpec
from geotiler.tasks.render import render
from geotiler.tasks.segment import segment
from geotiler.tasks.train import train
from geotiler.training.compose import compose
from geotiler.training.losses import SegmentationLoss
from geotiler.training.resumption import resumed
from geotiler.training.segmentation import Segmentation


def _column(folder: Path, name: str) -> list[str]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def _losses(folder: Path) -> list[str]:
    return _column(folder, "train_loss")


def test_a_run_leaves_a_model_that_segments(small_run: list[str], tmp_path: Path) -> None:
    report = train("buildings", [*small_run, "train.steps=3"])
    assert report.steps == 3
    run = tmp_path / "run"
    left = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert left >= {
        "config.yaml", "best.ckpt", "last.ckpt", "metrics.csv", "scores.csv", "plots/loss.png",
        "plots/iou.png", "plots/precision_recall.png", "plots/samples.png", "model/card.json",
    }  # fmt: skip
    card = find_model(str(run)).card  # the run's folder will do
    assert card.name == "run"
    assert card.stride_of_network == 8
    assert card.metrics[0].name == "IoU"
    assert card.metrics[0].value == pytest.approx(report.val_iou, abs=1e-4)
    scene = tmp_path / "scene.tif"
    render(RenderSpec(output=scene, height=128, width=128))
    done = segment(
        SegmentSpec(scene=str(scene), output=tmp_path / "mask.tif", model=str(report.model))
    )
    assert sum(done.class_px.values()) == 128 * 128


def test_training_learns(small_run: list[str]) -> None:
    """On the chips it is trained on, the validation IoU rises well above all-background."""
    more = ["train.steps=40", "train.steps_per_epoch=20", "train.optimizer.lr=5e-3"]
    more += ["train.ema_decay=0.9", "train.scheduler.decay_steps=20"]
    report = train("buildings", [*small_run, *more])
    assert report.val_iou > 0.25


def test_one_seed_gives_one_loss_and_another_another(small_run: list[str], tmp_path: Path) -> None:
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train("buildings", [*small_run, f"output={tmp_path / name}", f"train.seed={seed}"])
        losses.append(_losses(tmp_path / name))
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.usefixtures("torch_as_before")
def test_an_operation_that_may_differ_from_run_to_run_is_refused_by_name(
    small_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = SegmentationLoss.forward

    def with_put(self: SegmentationLoss, logits: Any, labels: Any) -> Any:
        zeros = torch.zeros_like(logits).put_(torch.tensor([0, 0]), torch.zeros(2))
        return forward(self, logits + zeros, labels)

    monkeypatch.setattr(SegmentationLoss, "forward", with_put)
    with pytest.raises(SpecError, match="put_") as caught:
        train("buildings", [*small_run, "train.deterministic=true"])
    assert caught.value.hint == "train.deterministic=false takes it"
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_every_epoch_sees_other_crops(
    small_run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    step = Segmentation.training_step

    def recorded(self: Segmentation, batch: Any, index: int) -> Any:
        seen.append(batch[0].numpy().tobytes())
        return step(self, batch, index)

    monkeypatch.setattr(Segmentation, "training_step", recorded)
    train("buildings", small_run)
    assert len(seen) == len(set(seen)) == 6


def test_the_last_epoch_has_what_is_left_and_is_scored(
    small_run: list[str], tmp_path: Path
) -> None:
    report = train("buildings", [*small_run, "train.steps=4", "train.select=last"])
    assert report.steps == 4
    assert _column(tmp_path / "run", "step") == ["3.0", "4.0"]
    report = train("buildings", [*small_run, "train.steps=8", "train.select=last", "resume=true"])
    assert report.steps == 8
    steps = [float(step) for step in _column(tmp_path / "run", "step")]
    assert steps[:2] == [3, 4]
    assert steps[-1] == 8
    assert (np.diff(steps) <= 3).all()


def test_epochs_stand_for_their_steps(small_run: list[str]) -> None:
    assert train("buildings", [*small_run, "train.epochs=1", "train.steps=99"]).steps == 3


def test_scores_of_both_splits_are_those_of_the_released_command(
    small_run: list[str], chip_folder: Path, tmp_path: Path
) -> None:
    """The table's IoU is what segment and evaluate find with the model on the same chips."""
    root = tmp_path / "chips"
    shutil.copytree(chip_folder, root)
    (root / "test.txt").write_text((root / "train.txt").read_text())
    more = ["train.steps=30", "train.steps_per_epoch=30", "train.optimizer.lr=5e-3"]
    report = train("buildings", [*small_run, *more, "train.ema_decay=0.8", f"data.root={root}"])
    assert set(report.splits) == {"val", "test"}
    assert report.splits["test"].chips == 6
    counts = ConfusionMatrix()
    for name in (root / "val.txt").read_text().split():
        mask = tmp_path / f"{name}.png"
        scene = str(root / "images" / f"{name}.png")
        segment(SegmentSpec(scene=scene, output=mask, model=str(report.model), gsd_m=(0.5, 0.5)))
        truth = cv2.imread(str(root / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE) // 255
        with rasterio.open(mask) as file:
            counts.add(truth, file.read(1))
    # The model is stored in half precision, and its chips are padded in another way.
    assert counts.score(1).iou == pytest.approx(report.splits["val"].iou, abs=0.03)
    assert counts.score(1).iou > 0.1


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_what_was_finished(
    small_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = SegmentationLoss.forward
    calls = []

    def poisoned(self: SegmentationLoss, logits: Any, labels: Any) -> Any:
        calls.append(1)
        return forward(self, logits, labels) * (float("nan") if len(calls) > 6 else 1.0)

    monkeypatch.setattr(SegmentationLoss, "forward", poisoned)
    with pytest.raises(ModelError, match=r"loss became nan after step 4") as caught:
        train("buildings", small_run)  # 3 steps, 2 validation chips, and the second step
    assert "--resume" in str(caught.value)
    assert _column(tmp_path / "run", "step") == ["3.0"]
    monkeypatch.undo()
    assert train("buildings", [*small_run, "resume=true", "train.select=last"]).steps == 6


def test_a_run_that_fails_at_once_leaves_nothing(
    small_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = torch.full((), float("inf"), requires_grad=True)
    monkeypatch.setattr(SegmentationLoss, "forward", lambda *unused: lost * 1.0)
    with pytest.raises(ModelError, match="no epoch was finished"):
        train("buildings", small_run)
    assert not (tmp_path / "run").exists()


def test_two_runs_do_not_train_into_one_folder(small_run: list[str], tmp_path: Path) -> None:
    output = tmp_path / "not" / "yet" / "there"
    output.parent.mkdir(parents=True)
    with (
        held(output),
        pytest.raises(OutputError, match=f"another run .process {os.getpid()} on"),
    ):
        train("buildings", [*small_run, f"output={output}"])
    assert list(output.parent.iterdir()) == []


def test_early_stopping_ends_a_run_that_gains_nothing(small_run: list[str]) -> None:
    more = ["train.optimizer.lr=1e-30", "train.steps=60", "train.early_stopping=1"]
    report = train("buildings", [*small_run, *more, "train.select=last"])
    assert report.steps < 60
    scores = [float(score) for score in _column(report.output, "val_iou")]
    assert scores[-1] <= max(scores[:-1])


def test_a_run_is_never_shortened(small_run: list[str], tmp_path: Path) -> None:
    train("buildings", [*small_run, "train.steps=3"])
    settings = tmp_path / "run" / "config.yaml"
    before = settings.read_bytes()
    with pytest.raises(SpecError, match="has done 3 steps already"):
        train("buildings", [*small_run, "resume=true", "train.steps=2"])
    assert settings.read_bytes() == before
    said: list[str] = []
    report = train(
        "buildings",
        [*small_run, "resume=true", "train.steps=3"],
        report=lambda event: said.append(getattr(event, "message", "")),
    )
    assert report.steps == 3
    assert any("all 3 steps are done" in text for text in said)


def test_a_run_is_lengthened_but_never_overwritten(small_run: list[str], tmp_path: Path) -> None:
    train("buildings", [*small_run, "train.steps=3"])
    with pytest.raises(OutputError, match="another run"):
        train("buildings", small_run)
    report = train("buildings", [*small_run, "resume=true", "train.select=last"])
    assert report.steps == 6
    assert len(_losses(tmp_path / "run")) == 2


def test_only_the_same_network_goes_on(small_run: list[str], tmp_path: Path) -> None:
    train("buildings", [*small_run, "train.steps=3"])
    other = [*small_run, "resume=true", "model.arguments.decoder_channels=[8,8,8]"]
    with pytest.raises(ModelError, match="another network"):
        train("buildings", other)
    with pytest.raises(SpecError, match=r"loss\.bce was 1\.0, now 0\.0") as caught:
        train("buildings", [*small_run, "resume=true", "loss=focal"])
    assert f"name=ANOTHER init={tmp_path / 'run'}/model" in str(caught.value)
    last = tmp_path / "run" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"last\.ckpt cannot be read"):
        train("buildings", [*small_run, "resume=true"])


def test_a_run_goes_on_with_the_settings_that_it_was_begun_with(
    small_run: list[str], tmp_path: Path
) -> None:
    first = train("buildings", [*small_run, "train.steps=3", "model.credits=[somebody]"])
    fine = [*small_run, f"init={first.model}", "train.steps=3", "loss=focal", "name=fine"]
    fine[fine.index(f"output={tmp_path / 'run'}")] = f"output={tmp_path / 'fine'}"
    train("buildings", fine)
    begun = (tmp_path / "fine" / "config.yaml").read_text()
    card = find_model(str(tmp_path / "fine")).card
    # Neither init, nor loss, nor data are said again.
    again = [f"output={tmp_path / 'fine'}", "resume=true", "train.steps=6", "train.select=last"]
    assert train("buildings", again).steps == 6
    ended = (tmp_path / "fine" / "config.yaml").read_text()
    changed = set(ended.splitlines()) ^ set(begun.splitlines())
    assert {line.split(":")[0].strip() for line in changed} == {"steps", "resume", "select"}
    longer = find_model(str(tmp_path / "fine")).card
    assert (longer.name, longer.credits, longer.training_data) == (
        card.name, ("somebody",), card.training_data,
    )  # fmt: skip


def _of_any_network(overrides: list[str]) -> list[str]:
    return [text for text in overrides if "model.arguments" not in text]


def test_what_would_make_another_run_of_it_is_refused(
    small_run: list[str], chip_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(chip_folder, other)
    (other / "val.txt").write_text((other / "train.txt").read_text())
    begun = [*_of_any_network(small_run), "loss=focal"]
    folder = _begun("buildings", begun)
    before = (folder / "config.yaml").read_bytes()
    for said, told in (
        ("loss=bce_dice", "loss.bce was 0.0, now 1.0"),
        ("init=buildings", "init was None, now buildings"),
        (f"data.root={other}", "data.root was"),
    ):
        with pytest.raises(SpecError, match="begun with other settings") as caught:
            train("buildings", [*begun, "resume=true", said])
        assert told in str(caught.value)
        assert "name=ANOTHER" not in str(caught.value)  # there is no model yet
    with pytest.raises(SpecError, match="is a run of buildings, not of landuse"):
        train("landuse", [f"output={folder}", "resume=true"])
    assert (folder / "config.yaml").read_bytes() == before


def _begun(task: str, overrides: list[str]) -> Path:
    """The folder of a run that was begun with these, before its first step."""
    config = compose(task, overrides)
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.structured(config), folder / "config.yaml")
    (folder / "last.ckpt").touch()  # not looked into
    return folder


def _again(task: str, folder: Path, *said: str) -> Any:
    overrides = [f"output={folder}", "resume=true", *said]
    return resumed(compose(task, overrides), task, overrides)


def test_what_is_said_anew_counts_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    where = f"output={tmp_path / 'run'}"
    groups = ["loss=focal", "model=linknet", "logger=wandb", "train=finetune", "transforms=none"]
    folder = _begun("buildings", [*groups, where, "model.credits=[somebody]", "train.epochs=2"])
    same = _again("buildings", folder)
    assert (same.loss.focal, same.model.architecture) == (1.0, "Linknet")
    assert (same.logger.name, same.model.credits) == ("wandb", ["somebody"])
    # Groups whose options are the task's own, and a section, count as values do.
    assert _again("buildings", folder, "logger=csv").logger.name == "csv"
    assert _again("buildings", folder, "train=buildings").train.steps != same.train.steps
    longer = _again("buildings", folder, "train.steps=9000", "data.root=/moved/elsewhere")
    assert (longer.train.steps, longer.train.epochs) == (9000, None)
    assert longer.data.root == "/moved/elsewhere"
    assert _again("buildings", folder, "train.optimizer={lr:0.0007}").train.optimizer.lr == 7e-4


def test_what_a_run_was_begun_without_stays_off(tmp_path: Path) -> None:
    """By a version that did not have the setting; a group may set it now."""
    folder = _begun("buildings", [f"output={tmp_path / 'run'}", "init=buildings"])
    settings = OmegaConf.load(folder / "config.yaml")
    assert settings.train.pop("norm_eval")
    OmegaConf.save(settings, folder / "config.yaml")
    assert not _again("buildings", folder, "init=buildings").train.norm_eval
    assert _again("buildings", folder, "init=buildings", "train.norm_eval=true").train.norm_eval


def test_a_section_that_was_none_stays_none(tmp_path: Path) -> None:
    folder = _begun(
        "landuse", [f"output={tmp_path / 'run'}", "model.stretch=null", "train.lr=0.01"]
    )
    assert _again("landuse", folder).model.stretch is None
    assert _again("landuse", folder).train.lr == 0.01
    assert _again("landuse", folder, "train.optimizer.lr=0.001").train.lr is None


def test_the_same_command_goes_on_from_weights_of_another_network(tmp_path: Path) -> None:
    """What the card of the weights has put into the configuration is not held against it."""
    command = ["model=linknet", "init=x", f"output={tmp_path / 'run'}"]
    folder = _begun("buildings", command)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("arguments:", "arguments:\n    more: 1", 1))
    assert _again("buildings", folder, *command[:2]).init == "x"


@pytest.mark.parametrize("text", ["", "- a", "train: 3", "steps", "train:\n  steps: many"])
def test_settings_that_cannot_be_read_are_told(tmp_path: Path, text: str) -> None:
    folder = _begun("buildings", [f"output={tmp_path / 'run'}"])
    (folder / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml cannot be read"):
        _again("buildings", folder, "loss=focal")


@pytest.mark.parametrize("said", ["model=linknet", "model.encoder=resnet18"])
def test_weights_to_begin_from_and_another_network_are_too_much(
    small_run: list[str], said: str
) -> None:
    with pytest.raises(SpecError, match="brings its own network"):
        train("buildings", [*_of_any_network(small_run), "init=buildings", said])


def test_masks_of_other_values_are_not_taken_for_background(
    small_run: list[str], chip_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(chip_folder, data)
    assert not (data / "dataset.json").exists()
    for path in (data / "masks").iterdir():
        cv2.imwrite(str(path), np.uint8(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0))
    run = [*small_run, f"data.root={data}", "train.steps=3"]
    with pytest.raises(SpecError, match="holds 1, expected 0 and 255") as caught:
        train("buildings", run)
    assert "data.object_value says which value is the class" in str(caught.value)
    with pytest.raises(SpecError, match="holds 1"):  # no chip is bad for it
        train("buildings", [*run, "data.skip_bad=true"])
    assert train("buildings", [*run, "data.object_value=1"]).steps == 3


def test_a_chip_in_two_lists_is_told(
    small_run: list[str], chip_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(chip_folder, data)
    first = (data / "train.txt").read_text().split()[0]
    with (data / "val.txt").open("a") as file:
        file.write(f"{first}\n")
    said: list[str] = []
    train(
        "buildings",
        [*small_run, f"data.root={data}", "train.steps=3"],
        report=lambda event: said.append(getattr(event, "message", "")),
    )
    assert any(f"lists {first!r} in train and in val" in text for text in said)


def test_missing_data_says_where_it_looked(small_run: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train("buildings", [*small_run, f"data.root={tmp_path / 'nowhere'}"])
    assert "nowhere" in str(caught.value)
    assert "data.root" in str(caught.value)
    with pytest.raises(InputError, match="nothing to resume"):
        train("buildings", [*small_run, "resume=true"])


def test_a_bad_chip_of_the_test_split_is_told_before_training(
    small_run: list[str], chip_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(chip_folder, data)
    (data / "test.txt").write_text("absent\n")
    with pytest.raises(InputError, match="no image 'absent'"):
        train("buildings", [*small_run, f"data.root={data}"])
    assert not (tmp_path / "run").exists()


def test_fine_tuning_keeps_what_the_weights_were_made_with(
    small_run: list[str], tmp_path: Path
) -> None:
    first = train("buildings", [*small_run, "train.steps=3", "model.mean=[0.4,0.5,0.6]"])
    said: list[str] = []
    second = train(
        "buildings",
        [*small_run, f"init={first.model}", "train.steps=3", f"output={tmp_path / 'fine'}"],
        report=lambda event: said.append(getattr(event, "message", "")),
    )
    # What it begins with is scored on the same chips, so that one sees what it brings.
    (before,) = (text for text in said if text.startswith("before the first step"))
    assert float(before.split()[-1]) == pytest.approx(first.val_iou, abs=2e-3)
    assert _column(tmp_path / "fine", "step") == ["3.0"]
    card = find_model(str(second.model)).card
    assert card.name == "fine"
    assert card.mean == (0.4, 0.5, 0.6)
    assert card.arguments["encoder_depth"] == 3
    assert card.stride_of_network == 8


@pytest.mark.parametrize("keeps", [True, False])
def test_statistics_of_the_weights_to_begin_from_are_kept_where_asked(
    small_run: list[str], tmp_path: Path, keeps: bool
) -> None:
    first = train("buildings", small_run)
    second = train(
        "buildings",
        [*small_run, f"init={first.model}", f"output={tmp_path / 'fine'}",
         f"train.norm_eval={keeps}".lower(), "train.ema_decay=0", "train.select=last"],
    )  # fmt: skip
    before, after = (load_network(find_model(str(run.model))) for run in (first, second))
    learned = after.state_dict()
    for name, tensor in before.state_dict().items():
        if name.startswith("decoder.") and tensor.is_floating_point():
            kept = keeps and "running_" in name
            assert torch.equal(tensor, learned[name]) == kept, name


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("train.steps=0", SpecError),
        ("train.norm_eval=true", SpecError),
        ("train=finetune", SpecError),
        ("name=../elsewhere", SpecError),
        ("train.batch=0", SpecError),
        ("train.optimizer.name=lion", SpecError),
        ("train.scheduler.name=steps", SpecError),
        ("train.accelerator=abacus", SpecError),
        ("train.accelerator=mps", DeviceError),
        ("train.select=worst", SpecError),
        ("loss.bce=-1", SpecError),
        ("logger.name=paper", SpecError),
        ("data.root=nowhere", InputError),
        ("train.crop_px=50", SpecError),
        ("train.precision=double", SpecError),
        ("transforms.scale=[1.0]", SpecError),
        ("model.threshold=1", ModelError),
        ("model.mean=[0.5]", ModelError),
        ("model.name=My Model", ModelError),
        ("model.colour=red", ModelError),
    ],
)
def test_what_would_fail_after_hours_is_refused_at_once(
    small_run: list[str], tmp_path: Path, override: str, error: type[GeotilerError]
) -> None:
    with pytest.raises(error):
        train("buildings", [*small_run, override])
    assert not (tmp_path / "run").exists()

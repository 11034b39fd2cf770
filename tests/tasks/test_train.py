"""`geotiler train` from chips to a model folder that segments."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from geotiler.errors import GeotilerError, InputError, ModelError, OutputError, SpecError
from geotiler.models.registry import find_model
from geotiler.specs import RenderSpec, SegmentSpec
from geotiler.tasks.render import render
from geotiler.tasks.segment import segment
from geotiler.tasks.train import train
from geotiler.training.segmentation import Segmentation


def _losses(folder: Path) -> list[str]:
    with (folder / "curve.csv").open(newline="") as file:
        return [row["train_loss"] for row in csv.DictReader(file)]


def test_a_run_leaves_a_model_that_segments(small_run: list[str], tmp_path: Path) -> None:
    report = train("buildings", [*small_run, "train.steps=3"])
    assert report.steps == 3
    assert find_model(str(report.model)).card.metrics[0].name == "IoU"
    scene = tmp_path / "scene.tif"
    render(RenderSpec(output=scene, height=128, width=128))
    done = segment(
        SegmentSpec(scene=str(scene), output=tmp_path / "mask.tif", model=str(report.model))
    )
    assert sum(done.class_px.values()) == 128 * 128


def test_training_learns(small_run: list[str]) -> None:
    """On the chips it is trained on, the validation IoU rises well above all-background."""
    more = ["train.steps=40", "train.steps_per_epoch=20", "train.lr=5e-3", "train.ema_decay=0.9"]
    report = train("buildings", [*small_run, *more, "train.decay_steps=20"])
    assert report.val_iou > 0.25


def test_one_seed_gives_one_loss_and_another_another(small_run: list[str], tmp_path: Path) -> None:
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train("buildings", [*small_run, f"output={tmp_path / name}", f"train.seed={seed}"])
        losses.append(_losses(tmp_path / name))
    assert losses[0] == losses[1] != losses[2]


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


def test_a_run_is_lengthened_but_never_overwritten(small_run: list[str], tmp_path: Path) -> None:
    train("buildings", [*small_run, "train.steps=3"])
    with pytest.raises(OutputError, match="another run"):
        train("buildings", small_run)
    report = train("buildings", [*small_run, "resume=true", "train.select=last"])
    assert report.steps == 6
    assert len(_losses(tmp_path / "run")) == 2


def test_missing_data_says_where_it_looked(small_run: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train("buildings", [*small_run, f"data.root={tmp_path / 'nowhere'}"])
    assert "nowhere" in str(caught.value)
    assert "data.root" in str(caught.value)
    with pytest.raises(InputError, match="nothing to resume"):
        train("buildings", [*small_run, "resume=true"])


def test_fine_tuning_keeps_what_the_weights_were_made_with(
    small_run: list[str], tmp_path: Path
) -> None:
    first = train("buildings", [*small_run, "train.steps=3", "model.mean=[0.4,0.5,0.6]"])
    second = train(
        "buildings",
        [*small_run, f"init={first.model}", "train.steps=3", f"output={tmp_path / 'fine'}"],
    )
    card = find_model(str(second.model)).card
    assert card.mean == (0.4, 0.5, 0.6)
    assert card.arguments["encoder_depth"] == 3


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("train.steps=2", SpecError),  # less than an epoch: nothing would be scored
        ("train.batch=0", SpecError),
        ("train.crop_px=50", SpecError),
        ("train.precision=double", SpecError),
        ("augment.scale=[1.0]", SpecError),
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

"""What one trains on one's own: a new place, several classes, another architecture."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from geotiler.core.metrics import ConfusionMatrix
from geotiler.core.synthetic import SyntheticScene
from geotiler.models.registry import find_model
from geotiler.specs import SegmentSpec, Window
from geotiler.tasks.segment import segment
from geotiler.tasks.train import train

GSD_M = 0.5


def _elsewhere(image: np.ndarray) -> np.ndarray:
    """Another look: a dim sensor with its bands the other way round, over pale ground."""
    return np.ascontiguousarray(250 - image[..., ::-1] // 2)


def _write(folder: Path, chips: list[tuple[str, np.ndarray, np.ndarray]], splits: dict) -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for name, image, mask in chips:
        cv2.imwrite(str(folder / "images" / f"{name}.png"), image[..., ::-1])
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
    for split, names in splits.items():
        (folder / f"{split}.txt").write_text("\n".join(names) + "\n")
    return folder


def _classes(mask: Path) -> np.ndarray:
    with rasterio.open(mask) as file:
        found: np.ndarray = file.read(1)
    return found


def _iou(scene: Path, truth: np.ndarray, model: str, mask: Path) -> float:
    segment(SegmentSpec(scene=str(scene), output=mask, model=model, gsd_m=(GSD_M, GSD_M)))
    counts = ConfusionMatrix()
    counts.add(truth, _classes(mask))
    return counts.score(1).iou or 0.0


@pytest.mark.slow
def test_twenty_chips_of_a_new_place_improve_the_score_on_others_of_it(tmp_path: Path) -> None:
    """A rendered town in another look: its west in chips, its east to be scored."""
    side, rows, cols = 160, 5, 6
    image, footprints, _ = SyntheticScene(
        seed=31, height=rows * side, width=cols * side, gsd_m=GSD_M
    ).render(Window(row=0, col=0, height=rows * side, width=cols * side))
    place, truth = _elsewhere(image.transpose(1, 2, 0)), footprints.astype(np.uint8)
    west = 4 * side
    chips = [
        (f"c{row}_{col}", place[row : row + side, col : col + side],
         255 * truth[row : row + side, col : col + side])
        for row in range(0, rows * side, side) for col in range(0, west, side)
    ]  # fmt: skip
    names = [name for name, *_ in chips]
    assert len(names) == 20
    val = names[6::9]
    train_names = [name for name in names if name not in val]
    root = _write(tmp_path / "chips", chips, {"train": train_names, "val": val})
    scene, east = tmp_path / "east.png", truth[:, west:]
    cv2.imwrite(str(scene), place[:, west:, ::-1])
    before = _iou(scene, east, "buildings", tmp_path / "before.png")
    report = train(
        "buildings",
        [
            "init=buildings", "train=finetune", "data=chips", f"data.root={root}",
            f"data.gsd_m={GSD_M}", "train.steps=60", "train.steps_per_epoch=60", "train.batch=4",
            "train.crop_px=128", "train.optimizer.lr=1.5e-3", "train.scheduler.warmup_steps=5",
            "train.scheduler.decay_steps=30", "train.ema_decay=0.9", "train.workers=0",
            f"output={tmp_path / 'fine'}",
        ],
    )  # fmt: skip
    after = _iou(scene, east, str(report.model), tmp_path / "after.png")
    assert after > before + 0.1


def test_several_classes_become_a_softmax_model(small_run: list[str], tmp_path: Path) -> None:
    """Red and blue squares with the mask values 2 and 7, told apart by a small network."""
    random = np.random.default_rng(1)
    chips = []
    for number in range(8):
        image = random.integers(90, 130, (96, 96, 3)).astype(np.uint8)
        mask = np.zeros((96, 96), np.uint8)
        for value, colour in ((2, (230, 40, 40)), (7, (40, 40, 230))):
            for _ in range(3):
                row, col = random.integers(0, 70, 2)
                image[row : row + 24, col : col + 24] = colour
                mask[row : row + 24, col : col + 24] = value
        mask[:4] = 255
        chips.append((f"c{number}", image, mask))
    names = [name for name, *_ in chips]
    root = _write(tmp_path / "two", chips, {"train": names[:6], "val": names[6:]})
    facts = {
        "images": {"dtype": "uint8"}, "masks": {"ignore": 255}, "scenes": [], "gsd_m": GSD_M,
        "classes": {"0": "0", "2": "barn", "7": "pool"},
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(facts))
    more = ["train.steps=60", "train.steps_per_epoch=60", "train.optimizer.lr=1e-2"]
    more += ["train.ema_decay=0.9", "transforms=none", f"data.root={root}"]
    report = train("buildings", [*small_run, *more])
    card = find_model(str(report.model)).card
    assert card.activation == "softmax"
    assert [(info.id, info.name) for info in card.classes] == [
        (0, "background"), (1, "barn"), (2, "pool"),
    ]  # fmt: skip
    assert {metric.name for metric in card.metrics} >= {"IoU", "IoU of barn", "IoU of pool"}
    assert report.val_iou > 0.5
    mask = tmp_path / "mask.png"
    scene = str(root / "images" / "c7.png")
    segment(SegmentSpec(scene=scene, output=mask, model=str(report.model), gsd_m=(0.5, 0.5)))
    found, truth = _classes(mask), chips[7][2]
    for value, index in ((2, 1), (7, 2)):
        assert (found[truth == value] == index).mean() > 0.6

    # A model of one class starts one of several, all but its head, and the other way round.
    fine = [*small_run, "data.object_value=7", f"data.root={root}", "train.steps=3"]
    one = train("buildings", [*fine, f"init={report.model}", f"output={tmp_path / 'one'}"])
    assert find_model(str(one.model)).card.activation == "sigmoid"


LOSSES = {
    "unet": "bce_dice", "linknet": "focal", "unetplusplus": "lovasz", "fpn": "tversky",
    "deeplabv3plus": "bce_dice", "segformer": "focal",
}  # fmt: skip
"""Model → a loss, so that each of either is met."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_every_model_of_the_groups_trains_and_is_written(
    name: str, small_run: list[str], tmp_path: Path
) -> None:
    kept = [word for word in small_run if not word.removeprefix("+").startswith("model.")]
    more = ["train.steps=2", "train.steps_per_epoch=2", f"model={name}", f"loss={LOSSES[name]}"]
    report = train("buildings", [*kept, *more])
    assert find_model(str(report.model)).card.architecture.lower() == name

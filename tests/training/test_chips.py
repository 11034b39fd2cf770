"""Reading chips."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from geotiler.errors import InputError
from geotiler.progress import Event, Notice
from geotiler.specs import MASK_NODATA
from geotiler.training.chips import UNLABELLED, load_split, open_folder, read_chip
from geotiler.training.compose import compose
from geotiler.training.config import DataConfig
from geotiler.training.data import _sample


def _folder(root: Path, image: np.ndarray, mask: np.ndarray) -> DataConfig:
    for name in ("images", "masks"):
        (root / name).mkdir()
    cv2.imwrite(str(root / "images" / "a.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(root / "masks" / "a.png"), mask)
    (root / "train.txt").write_text("a\n")
    return DataConfig(root=str(root), gsd_m=0.3, object_value=255, ignore_value=100)


def test_values_become_class_ids(tmp_path: Path) -> None:
    image = np.full((40, 40, 3), (200, 90, 30), np.uint8)
    image[:, :15] = 0  # a black band at the border
    image[30:34, 30:34] = 0  # a black roof
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 20:30] = 255
    mask[30:34, 30:34] = 255
    mask[0:5, 30:40] = 100
    config = _folder(tmp_path, image, mask)
    chip = read_chip(open_folder(config), "a", config)
    assert tuple(chip.image[20, 30]) == (200, 90, 30)  # RGB, not BGR
    assert (chip.labels[10:20, 20:30] == 1).all()
    assert (chip.labels[30:34, 30:34] == 1).all()
    assert (chip.labels[:, :15] == MASK_NODATA).all()
    assert (chip.labels[0:5, 30:40] == UNLABELLED).all()
    assert (chip.labels[22:28, 22:28] == 0).all()


def test_nodata_enters_as_the_mean_and_unlabelled_pixels_as_they_are() -> None:
    config = compose("buildings", ["data.root=x"])
    image = np.full((4, 4, 3), 200, np.uint8)
    labels = np.array([[0, 1, UNLABELLED, MASK_NODATA]] * 4, np.uint8)
    pixels, target = _sample(image, labels, config)
    expected = (200 / 255 - config.model.mean[0]) / config.model.std[0]
    np.testing.assert_allclose(pixels[:, :, :3], expected, rtol=1e-5)
    assert (pixels[:, :, 3] == 0).all()
    assert target[0].tolist() == [0, 1, MASK_NODATA, MASK_NODATA]


@pytest.mark.parametrize("missing", ["train.txt", "images/a.png", "masks/a.png"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    flat = np.full((8, 8, 3), 90, np.uint8)
    config = _folder(tmp_path, flat, flat[..., 0])
    (tmp_path / missing).unlink()
    with pytest.raises(InputError) as caught:
        load_split(config, "train")
    assert str(tmp_path) in str(caught.value)


def test_sizes_that_differ_are_refused(tmp_path: Path) -> None:
    config = _folder(tmp_path, np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 9), np.uint8))
    with pytest.raises(InputError, match="differ"):
        load_split(config, "train")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("{", "is damaged"),
        ("{}", "is damaged"),
        ('{"images": {"dtype": "uint8"}, "masks": null, "scenes": [], "gsd_m": 1}', "has no masks"),
        (
            '{"images": {"dtype": "uint16"}, "masks": {"ignore": 255}, "scenes": [], "gsd_m": 1}',
            "holds uint16 images",
        ),
        (
            '{"images": {"dtype": "uint8"}, "masks": {"ignore": 255}, "scenes": [], "gsd_m": null}',
            "ground resolution of 'a' .* is not known",
        ),
    ],
)
def test_a_data_set_that_training_cannot_use_is_told(
    tmp_path: Path, facts: str, message: str
) -> None:
    config = _folder(tmp_path, np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 8), np.uint8))
    (tmp_path / "dataset.json").write_text(facts)
    config.gsd_m = None
    with pytest.raises(InputError, match=message):
        load_split(config, "train")


def test_what_is_ignored_is_said_by_the_data_set_or_by_the_run(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4], mask[6:] = 1, 255
    config = _folder(tmp_path, np.full((8, 8, 3), 90, np.uint8), mask)
    facts = {"images": {"dtype": "uint8"}, "masks": {"ignore": 255}, "scenes": [], "gsd_m": 0.3}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    config.object_value, config.ignore_value = 255, None
    (chip,) = load_split(config, "train")
    config.object_value = None
    (chip,) = load_split(config, "train")
    assert (chip.labels[:4] == 1).all()
    assert (chip.labels[6:] == UNLABELLED).all()
    config.ignore_value = 1
    (chip,) = load_split(config, "train")
    assert (chip.labels[:4] == UNLABELLED).all()


def test_chips_without_a_validation_list_say_how_to_make_one(tmp_path: Path) -> None:
    flat = np.full((8, 8, 3), 90, np.uint8)
    config = _folder(tmp_path, flat, flat[..., 0])
    with pytest.raises(InputError, match=r"has chips but no val\.txt") as caught:
        load_split(config, "val")
    assert "--split" in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_a_cut_off_chip_is_told_by_name(tmp_path: Path, suffix: str, share: float) -> None:
    random = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    config = _folder(tmp_path, random, random[..., 0])
    (tmp_path / "images" / "a.png").unlink()
    data = cv2.imencode(suffix, random)[1].tobytes()
    (tmp_path / "images" / f"a{suffix}").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=rf"a\{suffix} cannot be read"):
        load_split(config, "train")


def test_bad_chips_are_counted_and_left_out_where_that_was_asked_for(tmp_path: Path) -> None:
    config = _folder(tmp_path, np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 8), np.uint8))
    for name, content, side in (("broken", b"junk", 8), ("other", None, 9)):
        image = (tmp_path / "images" / "a.png").read_bytes() if content is None else content
        (tmp_path / "images" / f"{name}.png").write_bytes(image)
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), np.zeros((side, side), np.uint8))
    (tmp_path / "train.txt").write_text("broken\na\nother\n")
    with pytest.raises(InputError, match=r"broken\.png .*data\.skip_bad=true"):
        load_split(config, "train")
    config.skip_bad = True
    events: list[Event] = []
    (chip,) = load_split(config, "train", events.append)
    assert chip.name == "a"
    (told,) = [event for event in events if isinstance(event, Notice)]
    assert told.warning
    assert "2 of 3 train chips are left out" in told.message
    assert "broken.png" in told.message
    (tmp_path / "train.txt").write_text("broken\nother\n")
    with pytest.raises(InputError, match=r"broken\.png cannot be read"):
        load_split(config, "train")

"""Augmentation keeps image and labels together and never invents pixels."""

from __future__ import annotations

import numpy as np
import pytest

from geotiler.specs import MASK_NODATA
from geotiler.training.augment import Colour, crop_transform, warped_crop
from geotiler.training.chips import Chip
from geotiler.training.config import AugmentConfig

SIDE = 200


def _chip(gsd_m: float = 0.5) -> Chip:
    """Labels that can be read off the image: class 1 exactly where red is bright."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    labels = (((rows // 40) + (cols // 40)) % 2).astype(np.uint8)
    image = np.stack([labels * 200 + 20, rows, cols], axis=2).astype(np.uint8)
    return Chip(name="board", image=image, labels=labels, gsd_m=gsd_m)


@pytest.mark.parametrize("seed", range(8))
def test_labels_follow_the_image(seed: int) -> None:
    chip = _chip()
    random = np.random.default_rng(seed)
    transform = crop_transform(chip, 96, 0.5, AugmentConfig(), random)
    image, labels = warped_crop(chip, 96, transform)
    known = labels != MASK_NODATA
    red = image[..., 0].astype(int)
    # Interpolation blurs the image across class borders, so only clear pixels can be told.
    clear = known & ((red > 200) | (red < 40))
    assert clear.mean() > 0.3
    assert ((red > 120) == (labels == 1))[clear].mean() > 0.98


@pytest.mark.parametrize("seed", range(8))
def test_zoom_stays_in_its_range_and_angles_are_right(seed: int) -> None:
    config = AugmentConfig(scale=[0.8, 1.25], rotate=0.0)
    transform = crop_transform(_chip(), 64, 0.5, config, np.random.default_rng(seed))
    linear = transform[:, :2]
    step = np.sqrt(abs(np.linalg.det(linear)))
    assert 1 / 1.25 - 1e-9 <= step <= 1 / 0.8 + 1e-9
    np.testing.assert_allclose(linear @ linear.T, step**2 * np.eye(2), atol=1e-9)
    assert np.sum(np.abs(linear) > 1e-9) == 2  # multiples of 90 degrees


def test_ground_sample_distances_set_the_step() -> None:
    config = AugmentConfig(scale=[1.0, 1.0])
    transform = crop_transform(_chip(0.25), 64, 0.5, config, np.random.default_rng(0))
    assert np.sqrt(abs(np.linalg.det(transform[:, :2]))) == pytest.approx(2.0)


def test_what_the_chip_does_not_have_is_unknown() -> None:
    chip = _chip()
    away = np.array([[1.0, 0.0, SIDE - 32.0], [0.0, 1.0, 0.0]])
    _, labels = warped_crop(chip, 64, away)
    assert (labels[:, 33:] == MASK_NODATA).all()
    np.testing.assert_array_equal(labels[:, :32], chip.labels[:64, SIDE - 32 :])


def test_colour_changes_values_but_no_place() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[20:40, 20:40] = (180, 120, 60)
    colour = Colour(AugmentConfig(noise=0, blur=0))
    changed = colour(image, np.random.default_rng(0))
    assert changed.shape == image.shape
    inside = changed[20:40, 20:40].reshape(-1, 3)
    assert np.ptp(inside.astype(int), axis=0).max() == 0  # a flat patch stays flat

"""Augmentation keeps image and labels together and never invents pixels."""

from __future__ import annotations

import numpy as np
import pytest

from geotiler.specs import MASK_NODATA
from geotiler.training.augment import (
    Colour,
    coarsened,
    compressed,
    crop_transform,
    hazy,
    random_gsd_m,
    toned,
    warped_crop,
)
from geotiler.training.chips import Chip
from geotiler.training.config import TransformsConfig

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
    transform = crop_transform(chip, 96, 0.5, TransformsConfig(turns=True, rotate=0.5), random)
    image, labels = warped_crop(chip, 96, transform)
    known = labels != MASK_NODATA
    red = image[..., 0].astype(int)
    # Interpolation blurs the image across class borders, so only clear pixels can be told.
    clear = known & ((red > 200) | (red < 40))
    assert clear.mean() > 0.3
    assert ((red > 120) == (labels == 1))[clear].mean() > 0.98


def test_zoom_fills_its_range() -> None:
    config = TransformsConfig(scale=[0.5, 1.25])
    random = np.random.default_rng(0)
    drawn = [random_gsd_m(0.5, config, random) for _ in range(400)]
    assert 0.4 - 1e-9 <= min(drawn) < 0.42
    assert 0.95 < max(drawn) <= 1.0 + 1e-9
    assert np.median(np.log(drawn)) == pytest.approx(np.log(0.5 / np.sqrt(0.5 * 1.25)), abs=0.1)


@pytest.mark.parametrize("seed", range(8))
def test_angles_are_right(seed: int) -> None:
    config = TransformsConfig(turns=True)
    transform = crop_transform(_chip(), 64, 0.5, config, np.random.default_rng(seed))
    linear = transform[:, :2]
    step = np.sqrt(abs(np.linalg.det(linear)))
    assert step == pytest.approx(1.0)
    np.testing.assert_allclose(linear @ linear.T, step**2 * np.eye(2), atol=1e-9)
    assert np.sum(np.abs(linear) > 1e-9) == 2  # multiples of 90 degrees


def test_ground_sample_distances_set_the_step() -> None:
    config = TransformsConfig(scale=[1.0, 1.0])
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
    colour = Colour(TransformsConfig(brightness=0.25, contrast=0.25, saturation=0.3, hue=0.03))
    changed = colour(image, np.random.default_rng(0))
    assert changed.shape == image.shape
    inside = changed[20:40, 20:40].reshape(-1, 3)
    assert np.ptp(inside.astype(int), axis=0).max() == 0  # a flat patch stays flat


def _photograph() -> np.ndarray:
    """A smooth picture with full contrast in every band."""
    rows, cols = np.mgrid[:96, :96] / 95.0
    bands = [rows, cols, (rows + cols) / 2]
    return (np.stack(bands, axis=2) * 255).astype(np.uint8)


def test_haze_takes_its_share_of_the_contrast() -> None:
    image = _photograph()
    veiled = hazy(image, 0.4, np.random.default_rng(1)).astype(float)
    np.testing.assert_allclose(
        np.ptp(veiled, axis=(0, 1)), 0.6 * np.ptp(image, axis=(0, 1)), atol=1
    )
    assert veiled.min() >= 0.4 * 145  # nothing stays black behind a veil


def test_toning_keeps_the_order_of_brightness() -> None:
    image = _photograph()
    toned_image = toned(image, np.random.default_rng(2))
    for band in range(3):
        order = np.argsort(image[..., band], axis=None, kind="stable")
        assert (np.diff(toned_image[..., band].ravel()[order].astype(int)) >= 0).all()


def test_a_coarser_sensor_sees_no_fine_pattern_but_the_same_mean() -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    image[::2] = 200
    coarse = coarsened(image, 2.0)
    assert np.ptp(coarse[4:-4].astype(int)) == 0
    assert coarse.mean() == pytest.approx(image.mean(), abs=1)


def test_compression_keeps_bands_in_order() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200
    assert np.abs(compressed(image, 80).astype(int) - image).max() < 12


def test_every_fault_at_once_is_still_an_image() -> None:
    config = TransformsConfig(haze=1, gamma=1, coarse=1, jpeg=1, noise=8)
    image = _photograph()
    changed = Colour(config)(image, np.random.default_rng(3))
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert changed.flags.c_contiguous
    assert (changed != image).mean() > 0.5

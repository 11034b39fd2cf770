"""Pasted buildings: what they take along, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from geotiler.specs import MASK_NODATA
from geotiler.training.chips import UNLABELLED, Chip
from geotiler.training.config import ObjectsConfig
from geotiler.training.objects import ObjectBank, add_objects

GRASS, ROOF, SHADOW = (110, 140, 90), (200, 60, 50), (44, 56, 36)


def _chip(side: int = 120) -> Chip:
    """A red house of 20 × 30 px on grass, its shadow on the right, and one at the edge."""
    image = np.full((side, side, 3), GRASS, np.uint8)
    labels = np.zeros((side, side), np.uint8)
    image[40:60, 70:78] = SHADOW
    for rows, cols in ((slice(40, 60), slice(40, 70)), (slice(90, 120), slice(90, 120))):
        image[rows, cols], labels[rows, cols] = ROOF, 1
    return Chip(name="farm", image=image, labels=labels, gsd_m=0.5)


def _crop(side: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Flat ground with a house, an unlabelled corner and nodata."""
    image = np.full((side, side, 3), 150, np.uint8)
    labels = np.zeros((side, side), np.uint8)
    image[10:30, 10:30], labels[10:30, 10:30] = (30, 30, 200), 1
    labels[:, -20:] = UNLABELLED
    labels[-20:] = MASK_NODATA
    return image, labels


def _always(**more: object) -> ObjectsConfig:
    return ObjectsConfig(share=1.0, **more)  # type: ignore[arg-type]


def test_only_whole_objects_are_found_and_cut_out_with_their_shadow() -> None:
    bank = ObjectBank([_chip()], shadow_m=6.0)
    assert len(bank) == 1
    cut = bank[0]
    assert cut.shape.sum() == 20 * 30
    assert (cut.image[cut.shape] == ROOF).all()
    shaded = cut.shade < 0.9
    assert shaded.sum() == pytest.approx(20 * 8, abs=40)  # its edge is soft
    assert cut.shade[shaded].min() == pytest.approx(56 / 140, abs=0.05)
    assert not (shaded & cut.shape).any()


@pytest.mark.parametrize("seed", range(12))
def test_what_has_a_label_keeps_it_and_its_colour(seed: int) -> None:
    bank = ObjectBank([_chip()], shadow_m=6.0)
    image, labels = _crop()
    before, labels_before = image.copy(), labels.copy()
    count = add_objects(image, labels, bank, 0.5, _always(), np.random.default_rng(seed))
    kept = labels_before != 0
    assert count > 0
    np.testing.assert_array_equal(labels[kept], labels_before[kept])
    np.testing.assert_array_equal(image[kept], before[kept])
    new = (labels == 1) & ~kept
    assert new.any()
    # New labels lie on roofs: red, wherever the soft edge leaves the colour alone.
    red = image[..., 0].astype(int) - image[..., 1]
    assert (red[new] > 70).mean() > 0.85
    ground = (labels == 0) & (labels_before == 0)
    assert (red[ground] > 70).mean() < 0.02


def test_size_follows_resolution_and_scale() -> None:
    bank = ObjectBank([_chip()], shadow_m=6.0)
    areas = []
    for gsd_m, scale in ((0.5, 1.0), (1.0, 1.0), (1.0, 2.0)):
        image, labels = np.full((200, 200, 3), 150, np.uint8), np.zeros((200, 200), np.uint8)
        found = []
        for seed in range(12):
            crop = labels.copy()
            config = _always(most=1, scale=[scale, scale])
            add_objects(image.copy(), crop, bank, gsd_m, config, np.random.default_rng(seed))
            found.append(int(crop.sum()))
        areas.append(max(found))  # the largest one is not cut off at the crop's edge
    assert areas[0] == pytest.approx(600, rel=0.06)
    assert areas[1] == pytest.approx(150, rel=0.12)
    assert areas[2] == pytest.approx(600, rel=0.06)


def test_a_shadow_darkens_the_ground_it_falls_on() -> None:
    bank = ObjectBank([_chip()], shadow_m=6.0)
    image, labels = np.full((200, 200, 3), 240, np.uint8), np.zeros((200, 200), np.uint8)
    add_objects(image, labels, bank, 0.5, _always(most=1, scale=[1.0, 1.0]),
                np.random.default_rng(1))  # fmt: skip
    ground = image[labels == 0]
    # Grey stays grey, at the shadow's share of its brightness.
    dark = ground[ground.max(axis=1) < 0.5 * 240]
    assert len(dark) > 60
    assert (np.ptp(dark.astype(int), axis=1) <= 12).mean() > 0.9  # all but the roof's soft edge
    assert np.median(dark) == pytest.approx(240 * 56 / 140, rel=0.1)


def test_the_share_is_kept() -> None:
    bank, random = ObjectBank([_chip()], shadow_m=6.0), np.random.default_rng(0)
    config = ObjectsConfig(share=0.3)
    counts = [add_objects(*_crop(), bank, 0.5, config, random) for _ in range(200)]
    assert 0.2 < np.mean([count > 0 for count in counts]) < 0.4
    assert max(counts) > 1


def test_without_objects_nothing_happens() -> None:
    empty = ObjectBank([], shadow_m=6.0)
    image, labels = _crop()
    assert add_objects(image, labels, empty, 0.5, _always(), np.random.default_rng(0)) == 0

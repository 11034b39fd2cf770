"""Looks at whole tiles: geometry that loses nothing, colour that moves nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geotiler.training.classification_config import LookConfig
from geotiler.training.looks import Looks, warped

STILL = {
    "crop": 0.0, "brightness": 0.0, "gain": 0.0, "contrast": 0.0, "gamma": 0.0, "saturation": 0.0,
    "veil": 0.0, "haze": 0.0, "blur": 0.0, "noise": 0.0, "jpeg": 0.0, "plain": 0.0,
}  # fmt: skip


def _tiles(count: int = 16) -> torch.Tensor:
    random = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, 3, 12, 12), dtype=torch.uint8, generator=random)


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_crops_a_tile_is_turned_or_mirrored_and_nothing_else() -> None:
    tiles = _tiles(64).float()
    turned = warped(tiles, LookConfig(crop=0.0), _random())
    seen = set()
    for before, after in zip(tiles, turned, strict=True):
        found = [
            (quarters, mirrored)
            for quarters in range(4)
            for mirrored in (False, True)
            if torch.allclose(
                torch.rot90(before.flip(2) if mirrored else before, quarters, (1, 2)),
                after,
                atol=1e-2,
            )
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 8  # each of them comes up


def test_crops_show_a_part_of_the_tile() -> None:
    """A ramp stays a ramp, with a slope as small as the crop."""
    ramp = torch.arange(64.0).view(1, 1, 1, 64).expand(200, 3, 64, 64) / 64
    cropped = warped(ramp, LookConfig(crop=1.0, crop_scale=0.5), _random())
    spread = cropped.amax(dim=(1, 2, 3)) - cropped.amin(dim=(1, 2, 3))
    assert 0.45 < float(spread.min()) < 0.6
    assert float(spread.max()) <= 63 / 64 + 1e-3


@pytest.mark.parametrize(
    "changed", ["brightness", "gain", "contrast", "gamma", "saturation", "veil", "haze"]
)
def test_each_change_of_colour_maps_pixels_one_by_one(changed: str) -> None:
    """Equal pixels of a tile stay equal, and something does change."""
    flat = torch.empty(32, 3, 8, 8, dtype=torch.uint8)
    flat[:, :, :, :4] = torch.tensor([60, 90, 120], dtype=torch.uint8).view(1, 3, 1, 1)
    flat[:, :, :, 4:] = torch.tensor([140, 100, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    varied = Looks(LookConfig(**{**STILL, changed: 0.9}))(flat, _random())
    ordered = varied.flatten(2).sort(dim=2).values
    values = (ordered[..., 1:] - ordered[..., :-1] > 0.05).sum(dim=2)
    assert int(values.max()) <= 1  # at most two values in each channel
    assert float((varied.mean(dim=(2, 3)) - flat.float().mean(dim=(2, 3))).abs().max()) > 2


def test_nothing_chosen_changes_nothing_but_the_turn() -> None:
    tiles = _tiles()
    same = Looks(LookConfig(**STILL))(tiles, _random(3))
    turned = warped(tiles.float() / 255, LookConfig(crop=0.0), _random(3)) * 255
    np.testing.assert_allclose(same.numpy(), turned.clamp(0.03, 255).numpy(), atol=0.05)


def test_plain_tiles_keep_their_colours() -> None:
    wild = LookConfig(plain=1.0, crop=0.0, haze=1.0, jpeg=1.0)
    tiles = _tiles()
    varied = Looks(wild)(tiles, _random())
    for before, after in zip(tiles.float(), varied, strict=True):
        torch.testing.assert_close(
            before.flatten(1).sort().values, after.flatten(1).sort().values, atol=0.02, rtol=0
        )


def test_looks_are_in_range_repeatable_and_leave_the_tiles_alone() -> None:
    tiles = _tiles(64)
    kept = tiles.clone()
    wild = LookConfig(plain=0.0, haze=0.5, jpeg=0.5, noise=0.5, blur=0.5, veil=0.5)
    first = Looks(wild)(tiles, _random(1))
    assert torch.equal(first, Looks(wild)(tiles, _random(1)))
    assert not torch.equal(first, Looks(wild)(tiles, _random(2)))
    assert torch.equal(tiles, kept)
    assert 0 <= float(first.min()) <= float(first.max()) <= 255
    assert bool(torch.isfinite(first).all())

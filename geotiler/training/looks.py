"""Random looks at whole tiles, a batch at a time: geometry, then colour.

What users bring differs from the training tiles in atmosphere, stretch and quality, not in what
is on the ground. Every change below stands for one such difference.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from geotiler.training.classification_config import LookConfig

_LUMA = (0.299, 0.587, 0.114)
_VEIL = (0.3, 0.55, 1.0)
"""Light that air adds to red, green and blue, relative to blue: Rayleigh's λ⁻⁴, rounded."""
_VEIL_BLUE = 0.25
"""Of it in blue where the sun stands low, as a part of 8 bits: a reflectance of 0.07 of 0.275."""


class Looks:
    """A function from tiles (N, 3, H, W) in 0..255 to as many varied ones."""

    def __init__(self, config: LookConfig) -> None:
        self._config = config

    def __call__(self, tiles: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        """Varied tiles, float32 in 0..255; the ones given stay as they are."""
        turned = warped(tiles.float() / 255, self._config, random)
        clearer = self._clearer(turned, random)
        changed = self._quality(self._hazy(self._colour(clearer, random), random), random)
        plain = _chosen(len(tiles), self._config.plain, random)
        return torch.where(plain, turned, changed).mul_(255).clamp_(0, 255)

    def _colour(self, tiles: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        config, count = self._config, len(tiles)
        own = torch.randn(count, 3, 1, 1, generator=random) * config.gain
        tiles = tiles * (own + _uniform(count, config.brightness, random)).exp()
        mean = tiles.mean(dim=(1, 2, 3), keepdim=True)
        tiles = mean + (tiles - mean) * _uniform(count, config.contrast, random).exp()
        grey = (tiles * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        tiles = grey + (tiles - grey) * _uniform(count, config.saturation, random).exp()
        return tiles.clamp(1e-4, 1) ** _uniform(count, config.gamma, random).exp()

    def _clearer(self, tiles: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        """Without a part of the air's own light: no more of it than the darkest pixels have."""
        count = len(tiles)
        darkest = tiles.flatten(2).amin(dim=2)[..., None, None]
        veil = torch.minimum(torch.tensor(_VEIL).view(1, 3, 1, 1) * _VEIL_BLUE, darkest)
        part = torch.rand(count, 1, 1, 1, generator=random)
        return tiles - veil * part * _chosen(count, self._config.veil, random)

    def _hazy(self, tiles: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        config, count = self._config, len(tiles)
        colour = torch.tensor(_VEIL).view(1, 3, 1, 1)
        white = 0.7 + 0.3 * torch.rand(count, 1, 1, 1, generator=random)
        tint = 1 - 0.25 * (1 - colour) * torch.rand(count, 1, 1, 1, generator=random)
        share = torch.rand(count, 1, 1, 1, generator=random) * config.haze_strength
        share = share * _chosen(count, config.haze, random)
        return tiles * (1 - share) + white * tint * share

    def _quality(self, tiles: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        config, count = self._config, len(tiles)
        side = torch.rand(count, 1, 1, 1, generator=random) * 0.25  # of the kernel 1 : 1-2s : 1
        side = side * _chosen(count, config.blur, random)
        for axis in (2, 3):
            pad = (1, 1, 0, 0) if axis == 3 else (0, 0, 1, 1)
            padded, length = F.pad(tiles, pad, mode="replicate"), tiles.shape[axis]
            neighbours = padded.narrow(axis, 0, length) + padded.narrow(axis, 2, length)
            tiles = tiles * (1 - 2 * side) + side * neighbours
        deviation = torch.rand(count, 1, 1, 1, generator=random) * 0.03
        deviation = deviation * _chosen(count, config.noise, random)
        tiles = tiles + deviation * torch.randn(tiles.shape, generator=random)
        damaged = torch.nonzero(_chosen(count, config.jpeg, random).flatten()).flatten()
        for index in damaged.tolist():
            quality = int(torch.randint(30, 90, (1,), generator=random))
            tiles[index] = _through_jpeg(tiles[index], quality)
        return tiles


def warped(tiles: torch.Tensor, config: LookConfig, random: torch.Generator) -> torch.Tensor:
    """Tiles turned by multiples of 90 degrees and mirrored, some of them cropped and enlarged."""
    count = len(tiles)
    quarter = torch.randint(4, (count,), generator=random) * (math.pi / 2)
    mirror = torch.randint(2, (count,), generator=random) * 2.0 - 1
    crops = _chosen(count, config.crop, random).flatten()
    scale = 1 - (1 - config.crop_scale) * torch.rand(count, generator=random) * crops
    cos, sin = quarter.cos().round() * scale, quarter.sin().round() * scale
    shift = (torch.rand(count, 2, generator=random) * 2 - 1) * (1 - scale)[:, None]
    rows = (cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1])
    matrix = torch.stack(rows, dim=1).view(count, 2, 3)
    grid = F.affine_grid(matrix, list(tiles.shape), align_corners=False)
    return F.grid_sample(tiles, grid, padding_mode="border", align_corners=False)


def _uniform(count: int, limit: float, random: torch.Generator) -> torch.Tensor:
    return (torch.rand(count, 1, 1, 1, generator=random) * 2 - 1) * limit


def _chosen(count: int, probability: float, random: torch.Generator) -> torch.Tensor:
    return torch.rand(count, 1, 1, 1, generator=random) < probability


def _through_jpeg(tile: torch.Tensor, quality: int) -> torch.Tensor:
    """The tile (3, H, W) in 0..1 after JPEG has had it."""
    image = (tile.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    _, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    back = np.ascontiguousarray(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1])
    return torch.from_numpy(back).permute(2, 0, 1).float() / 255

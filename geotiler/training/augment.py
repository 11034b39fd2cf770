"""Random looks at a chip: one warp for zoom, rotation and crop, then colour.

The warp is a single interpolation from stored pixels to network pixels. What the crop takes from
outside the chip is invalid: ignored by the loss, and the training mean to the network, exactly as
nodata is at inference.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from geotiler.models.vision import torchvision
from geotiler.specs import MASK_NODATA
from geotiler.training.chips import Chip
from geotiler.training.config import AugmentConfig

torchvision()

from torchvision.transforms import v2  # noqa: E402


def crop_transform(
    chip: Chip, crop_px: int, gsd_m: float, config: AugmentConfig, random: np.random.Generator
) -> NDArray[np.float64]:
    """Affine map (2, 3) from pixels of the crop to pixels of the chip.

    The zoom is log-uniform in `config.scale`; rotation is free with probability `config.rotate`,
    else a multiple of 90 degrees; half of the crops are mirrored; the centre is uniform over the
    positions whose crop lies inside the chip, as far as it fits.
    """
    low, high = (math.log(limit) for limit in config.scale)
    step = gsd_m / chip.gsd_m / math.exp(random.uniform(low, high))
    free = random.random() < config.rotate
    angle = random.uniform(0, 2 * math.pi) if free else random.integers(4) * math.pi / 2
    mirror = -1.0 if random.random() < 0.5 else 1.0
    cos, sin = math.cos(angle) * step, math.sin(angle) * step
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    height, width = chip.labels.shape
    half = crop_px * step / 2
    centre = np.array(
        [
            width / 2 + random.uniform(-1, 1) * max(0.0, width / 2 - half),
            height / 2 + random.uniform(-1, 1) * max(0.0, height / 2 - half),
        ]
    )
    middle = np.full(2, (crop_px - 1) / 2)
    offset = centre - 0.5 - linear @ middle
    return np.concatenate([linear, offset[:, None]], axis=1)


def warped_crop(
    chip: Chip, crop_px: int, transform: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Crop of image (row, col, band) and labels (row, col); 255 where the chip has no pixel."""
    size = (crop_px, crop_px)
    image = cv2.warpAffine(
        chip.image, transform, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    labels = cv2.warpAffine(
        chip.labels,
        transform,
        size,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=MASK_NODATA,
    )
    return np.asarray(image, np.uint8), np.asarray(labels, np.uint8)


class Colour:
    """Random brightness, contrast, saturation, hue, blur and noise of an RGB crop."""

    def __init__(self, config: AugmentConfig) -> None:
        self._jitter = v2.Compose(
            [
                v2.ColorJitter(
                    brightness=config.brightness,
                    contrast=config.contrast,
                    saturation=config.saturation,
                    hue=config.hue,
                ),
                v2.RandomApply([v2.GaussianBlur(3, sigma=(0.3, 1.0))], p=config.blur),
            ]
        )
        self._noise = config.noise

    def __call__(self, image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Image (row, col, band) with other colours, same geometry."""
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        varied = self._jitter(tensor).permute(1, 2, 0).numpy()
        deviation = random.uniform(0, self._noise)
        if deviation < 0.5:
            return np.ascontiguousarray(varied)
        noisy = varied + random.normal(0, deviation, varied.shape).astype(np.float32)
        return np.clip(noisy, 0, 255).astype(np.uint8)

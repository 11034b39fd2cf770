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
from geotiler.training.config import TransformsConfig

torchvision()

from torchvision.transforms import v2  # noqa: E402


def random_gsd_m(gsd_m: float, config: TransformsConfig, random: np.random.Generator) -> float:
    """GSD of a crop: the network's over a zoom that is log-uniform in `config.scale`."""
    low, high = (math.log(limit) for limit in config.scale)
    return gsd_m / math.exp(random.uniform(low, high))


def crop_transform(
    chip: Chip, crop_px: int, gsd_m: float, config: TransformsConfig, random: np.random.Generator
) -> NDArray[np.float64]:
    """Affine map (2, 3) from pixels of a crop with the given GSD to pixels of the chip.

    Rotation is free with probability `config.rotate`; otherwise `config.turns` gives a multiple of
    90 degrees. It also mirrors half of the crops. The centre is uniform over the positions whose
    crop lies inside the chip, as far as it fits.
    """
    step = gsd_m / chip.gsd_m
    angle, mirror = 0.0, 1.0
    if random.random() < config.rotate:
        angle = random.uniform(0, 2 * math.pi)
    elif config.turns:
        angle = random.integers(4) * math.pi / 2
    if config.turns and random.random() < 0.5:
        mirror = -1.0
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
    """Random colours and random faults of an RGB crop, as other sensors and providers have them.

    In the order in which light meets them: haze, then the sensor's colours, its resolution and
    noise, then the provider's compression.
    """

    def __init__(self, config: TransformsConfig) -> None:
        self._config = config
        self._jitter = v2.ColorJitter(
            brightness=config.brightness,
            contrast=config.contrast,
            saturation=config.saturation,
            hue=config.hue,
        )

    def __call__(self, image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Image (row, col, band) with other colours, same geometry."""
        config = self._config
        if random.random() < config.haze:
            image = hazy(image, random.uniform(0.05, 0.45), random)
        if random.random() < config.gamma:
            image = toned(image, random)
        tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        image = np.ascontiguousarray(self._jitter(tensor).permute(1, 2, 0).numpy())
        if random.random() < config.coarse:
            image = coarsened(image, random.uniform(1.2, config.coarse_factor))
        elif random.random() < config.blur:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 1.2)), np.uint8)
        deviation = random.uniform(0, config.noise)
        if deviation >= 0.5:
            noisy = image + random.normal(0, deviation, image.shape).astype(np.float32)
            image = np.clip(noisy, 0, 255).astype(np.uint8)
        if random.random() < config.jpeg:
            image = compressed(image, int(random.integers(25, 90)))
        return image


def hazy(image: NDArray[np.uint8], share: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Image behind a veil: a share of every pixel is airlight, white to bluish grey.

    Source: the atmospheric scattering model of Koschmieder with one depth for the whole crop,
    I = J (1 - share) + airlight · share.
    """
    grey = random.uniform(150, 245)
    airlight = np.clip(grey + np.array([0.0, 0.4, 1.0]) * random.uniform(-5, 30), 0, 255)
    veiled = image * np.float32(1 - share) + (airlight * share).astype(np.float32)
    return veiled.astype(np.uint8)


def toned(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Image with another gamma, and bands that were balanced otherwise."""
    gamma = math.exp(random.uniform(-0.45, 0.45))
    levels = np.linspace(0, 1, 256)
    tables = [
        np.clip(levels ** (gamma * math.exp(random.uniform(-0.1, 0.1))), 0, 1)
        * random.uniform(0.9, 1.1)
        for _ in range(image.shape[2])
    ]
    table = np.clip(np.stack(tables, axis=-1) * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[:, None]), np.uint8)


def coarsened(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Image as a scene `factor` times coarser gives it to the network: averaged, then resampled."""
    height, width = image.shape[:2]
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Image after JPEG compression of a quality in 1..100."""
    _, code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1])

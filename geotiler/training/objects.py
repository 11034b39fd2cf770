"""Object-based augmentation: buildings with their shadows, pasted where there were none.

Source: Illarionova, Nesteruk, Shadrin, Ignatiev, Pukalchik, Oseledets, "Object-Based Augmentation
for Building Semantic Segmentation: Ventura and Santa Rosa Case Study", ICCV Workshops 2021. There
shadows are cut out as pixels; here they are cut out as a factor, which darkens whatever ground the
building comes to stand on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geotiler.training.chips import UNLABELLED, Chip
from geotiler.training.config import ObjectsConfig

_LEAST_M2, _MOST_M2 = 20.0, 3000.0
"""Ground areas of what is cut out: no crumbs of labels, and nothing that fills a crop."""
_SHADOW = 0.6
"""Brightness over that of the ground around, below which ground is shadow."""
_DARKEST = 0.25
_PLACES = 8
"""Places that are tried before a building is given up."""
_EDGE_PX = 0.7
"""Softness of a pasted outline, as a standard deviation."""


@dataclass(frozen=True, kw_only=True)
class CutOut:
    """One object on its own, at its chip's resolution."""

    image: NDArray[np.uint8]
    """(row, col, band)."""
    shape: NDArray[np.bool_]
    """(row, col): what belongs to the object."""
    shade: NDArray[np.float32]
    """(row, col): factor of the ground's brightness, 1 where no shadow falls."""
    class_index: int
    gsd_m: float


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where an object stands: its chip, its box with a margin, and a pixel of it."""

    chip: int
    rows: slice
    cols: slice
    seed: tuple[int, int]
    """(row, col) within the box."""


class ObjectBank:
    """Every whole object of some chips, found once and cut out when it is asked for."""

    def __init__(self, chips: Sequence[Chip], shadow_m: float) -> None:
        """Args: chips: whose objects. shadow_m: how far from an object its shadow may lie."""
        self._chips = chips
        self._places = [
            place for index, chip in enumerate(chips) for place in _places(index, chip, shadow_m)
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> CutOut:
        place = self._places[index]
        chip = self._chips[place.chip]
        image, labels = chip.image[place.rows, place.cols], chip.labels[place.rows, place.cols]
        class_index = int(labels[place.seed])
        _, parts = cv2.connectedComponents((labels == class_index).astype(np.uint8))
        shape = parts == parts[place.seed]
        return CutOut(
            image=image,
            shape=shape,
            shade=shadow_of(image, shape, labels),
            class_index=class_index,
            gsd_m=chip.gsd_m,
        )


def _places(index: int, chip: Chip, shadow_m: float) -> list[_Place]:
    """The objects of a chip that are whole and of a fair size."""
    margin = max(2, math.ceil(shadow_m / chip.gsd_m))
    height, width = chip.labels.shape
    found = []
    for class_index in np.unique(chip.labels):
        if class_index == 0 or class_index >= UNLABELLED:
            continue
        _, parts, boxes, _ = cv2.connectedComponentsWithStats(
            (chip.labels == class_index).astype(np.uint8)
        )
        for part, (col, row, wide, high, area_px) in enumerate(boxes):
            whole = row > 0 and col > 0 and row + high < height and col + wide < width
            if part == 0 or not whole:
                continue
            if not _LEAST_M2 <= area_px * chip.gsd_m**2 <= _MOST_M2:
                continue
            rows = slice(max(0, row - margin), min(height, row + high + margin))
            cols = slice(max(0, col - margin), min(width, col + wide + margin))
            inside = np.argwhere(parts[rows, cols] == part)[0]
            seed = (int(inside[0]), int(inside[1]))
            found.append(_Place(chip=index, rows=rows, cols=cols, seed=seed))
    return found


def shadow_of(
    image: NDArray[np.uint8], shape: NDArray[np.bool_], labels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Factor (row, col) by which an object darkens the ground: dark ground that touches it.

    The ground is what has the label 0; its median is the brightness without shadow.
    """
    shade = np.ones(shape.shape, np.float32)
    ground = labels == 0
    if not ground.any():
        return shade
    # Smoothed over the ground alone, so that a bright roof does not part it from its shadow.
    share = cv2.GaussianBlur(ground.astype(np.float32), (0, 0), _EDGE_PX)
    lit = cv2.GaussianBlur(np.where(ground, image.max(axis=2), 0).astype(np.float32), (0, 0),
                           _EDGE_PX)  # fmt: skip
    brightness = lit / np.maximum(share, 1e-3)
    factor = brightness / max(1.0, float(np.median(brightness[ground])))
    dark = ground & (factor < _SHADOW)
    _, parts = cv2.connectedComponents((dark | shape).astype(np.uint8))
    touching = dark & (parts == parts[tuple(np.argwhere(shape)[0])])
    shade[touching] = np.clip(factor[touching], _DARKEST, 1.0)
    return shade


def add_objects(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    bank: ObjectBank,
    gsd_m: float,
    config: ObjectsConfig,
    random: np.random.Generator,
) -> int:
    """How many objects were pasted into a crop, in place; none with probability 1 - share.

    Law: a pixel with a label other than 0 keeps it and its colour; no object covers another.

    Args:
        image: (row, col, band), changed.
        labels: (row, col), changed.
        bank: what may be pasted.
        gsd_m: of the crop.
        config: how many, and how large.
        random: decides.
    """
    if not len(bank) or random.random() >= config.share:
        return 0
    wanted = int(random.integers(1, config.most + 1))
    low, high = (math.log(limit) for limit in config.scale)
    pasted = 0
    for _ in range(wanted):
        cut = bank[int(random.integers(len(bank)))]
        zoom = cut.gsd_m / gsd_m * math.exp(random.uniform(low, high))
        turned = _turned(cut, zoom, random.uniform(0, 360))
        pasted += _paste(image, labels, turned, random)
    return pasted


def _turned(cut: CutOut, zoom: float, angle_deg: float) -> CutOut:
    """The object rotated and scaled about its middle, on a canvas that holds all of it."""
    height, width = cut.shape.shape
    side = math.ceil(math.hypot(height, width) * zoom) + 4
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, zoom)
    matrix[:, 2] += (side - 1) / 2 - np.array([(width - 1) / 2, (height - 1) / 2])

    def warped(values: NDArray[Any], border: int = cv2.BORDER_CONSTANT) -> NDArray[np.float32]:
        moved = cv2.warpAffine(values, matrix, (side, side), borderMode=border)
        return np.asarray(moved, np.float32)

    shade = warped(1 - cut.shade)  # nothing is shaded outside the canvas
    return CutOut(
        image=warped(cut.image, cv2.BORDER_REPLICATE).astype(np.uint8),
        shape=warped(cut.shape.astype(np.float32)) >= 0.5,
        shade=np.asarray(1 - shade, np.float32),
        class_index=cut.class_index,
        gsd_m=cut.gsd_m / zoom,
    )


def _paste(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    cut: CutOut,
    random: np.random.Generator,
) -> bool:
    """True if a place was found where the object, and a pixel around it, meet background only."""
    around = cv2.dilate(cut.shape.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if not cut.shape.any():
        return False
    for _ in range(_PLACES):
        middle = (random.uniform(0, labels.shape[0]), random.uniform(0, labels.shape[1]))
        here, there = _overlap(labels.shape, cut.shape.shape, middle)
        ground = labels[here] == 0
        if not (cut.shape[there].any() and ground[around[there]].all()):
            continue
        shape = cut.shape[there]
        soft = cv2.GaussianBlur(cut.shape.astype(np.float32), (0, 0), _EDGE_PX)[there]
        soft = np.where(ground, soft, 0)[..., None]
        shade = np.where(ground, cut.shade[there], 1)[..., None]
        blended = image[here] * shade * (1 - soft) + cut.image[there] * soft
        image[here] = np.where(ground[..., None], blended + 0.5, image[here]).astype(np.uint8)
        labels[here][shape] = cut.class_index
        return True
    return False


def _overlap(
    crop: tuple[int, ...], canvas: tuple[int, ...], middle: tuple[float, float]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a crop that a canvas around a point covers, and that part of the canvas."""
    here, there = [], []
    for length, size, centre in zip(crop, canvas, middle, strict=True):
        start = round(centre - size / 2)
        first, last = max(0, start), min(length, start + size)
        here.append(slice(first, max(first, last)))
        there.append(slice(first - start, max(first, last) - start))
    return (here[0], here[1]), (there[0], there[1])

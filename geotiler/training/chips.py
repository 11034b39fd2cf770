"""Training samples in memory: images, class ids and where they may be trusted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geotiler.core.radiometry import border_nodata
from geotiler.core.synthetic import SyntheticScene
from geotiler.errors import InputError
from geotiler.specs import MASK_NODATA, Window
from geotiler.training.config import DataConfig, RenderedConfig

UNLABELLED = 254
"""Label of pixels that the network sees but nobody labelled: left out of loss and scores, unlike
MASK_NODATA (255), whose pixels also enter the network as the training mean."""

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One image with its labels."""

    name: str
    image: NDArray[np.uint8]
    """(row, col, band) RGB."""
    labels: NDArray[np.uint8]
    """(row, col) class ids; UNLABELLED or MASK_NODATA where there is none."""
    gsd_m: float


def read_split(root: Path, split: str) -> list[str]:
    """Names in a split list, without suffix.

    Raises:
        InputError: there is no such list; says how a data set is made.
    """
    path = root / f"{split}.txt"
    if not path.is_file():
        raise InputError(
            f"no training data at {root}: expected images/, masks/ and {split}.txt there",
            hint="name a data set with data.root=FOLDER",
        )
    return path.read_text(encoding="utf-8").split()


def _find(folder: Path, name: str) -> Path:
    for suffix in _IMAGE_SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise InputError(f"no image {name!r} in {folder}", hint="split lists hold names without suffix")


def _read_image(path: Path, flags: int) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise InputError(f"{path} cannot be read as an image")
    return np.asarray(image, np.uint8)


def read_chip(root: Path, name: str, config: DataConfig) -> Chip:
    """One chip of a folder, its mask translated to class ids.

    Raises:
        InputError: image or mask is missing, unreadable, or of different size.
    """
    image = cv2.cvtColor(_read_image(_find(root / "images", name), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    mask = _read_image(_find(root / "masks", name), cv2.IMREAD_GRAYSCALE)
    if mask.shape != image.shape[:2]:
        raise InputError(f"image and mask of {name!r} differ: {image.shape[:2]} and {mask.shape}")
    labels = (mask == config.object_value).astype(np.uint8)
    if config.ignore_value is not None:
        labels[mask == config.ignore_value] = UNLABELLED
    if config.border_nodata:
        labels[~border_nodata(image)] = MASK_NODATA
    return Chip(name=name, image=image, labels=labels, gsd_m=config.gsd_m)


def rendered_chips(config: RenderedConfig) -> Iterator[Chip]:
    """Chips cut from rendered scenes, one scene each, cycling through the configured GSDs."""
    scene_px = 8 * config.chip_px
    place = np.random.default_rng(config.first_seed)
    for index, gsd_m in zip(range(config.chips), itertools.cycle(config.gsd_m), strict=False):
        seed = config.first_seed + index
        scene = SyntheticScene(seed=seed, height=scene_px, width=scene_px, gsd_m=gsd_m)
        row, col = (int(v) for v in place.integers(0, scene_px - config.chip_px, 2))
        side = config.chip_px
        image, footprints, valid = scene.render(Window(row=row, col=col, height=side, width=side))
        labels = np.where(valid, footprints.astype(np.uint8), np.uint8(MASK_NODATA))
        yield Chip(
            name=f"rendered-{seed}",
            image=np.ascontiguousarray(image.transpose(1, 2, 0)),
            labels=labels,
            gsd_m=gsd_m,
        )


def resized(chip: Chip, gsd_m: float) -> Chip:
    """The chip at another ground sample distance, averaged over areas when it shrinks."""
    factor = chip.gsd_m / gsd_m
    if 0.8 <= factor <= 1.25:  # as at inference: small differences are left alone
        return chip
    size = (max(1, round(chip.image.shape[1] * factor)), max(1, round(chip.image.shape[0] * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return Chip(
        name=chip.name,
        image=np.asarray(cv2.resize(chip.image, size, interpolation=how), np.uint8),
        labels=np.asarray(cv2.resize(chip.labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8),
        gsd_m=gsd_m,
    )


def load_split(config: DataConfig, split: str) -> Sequence[Chip]:
    """All chips of a split, in memory, in the order of the list.

    Raises:
        InputError: the list or one of its files is missing.
    """
    root = Path(config.root)
    names = read_split(root, split)[: config.limit]
    if not names:
        raise InputError(f"the split list {root / f'{split}.txt'} is empty")
    return [read_chip(root, name, config) for name in names]

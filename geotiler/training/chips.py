"""Training samples in memory: images, class ids and where they may be trusted."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geotiler.core.radiometry import border_nodata
from geotiler.core.synthetic import SyntheticScene
from geotiler.errors import InputError, SpecError
from geotiler.progress import (
    Notice,
    Reporter,
    StageAdvanced,
    StageFinished,
    StageStarted,
    silent,
)
from geotiler.specs import MASK_NODATA, Window
from geotiler.training.config import DataConfig, RenderedConfig

UNLABELLED = 254
"""Label of pixels that the network sees but nobody labelled: left out of loss and scores, unlike
MASK_NODATA (255), whose pixels also enter the network as the training mean."""

_PURPOSE = {"train": "to learn from", "val": "that tell how good it got", "test": "to score"}
_LEAVE_OUT = "data.skip_bad=true leaves such chips out"
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
        InputError: there is no such list; says how a data set, or a list, is made.
    """
    path = root / f"{split}.txt"
    if path.is_file():
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    if (root / "images").is_dir():
        raise InputError(
            f"{root.absolute()} has chips but no {split}.txt, which names those "
            f"{_PURPOSE.get(split, 'of the split')}, one per line and without suffix",
            hint="geotiler tile --split 0.8,0.2,0 writes the lists; by hand, any text editor does",
        )
    raise InputError(
        f"no training data in {root.absolute()}: expected images/, masks/ and {split}.txt there",
        hint="data.root=FOLDER names a data set, geotiler tile SCENE --labels FILE makes one",
    )


@dataclass(frozen=True, kw_only=True)
class Folder:
    """How the chips of one folder are to be read."""

    root: Path
    classes: Mapping[int, str | None]
    """Mask value → name, in the order of the class indices 1, 2, ...; all others are 0. A single
    class may have no name here."""
    ignore_value: int | None
    gsd_m: float | None
    """Of all chips; None: each scene's own."""
    scenes: tuple[tuple[str, float], ...] = ()
    """What names of chips begin with → their ground sample distance."""
    is_assumed: bool = False
    """Nobody said which value is the class."""
    is_tiled: bool = False
    """Made by `geotiler tile`: what is ignored and black is nodata, exactly."""

    def gsd_of(self, name: str) -> float:
        """Ground sample distance of a chip, metres per pixel.

        Raises:
            InputError: nobody says it.
        """
        if self.gsd_m is not None:
            return self.gsd_m
        for beginning, gsd_m in self.scenes:
            if name.startswith(beginning):
                return gsd_m
        raise InputError(
            f"the ground resolution of {name!r} in {self.root} is not known",
            hint="say it with data.gsd_m=0.3, in metres per pixel",
        )

    def indices(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Class indices of a mask's values."""
        table = np.zeros(256, np.uint8)
        for index, value in enumerate(self.classes, start=1):
            table[value] = index
        if self.ignore_value is not None:
            table[self.ignore_value] = UNLABELLED
        return np.asarray(table[mask], np.uint8)


def open_folder(config: DataConfig) -> Folder:
    """How to read a folder: flags first, then its dataset.json, then what is assumed.

    Raises:
        InputError: a dataset.json that is damaged, or of images that training cannot use.
    """
    root = Path(config.root)
    path = root / "dataset.json"
    if not path.is_file():
        value = config.object_value
        return Folder(
            root=root,
            classes={config.plain.object_value if value is None else value: None},
            is_assumed=value is None,
            ignore_value=config.ignore_value,
            gsd_m=config.plain.gsd_m if config.gsd_m is None else config.gsd_m,
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        dtype, masks = facts["images"]["dtype"], facts["masks"]
        known = [scene for scene in facts["scenes"] if scene["gsd_m"]]
        scenes = tuple(
            (str(scene["chips_begin_with"]), math.sqrt(math.prod(scene["gsd_m"])))
            for scene in known
        )
        gsd_m = facts["gsd_m"]
        named = {int(key): str(name) for key, name in facts.get("classes", {}).items()}
        ignored = None if masks is None else int(masks["ignore"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged: {error}", hint="geotiler tile writes it anew with --overwrite"
        ) from error
    if masks is None:
        raise InputError(
            f"{root} has no masks to train on", hint="geotiler tile --labels makes them"
        )
    if dtype != "uint8":
        raise InputError(
            f"{root} holds {dtype} images, training reads 8-bit ones",
            hint="convert the scene before geotiler tile",
        )
    classes: dict[int, str | None] = {
        key: name for key, name in sorted(named.items()) if key not in (0, ignored)
    }
    if config.object_value is not None:
        classes = {config.object_value: classes.get(config.object_value)}
    return Folder(
        root=root,
        classes=classes or {1: None},
        ignore_value=ignored if config.ignore_value is None else config.ignore_value,
        gsd_m=gsd_m if config.gsd_m is None else config.gsd_m,
        scenes=scenes,
        is_tiled=True,
    )


def _find(folder: Path, name: str) -> Path:
    for suffix in _IMAGE_SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise InputError(
        f"no image {name!r} in {folder}",
        hint=f"split lists hold names without suffix; {_LEAVE_OUT}",
    )


def _read_image(path: Path, flags: int) -> NDArray[np.uint8]:
    # GeoTIFF tags that OpenCV does not know are no news, and what is broken is told below.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)
    # From memory: of a JPEG file that is cut off, `imread` makes an image whose rest is grey.
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint=_LEAVE_OUT) from error
    image = cv2.imdecode(content, flags) if len(content) else None
    if image is None:
        raise InputError(f"{path} cannot be read as an image", hint=_LEAVE_OUT)
    return np.asarray(image, np.uint8)


def read_chip(folder: Folder, name: str, config: DataConfig) -> Chip:
    """One chip of a folder, its mask translated to class ids.

    Raises:
        InputError: image or mask is missing, unreadable, or of different size.
        SpecError: its values may be the class, or not.
    """
    root = folder.root
    image = cv2.cvtColor(
        _read_image(_find(root / "images", name), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
    )
    mask = _read_image(_find(root / "masks", name), cv2.IMREAD_GRAYSCALE)
    if mask.shape != image.shape[:2]:
        raise InputError(
            f"image and mask of {name!r} in {root} differ: {image.shape[1]}×{image.shape[0]} and "
            f"{mask.shape[1]}×{mask.shape[0]} px",
            hint=_LEAVE_OUT,
        )
    if folder.is_assumed:
        _check_values(folder, name, mask)
    labels = folder.indices(mask)
    if folder.is_tiled:
        labels[(labels == UNLABELLED) & (image == 0).all(axis=2)] = MASK_NODATA
    elif config.border_nodata:
        labels[~border_nodata(image)] = MASK_NODATA
    return Chip(name=name, image=image, labels=labels, gsd_m=folder.gsd_of(name))


def _check_values(folder: Folder, name: str, mask: NDArray[np.uint8]) -> None:
    """Raises: SpecError: values that may well be the class, and would be read as background."""
    known = {0, *folder.classes, *([] if folder.ignore_value is None else [folder.ignore_value])}
    odd = sorted(set(np.unique(mask).tolist()) - known)
    if odd:
        (value,) = folder.classes
        raise SpecError(
            f"the mask of {name!r} in {folder.root} holds {', '.join(map(str, odd[:5]))}, expected "
            f"0 and {value}",
            hint="data.object_value says which value is the class, all others are background then: "
            f"{' or '.join(map(str, [*odd[:2], value]))}",
        )


def shared_names(root: Path) -> str | None:
    """A line about chips that are in two of a data set's lists; None where none is."""
    seen: dict[str, str] = {}
    twice: list[tuple[str, str]] = []
    for split in _PURPOSE:
        if split == "test" and not (root / "test.txt").is_file():
            continue
        for name in read_split(root, split):
            if seen.setdefault(name, split) != split:
                twice.append((name, split))
    if not twice:
        return None
    name, split = twice[0]
    more = f", and {len(twice) - 1} more" if len(twice) > 1 else ""
    return (
        f"{root} lists {name!r} in {seen[name]} and in {split}{more}: what was seen before "
        "flatters the scores"
    )


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
    size = (
        max(1, round(chip.image.shape[1] * factor)),
        max(1, round(chip.image.shape[0] * factor)),
    )
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return Chip(
        name=chip.name,
        image=np.asarray(cv2.resize(chip.image, size, interpolation=how), np.uint8),
        labels=np.asarray(
            cv2.resize(chip.labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8
        ),
        gsd_m=gsd_m,
    )


def load_split(config: DataConfig, split: str, report: Reporter = silent) -> Sequence[Chip]:
    """All chips of a split, in memory, in the order of the list.

    With `config.skip_bad` those that cannot be used are left out, and told in one warning.

    Raises:
        InputError: the list or one of its files is missing, or no chip can be used.
    """
    root = Path(config.root)
    names = read_split(root, split)[: config.limit]
    if not names:
        raise InputError(f"the split list {root / f'{split}.txt'} is empty")
    folder = open_folder(config)
    stage = f"reading {split} chips"
    report(StageStarted(stage=stage, total=len(names), unit="chip"))
    chips, bad = [], []
    for name in names:
        folder.gsd_of(name)  # a setting that is missing is no bad chip
        try:
            chips.append(read_chip(folder, name, config))
        except InputError as error:
            if not config.skip_bad:
                raise
            bad.append(error)
        report(StageAdvanced(stage=stage, amount=1))
    report(StageFinished(stage=stage))
    if not chips:
        raise bad[0]
    if bad:
        told = f"{len(bad)} of {len(names)} {split} chips are left out, the first: {bad[0].message}"
        report(Notice(message=told, warning=True))
    return chips

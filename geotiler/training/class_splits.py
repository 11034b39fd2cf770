"""Which tiles train, which validate, which test: by lists of names, or by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from geotiler.errors import InputError, SpecError
from geotiler.training.classification_config import ClassTilesConfig

PARTS = ("train", "val", "test")
LIST_NAME = "eurosat-spatial-{part}.txt"


def split_names(config: ClassTilesConfig, labels: Mapping[str, int]) -> dict[str, list[str]]:
    """Part → names of its tiles; no name is in two parts.

    Args:
        config: how to split.
        labels: name → index of its class, of all tiles.

    Raises:
        SpecError: no such split, or fractions that are none.
        InputError: a list is missing, or names a tile that another list or nobody knows.
    """
    if config.split == "spatial":
        parts = spatial_split(_lists_folder(config))
    elif config.split == "random":
        parts = random_split(labels, config.fractions, config.split_seed)
    else:
        raise SpecError(
            f"data.split must be spatial or random, got {config.split!r}",
            hint="overrides look like data.split=random",
        )
    if config.limit is not None:
        parts = {part: _first(names, labels, config.limit) for part, names in parts.items()}
    return parts


def spatial_split(folder: Path) -> dict[str, list[str]]:
    """Part → names, as the three lists of a folder say.

    Raises:
        InputError: a list is missing or empty, or two lists share a tile.
    """
    parts = {}
    for part in PARTS:
        path = folder / LIST_NAME.format(part=part)
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"the split list {path} cannot be read",
                hint="data.lists=FOLDER holds the lists; data.split=random needs none",
            ) from error
        parts[part] = [line.strip() for line in lines if line.strip()]
        if not parts[part]:
            raise InputError(f"the split list {path} is empty")
    seen: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if name in seen:
                raise InputError(
                    f"{name!r} is listed twice, in {seen[name]} and {part} of {folder}"
                )
            seen[name] = part
    return parts


def random_split(
    labels: Mapping[str, int], fractions: Sequence[float], seed: int
) -> dict[str, list[str]]:
    """Part → names: each class divided by the fractions, shuffled with the seed.

    Every tile is in exactly one part, and the result depends on names and seed alone.

    Raises:
        SpecError: not three positive fractions with the sum 1.
    """
    good = len(fractions) == len(PARTS) and min(fractions) > 0 and abs(sum(fractions) - 1) < 1e-6
    if not good:
        raise SpecError(f"data.fractions must be three parts of 1, got {list(fractions)}")
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    random = np.random.default_rng(seed)
    for label in sorted(set(labels.values())):
        names = sorted(name for name, own in labels.items() if own == label)
        random.shuffle(names)
        first = round(len(names) * fractions[0])
        second = round(len(names) * (fractions[0] + fractions[1]))
        cuts = (names[:first], names[first:second], names[second:])
        for part, chosen in zip(PARTS, cuts, strict=True):
            parts[part] += chosen
    return parts


def write_split(parts: Mapping[str, Sequence[str]], folder: Path) -> None:
    """Leave the lists in a folder, as `spatial_split` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, names in parts.items():
        text = "".join(f"{name}\n" for name in names)
        (folder / LIST_NAME.format(part=part)).write_text(text, encoding="utf-8")


def _lists_folder(config: ClassTilesConfig) -> Path:
    if config.lists is not None:
        return Path(config.lists)
    root = Path(config.root)
    name = LIST_NAME.format(part="train")
    return root if (root / name).is_file() else root.parent


def _first(names: Sequence[str], labels: Mapping[str, int], limit: int) -> list[str]:
    taken: dict[int, int] = {}
    chosen = []
    for name in names:
        label = labels.get(name, -1)
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= limit:
            chosen.append(name)
    return chosen

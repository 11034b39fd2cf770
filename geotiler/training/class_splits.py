"""Which tiles train, which validate, which test: by lists of names, or by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from geotiler.errors import InputError, SpecError
from geotiler.training.classification_config import ClassTilesConfig
from geotiler.training.whole_files import replaced

PARTS = ("train", "val", "test")
FRACTIONS = (0.7, 0.15, 0.15)
"""Of the random split: train, val, test."""


def list_name(split: str, part: str) -> str:
    """File name of the list of one part of a split."""
    return f"eurosat-{split}-{part}.txt"


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
        folder = find_lists(Path(config.root)) if config.lists is None else Path(config.lists)
        parts = spatial_split(folder or Path(config.root))
    elif config.split == "random":
        parts = random_split(labels, config.fractions, config.split_seed)
    else:
        raise SpecError(
            f"data.split must be spatial or random, got {config.split!r}",
            hint="overrides look like data.split=random",
        )
    if config.limit is not None:
        parts = {part: first_of_each(own, labels, config.limit) for part, own in parts.items()}
    return parts


def spatial_split(folder: Path) -> dict[str, list[str]]:
    """Part → names, as the three lists of a folder say.

    Raises:
        InputError: a list is missing or empty, or two lists share a tile.
    """
    parts = {}
    for part in PARTS:
        path = folder / list_name("spatial", part)
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
    labels: Mapping[str, int], fractions: Sequence[float] = FRACTIONS, seed: int = 0
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


def write_split(parts: Mapping[str, Sequence[str]], folder: Path, split: str) -> None:
    """Leave the lists of a split in a folder, one name per line."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, names in parts.items():
        text = "".join(f"{name}\n" for name in names)
        with replaced(folder / list_name(split, part)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def find_lists(root: Path) -> Path | None:
    """The folder that holds the spatial lists of a data set: its own, or the one it lies in."""
    name = list_name("spatial", "train")
    return next((folder for folder in (root, root.parent) if (folder / name).is_file()), None)


def first_of_each(names: Sequence[str], labels: Mapping[str, int], limit: int) -> list[str]:
    """The first `limit` names of each class, in their order."""
    taken: dict[int, int] = {}
    chosen = []
    for name in names:
        label = labels.get(name, -1)
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= limit:
            chosen.append(name)
    return chosen

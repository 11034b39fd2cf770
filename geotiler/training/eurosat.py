"""EuroSAT on disk: fetched or copied, counted, split; appears whole or not at all.

Source: Helber et al., "EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land
Cover Classification", IEEE JSTARS 12 (2019); the lists of the spatial split are TorchGeo's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import GeotilerError, InputError, OutputError
from geotiler.models.vision import torchvision
from geotiler.training.class_splits import (
    PARTS,
    find_lists,
    first_of_each,
    list_name,
    random_split,
    spatial_split,
    write_split,
)
from geotiler.training.class_tiles import TileSource, open_tiles

COUNTS: Mapping[str, int] = {
    "AnnualCrop": 3000,
    "Forest": 3000,
    "HerbaceousVegetation": 3000,
    "Highway": 2500,
    "Industrial": 2500,
    "Pasture": 2000,
    "PermanentCrop": 2500,
    "Residential": 3000,
    "River": 2500,
    "SeaLake": 3000,
}
"""Class → tiles of the complete RGB data set, 27,000 in all. Source: table II of the paper."""

TILE_PX = 64

_LISTS_URL = (
    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
    "1c11c73a87b40b0485d103231a97829991b8e22f/"
)
_LISTS_MD5 = {
    "train": "7be3254be39f23ce4d4d144290c93292",
    "val": "acf392290050bb3df790dc8fc0ebf193",
    "test": "5ec1733f9c16116bf0aa2d921fc613ef",
}
BY_HAND = (
    "fetch EuroSAT_RGB.zip (DOI 10.5281/zenodo.7711810) with a browser, then: "
    "geotiler data eurosat --from EuroSAT_RGB.zip"
)


@dataclass(frozen=True, kw_only=True)
class PlacedTiles:
    """What was written."""

    counts: Mapping[str, int]
    """Class → tiles."""
    spatial: Mapping[str, int] | None
    """Part → tiles of the spatial split; None: no lists were found."""
    random: Mapping[str, int]
    """Part → tiles of the random split."""


def place_eurosat(
    folder: Path,
    *,
    source: Path | None = None,
    lists: Path | None = None,
    limit: int | None = None,
    subset: bool = False,
    overwrite: bool = False,
) -> PlacedTiles:
    """Write a folder of EuroSAT tiles, one folder per class, with the lists of both splits.

    Args:
        folder: to be written.
        source: a folder or zip of the data set; None downloads it with torchvision.
        lists: folder of the spatial lists; None looks beside and in the source.
        limit: take only so many tiles of each class and part of the spatial split (where there is
            none, of each class).
        subset: accept a source with fewer tiles than the data set has.
        overwrite: replace a folder that this function wrote before.

    Raises:
        InputError: the download fails; or the source is damaged, incomplete or no EuroSAT.
        OutputError: the folder exists already, or cannot be written.
    """
    with _new_folder(folder, overwrite) as temporary, contextlib.ExitStack() as stack:
        if source is None:
            fetched = stack.enter_context(
                tempfile.TemporaryDirectory(dir=temporary.parent, prefix=".eurosat.")
            )
            source = lists = Path(fetched)
            _download(source)
        tiles = open_tiles(source, list(COUNTS))
        if not subset:
            _check_counts(tiles)
        parts = _spatial_parts(tiles, source, lists, limit)
        names = tiles.names if parts is None else [name for part in PARTS for name in parts[part]]
        if parts is None and limit is not None:
            names = first_of_each(names, tiles.labels, limit)
        for name, content in tiles.contents(names, TILE_PX):
            path = temporary / tiles.classes[tiles.labels[name]] / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        labels = {name: tiles.labels[name] for name in names}
        by_chance = random_split(labels)
        write_split(by_chance, temporary, "random")
        if parts is not None:
            write_split(parts, temporary, "spatial")
        placed = open_tiles(temporary, list(COUNTS))
    return PlacedTiles(
        counts=placed.counts(),
        spatial=None if parts is None else {part: len(own) for part, own in parts.items()},
        random={part: len(own) for part, own in by_chance.items()},
    )


def _check_counts(tiles: TileSource) -> None:
    wrong = [
        f"{name} {found} of {COUNTS[name]}"
        for name, found in tiles.counts().items()
        if found != COUNTS[name]
    ]
    if wrong:
        raise InputError(
            f"{tiles.root} is not the complete EuroSAT: {', '.join(wrong[:6])}",
            hint="--subset accepts a part of it",
        )


def _spatial_parts(
    tiles: TileSource, source: Path, lists: Path | None, limit: int | None
) -> dict[str, list[str]] | None:
    """Part → names; None where nobody asked for lists and none are there."""
    folder = find_lists(source) if lists is None else lists
    if folder is None:
        return None
    parts = spatial_split(folder)
    if limit is not None:
        parts = {part: first_of_each(own, tiles.labels, limit) for part, own in parts.items()}
    return parts


def _download(folder: Path) -> None:
    """Raises: InputError: not reachable; says how to do it by hand."""
    torchvision()
    from torchvision.datasets import EuroSAT
    from torchvision.datasets.utils import download_url

    try:
        EuroSAT(folder, download=True)
        for part, md5 in _LISTS_MD5.items():
            name = list_name("spatial", part)
            download_url(_LISTS_URL + name, folder, name, md5)
    except Exception as error:  # whatever a download raises: URLError, RuntimeError, timeouts
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"EuroSAT cannot be downloaded: {reason}", hint=BY_HAND) from error


@contextlib.contextmanager
def _new_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside the target that takes its place at the end, or vanishes."""
    if folder.exists():
        ours = (folder / list_name("random", "train")).is_file()
        empty = folder.is_dir() and not any(folder.iterdir())
        if not overwrite and not empty:
            raise OutputError(f"output {folder} exists already", hint="--overwrite replaces it")
        if not ours and not empty:
            raise OutputError(f"{folder} holds something else than EuroSAT", hint="move it away")
    made = [path for path in folder.parents if not path.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's folders are private
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except GeotilerError:
        raise
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for path in made:  # they stay where something is in them
            with contextlib.suppress(OSError):
                path.rmdir()

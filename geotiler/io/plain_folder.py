"""Plain folders of images and masks with split lists, as many data sets come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import InputError
from geotiler.specs import SPLITS

IMAGES, MASKS = "images", "masks"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".jp2", ".webp"}
_HINT = "a plain folder has images/, masks/ with the same names, and lists of names: train.txt, ..."


@dataclass(frozen=True, kw_only=True)
class PlainFolder:
    """Images of a folder, each with its mask and its split."""

    images: tuple[str, ...]
    masks: tuple[str, ...]
    """Of each image; empty if the folder has none."""
    splits: tuple[str, ...]
    """Of each image; empty if the folder has no lists."""


def is_plain_folder(path: str) -> bool:
    """Whether a path is a folder with images/ in it."""
    return (Path(path) / IMAGES).is_dir()


def read_plain_folder(path: str) -> PlainFolder:
    """What a plain folder holds: the images in its lists, or all of them where it has no lists.

    Raises:
        InputError: a list names what is not there, or names it twice; an image without its mask.
    """
    root = Path(path)
    images, masks = (_by_name(root / name) for name in (IMAGES, MASKS))
    lists = {split: _listed(root / f"{split}.txt") for split in SPLITS}
    listed = [(name, split) for split, names in lists.items() for name in names or ()]
    has_lists = any(names is not None for names in lists.values())
    if not has_lists:
        listed = [(name, "") for name in sorted(images)]
    if not listed:
        raise InputError(f"{path} has no images", hint=_HINT)
    seen: dict[str, str] = {}
    for name, split in listed:
        if name in seen:
            raise InputError(f"{path} lists {name!r} in {seen[name]} and in {split}", hint=_HINT)
        seen[name] = split
        for folder, found in ((IMAGES, images), (MASKS, masks)):
            if name not in found and (found or folder == IMAGES):
                raise InputError(f"{root / folder} has no file named {name!r}", hint=_HINT)
    return PlainFolder(
        images=tuple(str(images[name]) for name in seen),
        masks=tuple(str(masks[name]) for name in seen) if masks else (),
        splits=tuple(seen.values()) if has_lists else (),
    )


def _by_name(folder: Path) -> dict[str, Path]:
    """Name without suffix → file."""
    if not folder.is_dir():
        return {}
    return {
        path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES
    }


def _listed(path: Path) -> list[str] | None:
    """Names in a list; None where there is no such file."""
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]

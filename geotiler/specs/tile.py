"""What `tile` is asked to do."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import SpecError
from geotiler.specs.checks import at_least, check_bands, check_gsd, check_min_valid, check_overlap
from geotiler.specs.values import MASK_NODATA


class SplitBy(enum.StrEnum):
    """What a split keeps together."""

    BLOCK = "block"
    SCENE = "scene"


SPLITS = ("train", "val", "test")
"""Names of the shares of `TileSpec.split`, in order."""

LARGEST_CLASS = 253
"""255 is "unknown" in masks, and training calls seen but unlabelled pixels 254."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRule:
    """A class of a data set and the attribute values that mean it."""

    id: int
    """1 to 253; 0 is background, 255 is "unknown: leave out"."""
    name: str
    values: tuple[str, ...]
    """Values of the label attribute, compared without regard to case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileSpec:
    """Scenes, and labels if there are any, to one data set of chips."""

    scenes: tuple[str, ...]
    """Paths or GDAL names of rasters."""
    output: Path
    """Folder of the data set."""
    labels: tuple[str, ...] = ()
    """Vector files or rasters of class ids, matched to scenes by name, else by overlap."""
    attribute: str | None = None
    """Attribute of vector labels that tells the class; None: every polygon is class 1."""
    classes: tuple[ClassRule, ...] = ()
    """What values of the attribute mean; empty: each value is a class, in alphabetical order."""
    label_extent: str | None = None
    """Polygons within which labels are complete; outside, masks say 255."""
    tile_px: tuple[int, int] = (512, 512)
    """(height, width) of a chip."""
    overlap_px: int = 64
    """Pixels shared by neighbouring chips of one block."""
    gsd_m: tuple[float, float] | None = None
    """Ground sample distance (x, y) to resample to; None keeps the scene's pixels."""
    scene_gsd_m: tuple[float, float] | None = None
    """Ground sample distance (x, y) of the scenes; None computes it from transform and CRS."""
    bands: tuple[int, ...] | None = None
    """Bands counted from 1; None: all but alpha."""
    min_valid: float = 0.0
    """Least share of valid pixels of a chip; 0 asks for one pixel."""
    empty_ratio: float | None = None
    """Most chips without objects for each chip with some; None keeps all."""
    split: tuple[float, ...] | None = None
    """Shares of train, val and test; None: no split."""
    is_split_asked: bool = True
    """The split was asked for; where it cannot be made, False puts everything into train."""
    split_by: SplitBy = SplitBy.BLOCK
    block_px: int | None = None
    """Side of a block; None: whole chips, as many as leave enough blocks for the split."""
    seed: int = 0
    """Chooses blocks and empty chips."""
    scene_splits: tuple[str, ...] = ()
    """Split of each scene, where lists say it; `split` is not asked then."""
    black_border: bool = False
    """Black bands along the edges of 8-bit scenes are nodata that nobody declared."""
    skip_bad: bool = False
    """Leave out, and count, what would be an error: scenes, features, unreadable rows."""
    overwrite: bool = False
    restart: bool = False
    """Drop what an earlier run has left unfinished instead of going on from there."""

    def __post_init__(self) -> None:
        """Raises: SpecError: a value is out of range, or two contradict each other."""
        if not self.scenes:
            raise SpecError("no scene to tile", hint="geotiler tile scene.tif")
        if self.scene_splits and (
            len(self.scene_splits) != len(self.scenes) or set(self.scene_splits) - set(SPLITS)
        ):
            raise SpecError("scene_splits takes train, val or test for each scene")
        for side in self.tile_px:
            if side < 16:
                raise SpecError(f"`tile_px` must be at least 16, got {side}", hint="try --tile 512")
        check_overlap(self.overlap_px, min(self.tile_px))
        check_gsd(self.gsd_m)
        check_gsd(self.scene_gsd_m, "scene_gsd_m")
        check_bands(self.bands)
        check_min_valid(self.min_valid)
        at_least("empty_ratio", self.empty_ratio, 0, "try --empty-ratio 0.5")
        if self.block_px is not None and self.block_px < max(self.tile_px):
            raise SpecError(
                f"`block_px` must be at least the tile, {max(self.tile_px)}, got {self.block_px}",
                hint="leave --block out to have one chosen",
            )
        _check_split(self.split)
        _check_classes(self.classes)
        self._check_labels()

    def _check_labels(self) -> None:
        if self.labels:
            return
        for flag, value in (
            ("--attribute", self.attribute),
            ("--classes", self.classes or None),
            ("--label-extent", self.label_extent),
            ("--empty-ratio", self.empty_ratio),
        ):
            if value is not None:
                raise SpecError(f"{flag} says something about labels, and there are none",
                                hint="--labels buildings.geojson")  # fmt: skip


def _check_split(split: tuple[float, ...] | None) -> None:
    if split is None:
        return
    good = 2 <= len(split) <= len(SPLITS) and all(math.isfinite(v) and v >= 0 for v in split)
    if not good or abs(sum(split) - 1.0) > 1e-6:
        raise SpecError(
            f"`split` takes shares of train, val and test that add up to 1, got "
            f"{','.join(f'{value:g}' for value in split)}",
            hint="try --split 0.7,0.15,0.15",
        )


def _check_classes(classes: tuple[ClassRule, ...]) -> None:
    names: dict[str, int] = {}
    ids: dict[int, str] = {}
    for rule in classes:
        if not 0 <= rule.id <= LARGEST_CLASS and rule.id != MASK_NODATA:
            raise SpecError(
                f"class {rule.name!r} has the id {rule.id}, expected 1 to {LARGEST_CLASS}, "
                f"0 (background) or {MASK_NODATA} (unknown)",
                hint="--classes building=1,road=2",
            )
        for value in rule.values:
            if value.casefold() in names:
                raise SpecError(
                    f"class names collide: {value!r} is given twice",
                    hint="--classes takes each name once, in upper or lower case",
                )
            names[value.casefold()] = rule.id
        other = ids.get(rule.id)
        if other is not None:
            raise SpecError(
                f"class names collide: {other!r} and {rule.name!r} have the same id, {rule.id}",
                hint=f"to merge them: --classes '{other}|{rule.name}={rule.id}'",
            )
        ids[rule.id] = rule.name

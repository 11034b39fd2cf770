"""What `geotiler tile` will do, decided before any pixel is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from geotiler import __version__
from geotiler.core.chips import Cutter
from geotiler.core.resample import Axis
from geotiler.core.splits import ChipGrid, chip_grid, fitted_block, joined
from geotiler.errors import InputError, SpecError
from geotiler.io.chip_folder import ChipFolder, Opened
from geotiler.io.identity import identity
from geotiler.io.label_source import Frame, corner_points, frame_of, placed_points
from geotiler.io.raster import Scene, open_scene
from geotiler.io.scene_values import check_colours, gsd_notice
from geotiler.specs import SPLITS, SplitBy, TileSpec
from geotiler.tasks.tile_plan_labels import TileLabels, match_labels, open_labels

SAME_GSD = 1e-3
"""Scenes that are closer to --gsd, relatively, are not resampled."""

_CHUNK_ROWS = 256
_SHRUNK_PX = 0.01
"""Blocks of two scenes share ground if they do when each is smaller by so much on every side."""


@dataclass(frozen=True, kw_only=True)
class PlannedScene:
    """One scene and its chips."""

    path: str
    prefix: str
    """Of its chips' names; unique."""
    frame: Frame
    bands: tuple[int, ...]
    band_names: tuple[str | None, ...]
    dtype: str
    gsd_m: tuple[float, float] | None
    """(x, y) of the chips."""
    chunk_rows: int
    """Scene rows that are read at once."""
    block_rows: int
    """Scene rows that are stored together."""
    grid: ChipGrid
    split: str = ""
    """Where lists say it."""

    @property
    def cutter(self) -> Cutter:
        """How its chips are cut."""
        return Cutter(axes=self.frame.axes)


@dataclass(frozen=True, kw_only=True)
class TilePlan:
    """Everything that decides a data set."""

    spec: TileSpec
    scenes: tuple[PlannedScene, ...]
    labels: TileLabels | None
    """None without labels, and where the data set is complete already."""
    shares: tuple[float, ...] | None
    """Of train, val and test; None: no split."""
    block_px: tuple[int, int] | None
    """(height, width) of a block; None: no scene is divided."""
    units: dict[tuple[int, tuple[int, int]], str]
    """(scene, block) → the unit that a split must not divide."""
    made_from: dict[str, Any]
    """Settings and inputs; what has the same has the same bytes."""
    opened: Opened
    notices: tuple[str, ...]

    @property
    def split_names(self) -> list[str]:
        """Splits that chips are to be in, in order; empty without a split."""
        if self.spec.scene_splits:
            return [name for name in SPLITS if name in self.spec.scene_splits]
        return [name for name, share in zip(SPLITS, self.shares or (), strict=False) if share > 0]

    @property
    def chips(self) -> int:
        """Chips of all scenes, those without valid pixels included."""
        return sum(len(scene.grid) for scene in self.scenes)


def plan_tile(spec: TileSpec, folder: ChipFolder) -> TilePlan:
    """The plan of one data set, with every check that needs no pixel, cheapest first.

    Raises:
        SpecError: a setting does not fit the scenes.
        InputError: a scene or a label file cannot be used.
        OutputError: the folder holds something else.
    """
    notices: list[str] = []
    scenes = _opened_scenes(spec, notices)
    _check_alike(scenes)
    made_from = _made_from(spec)
    opened = folder.check(made_from, spec.overwrite, spec.restart)
    labels = None
    if spec.labels and not opened.finished:
        labels = open_labels(spec)
        dropped = match_labels(labels, [scene.frame for scene in scenes], spec)
        notices += labels.notes
        scenes = [scene for scene in scenes if scene.path not in dropped]
        if not scenes:
            raise InputError("no scene is left: none has labels", hint="--labels, see the warnings")
    shares, block_px, scenes, units = _shared_out(spec, scenes, notices)
    return TilePlan(
        spec=spec,
        scenes=tuple(scenes),
        labels=labels,
        shares=shares,
        block_px=block_px,
        units=units,
        made_from=made_from,
        opened=opened,
        notices=tuple(notices),
    )


def _opened_scenes(spec: TileSpec, notices: list[str]) -> list[PlannedScene]:
    if len(set(spec.scenes)) < len(spec.scenes):
        twice = next(path for path in spec.scenes if spec.scenes.count(path) > 1)
        raise SpecError(f"scene {twice} is given twice", hint="name each scene once")
    scenes: list[PlannedScene] = []
    taken: set[str] = set()
    splits = spec.scene_splits or ("",) * len(spec.scenes)
    for path, split in zip(spec.scenes, splits, strict=True):
        try:
            with open_scene(path) as scene:
                planned = _planned(spec, scene, _prefix(path, taken))
                if told := gsd_notice(scene, spec.scene_gsd_m, "--scene-gsd"):
                    notices.append(told)
            scenes.append(replace(planned, split=split))
        except InputError as error:
            if not spec.skip_bad:
                raise
            notices.append(f"{path} is left out: {error.message}")
    if not scenes:
        raise InputError("none of the scenes can be read", hint="see the warnings above")
    return scenes


def _planned(spec: TileSpec, scene: Scene, prefix: str) -> PlannedScene:
    bands = spec.bands or tuple(
        index for index, name in enumerate(scene.band_names, start=1) if name != "alpha"
    )
    scene.check_bands(bands)
    check_colours(scene, bands)
    gsd_m = spec.scene_gsd_m or scene.gsd_m
    if spec.gsd_m is not None and gsd_m is None:
        raise SpecError(
            f"{scene.path} has no CRS, so its ground sample distance is not known",
            hint="--scene-gsd says it, in metres per pixel",
        )
    axes = Axis.scaled(scene.height, 1.0), Axis.scaled(scene.width, 1.0)
    if spec.gsd_m is not None and gsd_m is not None:
        ratios = gsd_m[0] / spec.gsd_m[0], gsd_m[1] / spec.gsd_m[1]
        if max(abs(ratio - 1) for ratio in ratios) > SAME_GSD:
            axes = Axis.scaled(scene.height, ratios[1]), Axis.scaled(scene.width, ratios[0])
            gsd_m = spec.gsd_m
    block = min(scene.block_shape[0], scene.height)
    return PlannedScene(
        path=scene.path,
        prefix=prefix,
        frame=frame_of(scene, axes),
        bands=bands,
        band_names=tuple(scene.band_names[band - 1] for band in bands),
        dtype=str(np.result_type(*(scene.dtypes[band - 1] for band in bands))),
        gsd_m=gsd_m,
        chunk_rows=scene.block_rows(_CHUNK_ROWS),
        block_rows=block,
        grid=chip_grid((axes[0].target_px, axes[1].target_px), spec.tile_px, spec.overlap_px, None),
    )


def _prefix(path: str, taken: set[str]) -> str:
    """The scene's name in the names of its chips: unique also where case does not count."""
    stem = re.sub(r"[^\w.-]+", "_", Path(path).stem) or "scene"
    prefix, number = stem, 2
    while prefix.casefold() in taken:
        prefix, number = f"{stem}-{number}", number + 1
    taken.add(prefix.casefold())
    return prefix


def _check_alike(scenes: Sequence[PlannedScene]) -> None:
    """A data set has one kind of image."""
    first = scenes[0]
    for other in scenes[1:]:
        if (len(other.bands), other.dtype) != (len(first.bands), first.dtype):
            raise InputError(
                f"{other.path} has {len(other.bands)} bands of {other.dtype}, "
                f"{first.path} {len(first.bands)} of {first.dtype}; a data set has one kind",
                hint="--bands 1,2,3 chooses bands; tile other types into another -o/--output",
            )
        if (other.frame.crs is None) != (first.frame.crs is None):
            without = other if other.frame.crs is None else first
            raise InputError(
                f"{without.path} has no CRS, and other scenes have one",
                hint="tile them into another -o/--output",
            )


def _made_from(spec: TileSpec) -> dict[str, Any]:
    values = asdict(spec)
    for name in ("scenes", "labels", "label_extent", "output", "overwrite", "restart"):
        del values[name]
    values["split_by"] = str(spec.split_by)
    extent = None if spec.label_extent is None else identity(spec.label_extent)
    return {
        "geotiler": __version__,
        "settings": values,
        "scenes": [identity(path) for path in spec.scenes],
        "labels": [identity(path) for path in spec.labels],
        "label_extent": extent,
    }


Units = dict[tuple[int, tuple[int, int]], str]
Shared = tuple[tuple[float, ...] | None, tuple[int, int] | None, list[PlannedScene], Units]


def _shared_out(spec: TileSpec, scenes: list[PlannedScene], notices: list[str]) -> Shared:
    """Shares, block size, scenes cut into such blocks, and what belongs together."""
    shares = spec.split
    splits = 0 if shares is None else sum(share > 0 for share in shares)
    block_px: tuple[int, int] | None = None
    if shares is not None and splits > 1 and spec.split_by is SplitBy.BLOCK:
        shapes = [scene.frame.shape for scene in scenes]
        block_px = fitted_block(shapes, spec.tile_px, spec.overlap_px, shares)
        if spec.block_px is not None:
            block_px = (spec.block_px, spec.block_px)
    cut = [
        replace(scene, grid=chip_grid(scene.frame.shape, spec.tile_px, spec.overlap_px, block_px))
        for scene in scenes
    ]
    units = _units(cut)
    found = len(set(units.values()))
    if found >= splits:
        return shares, block_px, cut, units
    what = "scene" if spec.split_by is SplitBy.SCENE else "block"
    message = f"{found} separate {what}{'s' if found != 1 else ''} cannot be split"
    if spec.is_split_asked:
        raise SpecError(
            f"{message} into {splits}",
            hint="try a smaller --tile or --block, --split-by block, or --split 1,0,0",
        )
    notices.append(f"{message}: all chips go to {SPLITS[0]}")
    return _shared_out(replace(spec, split=(1.0, 0.0, 0.0)), scenes, notices)


def _units(scenes: Sequence[PlannedScene]) -> Units:
    """Blocks that share ground, of different scenes, have one name; others have their own."""
    keys = [(number, block) for number, scene in enumerate(scenes) for block in scene.grid.blocks]
    names = [f"{scenes[number].prefix}:{row}-{col}" for number, (row, col) in keys]
    root = joined(len(keys), _shared_ground(scenes, keys) if len(scenes) > 1 else ())
    return {key: names[root[index]] for index, key in enumerate(keys)}


def _shared_ground(
    scenes: Sequence[PlannedScene], keys: Sequence[tuple[int, tuple[int, int]]]
) -> Iterable[tuple[int, int]]:
    if scenes[0].frame.crs is None:
        return ()
    common = scenes[0].frame.crs
    outlines: list[shapely.Polygon] = []
    for scene in scenes:
        mover = None
        if scene.frame.crs != common:
            mover = pyproj.Transformer.from_crs(
                scene.frame.crs.to_wkt(), common.to_wkt(), always_xy=True
            )
        for window in scene.grid.blocks.values():
            # In pixels first: they are smaller by the same part of a pixel everywhere.
            corners = corner_points(window)
            middle = corners.mean(axis=0)
            corners += np.sign(middle - corners) * _SHRUNK_PX
            placed = placed_points(scene.frame.transform, corners)
            if mover is not None:
                placed = np.stack(mover.transform(placed[:, 0], placed[:, 1]), axis=1)
            outlines.append(shapely.Polygon(placed))
    tree = shapely.STRtree(outlines)
    pairs = tree.query(outlines, predicate="intersects").T
    return [
        (int(one), int(other))
        for one, other in pairs
        if one < other and keys[one][0] != keys[other][0]
    ]

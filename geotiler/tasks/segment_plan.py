"""What `geotiler segment` will do, decided before any pixel is computed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.grid import Grid
from geotiler.core.resample import Axis
from geotiler.core.sweep import Span, SweepPlan, spanned, swept_columns
from geotiler.errors import SpecError
from geotiler.io.area import Area
from geotiler.io.asked_area import asked_area
from geotiler.io.bounds import few_pixels
from geotiler.io.class_raster import BACKGROUND, class_layout
from geotiler.io.fingerprint import scene_fingerprint
from geotiler.io.mosaic import mosaic_of
from geotiler.io.part_layout import RasterLayout
from geotiler.io.part_place import RasterParts, is_local, raster_parts
from geotiler.io.raster import Scene, open_scene
from geotiler.io.remote import is_remote
from geotiler.io.stac import scene_of_item
from geotiler.io.styles import style_notices
from geotiler.models.bundle import Bundle
from geotiler.models.networks import FROM_DISK, Networks
from geotiler.reports import Setting
from geotiler.specs import (
    MASK_NODATA,
    PROBABILITY_STEPS,
    Engine,
    Precision,
    Scale,
    SegmentSpec,
    Window,
)
from geotiler.tasks.segment_settings import (
    PANEL_PX,
    axes_setting,
    bands_setting,
    grid_setting,
    precision_setting,
    scale_setting,
    threshold_setting,
    tta_setting,
)
from geotiler.tasks.segment_targets import check_formats, check_room, check_targets, targets_of

_CHUNK_ROWS = 256

_AT_ONCE_PX = 2**22
"""Pixels of the largest output that waits in memory until it is finished."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Some rows of a panel: what one sweep deals with."""

    rows: Span
    columns: Span

    @property
    def windows(self) -> int:
        """Windows to deal with."""
        return len(self.rows.starts) * len(self.columns.starts)


@dataclass(frozen=True, kw_only=True)
class SegmentPlan:
    """Everything that decides the result, and what it will cost."""

    spec: SegmentSpec
    bundle: Bundle
    scene: dict[str, Any]
    """What tells the scene from others, see `scene_fingerprint`."""
    shape: tuple[int, int]
    bands: tuple[int, ...]
    scale: Scale
    axes: tuple[Axis, Axis]
    grid: Grid
    area: Area | None
    """What is asked for; None: everything."""
    dtype: str
    """Of the stored values."""
    ground_m: tuple[float, float] | None
    """Size (x, y) of a pixel on the ground, by the CRS if there is one, else by --scene-gsd."""
    threshold: float | None
    mask: RasterLayout
    chunk_rows: int
    settings: dict[str, Setting]
    notices: tuple[str, ...]

    @cached_property
    def window(self) -> Window:
        """The part of the scene that the outputs cover."""
        row, col = self.mask.origin
        height, width = self.mask.shape
        return Window(row=row, col=col, height=height, width=width)

    @property
    def rows(self) -> tuple[int, int]:
        """Scene rows [first, last) that are answered for."""
        return self.window.row, self.window.row_stop

    @cached_property
    def panels(self) -> list[Span]:
        """Column ranges, each swept by itself."""
        columns = self.window.col, self.window.col_stop
        return swept_columns(self.grid, self.axes[1], PANEL_PX, columns)

    def wanted(self, stretch: Stretch) -> NDArray[np.bool_] | None:
        """(rows, columns) of a stretch's windows: True where the area touches; None: all."""
        if self.area is None or self.area.is_box:
            return None
        limits = []
        for axis, span, side in zip(
            self.axes, (stretch.rows, stretch.columns), self.grid.tile_shape, strict=True
        ):
            ends = [min(start + side, axis.target_px) for start in span.starts]
            reached = [axis.needed(*ends_of) for ends_of in zip(span.starts, ends, strict=True)]
            margin = np.array([-1.0, 1.0])  # what rounding may add
            limits.append(np.array(reached, float) + margin)
        return self.area.touches(limits[0], limits[1])

    def stretch(self, columns: Span, rows: tuple[int, int]) -> Stretch:
        """What a sweep deals with to answer for some rows [first, last) of a panel."""
        starts, height = self.grid.rows, self.grid.tile_shape[0]
        return Stretch(rows=spanned(starts, height, self.axes[0], rows), columns=columns)

    @cached_property
    def windows(self) -> int:
        """Windows to deal with, those on panel boundaries counted for each panel."""
        return sum(self.stretch(panel, self.rows).windows for panel in self.panels)

    @property
    def wanted_windows(self) -> int:
        """As `windows`, without those that the area does not touch."""
        count = 0
        for panel in self.panels:
            stretch = self.stretch(panel, self.rows)
            wanted = self.wanted(stretch)
            count += stretch.windows if wanted is None else int(wanted.sum())
        return count

    def sweep_plan(self, stretch: Stretch, batch: int) -> SweepPlan:
        """The plan of one sweep."""
        card = self.bundle.card
        return SweepPlan(
            axes=self.axes,
            rows=stretch.rows,
            columns=stretch.columns,
            tile_shape=self.grid.tile_shape,
            classes=len(card.classes),
            scale=self.scale,
            mean=card.mean,
            std=card.std,
            batch=batch,
            counted=self._counted(stretch),
            wanted=self.wanted(stretch),
        )

    def _counted(self, stretch: Stretch) -> tuple[float, float]:
        """Network rows [first, last): a row of windows belongs to the stretch that it begins in, so
        that those that touch two are counted once.
        """
        ratio = self.axes[0].ratio
        first, last = stretch.rows.answered
        return (
            0.0 if first == self.rows[0] else first * ratio,
            math.inf if last == self.rows[1] else last * ratio,
        )

    def chunks(self, stretch: Stretch) -> Iterator[Window]:
        """Windows that a stretch's pixels are read by, whole block rows, top to bottom."""
        row, last = stretch.rows.read
        left, right = stretch.columns.read
        while row < last:
            stop = min(last, (row // self.chunk_rows + 1) * self.chunk_rows)
            yield Window(row=row, col=left, height=stop - row, width=right - left)
            row = stop

    @cached_property
    def is_lasting(self) -> bool:
        """False if finished strips need not outlive a kill: there is but one small window."""
        if self.spec.engine is Engine.DASK or not is_local(self.spec.output):
            return True  # who computes them is not who puts them together
        return self.windows > 1 or self.window.height * self.window.width > _AT_ONCE_PX

    @cached_property
    def mask_parts(self) -> RasterParts:
        """Where strips of the mask go."""
        return raster_parts(self.spec.output, self.mask, lasting=self.is_lasting)

    @cached_property
    def probability_parts(self) -> RasterParts | None:
        """Where strips of probability go, if they are asked for."""
        path = self.spec.probability
        if path is None:
            return None
        return raster_parts(path, self.probability, lasting=self.is_lasting)

    @property
    def parts(self) -> list[RasterParts]:
        """The outputs in the order in which they appear: when the mask is there, everything is."""
        return [parts for parts in (self.probability_parts, self.mask_parts) if parts is not None]

    @property
    def probability(self) -> RasterLayout:
        """Layout of the probability raster."""
        is_float = self.spec.probability_dtype == "float32"
        return RasterLayout(
            shape=self.mask.shape,
            origin=self.mask.origin,
            dtype=self.spec.probability_dtype,
            nodata=float("nan") if is_float else float(MASK_NODATA),
            transform=self.mask.transform,
            crs=self.mask.crs,
            bands=tuple(item.name for item in self.bundle.card.classes),
            scale=None if is_float else 1.0 / PROBABILITY_STEPS,
            tags={**self.mask.tags, "GEOTILER_CONTENT": "probability"},
            untold=self.mask.untold,
            categorical=False,
        )


def plan_segment(
    spec: SegmentSpec,
    networks: Networks = FROM_DISK,
    *,
    will_write: bool = True,
    yet_to_make: Collection[Path] = (),
) -> SegmentPlan:
    """The plan of one run, with every check that needs no pixel, cheapest first.

    Args:
        spec: what to do.
        networks: where the model comes from.
        will_write: check the outputs; False where only the scene is asked about.
        yet_to_make: folders that a run would make: they hold no output, and have no room to see.

    Raises:
        OutputError: target exists, cannot be written, or the disk is too small.
        ModelError: unknown or damaged model.
        InputError: the scene cannot be read or does not fit the model.
        SpecError: a setting does not fit scene or model.
    """
    if will_write:
        check_targets(spec, yet_to_make)
    spec = _with_scene(spec)
    with open_scene(spec.scene, drivers=spec.drivers, allow_remote=spec.allow_remote) as scene:
        bundle = networks.bundle(spec.model)
        if bundle.card.task != "segmentation":
            raise SpecError(
                f"model {bundle.card.name!r} does {bundle.card.task}, expected segmentation",
                hint="geotiler classify takes it; geotiler models list shows what each does",
            )
        if will_write:
            check_formats(spec, bundle, scene)
        plan = _planned(spec, bundle, scene, networks)
    if not will_write:
        return plan
    pixels = plan.window.height * plan.window.width
    check_room(spec, pixels, len(bundle.card.classes), yet_to_make)
    return replace(plan, notices=(*plan.notices, *style_notices(targets_of(spec))))


def _with_scene(spec: SegmentSpec) -> SegmentSpec:
    """The specification with what GDAL opens as its scene."""
    if spec.drivers is not None:
        return spec  # a file of a stranger: nothing is followed out of it
    if not spec.mosaic:
        return replace(spec, scene=scene_of_item(spec.scene, spec.asset))
    scenes = [scene_of_item(path, spec.asset) for path in spec.mosaic]
    scene = mosaic_of(scenes, allow_remote=spec.allow_remote)
    # Addresses that were named themselves need no further leave.
    allow_remote = spec.allow_remote or any(is_remote(path) for path in scenes)
    return replace(spec, scene=scene, allow_remote=allow_remote)


def _planned(spec: SegmentSpec, bundle: Bundle, scene: Scene, networks: Networks) -> SegmentPlan:
    notices: list[str] = []
    settings: dict[str, Setting] = {}
    bands = bands_setting(spec, bundle, scene, settings)
    scale = scale_setting(spec, bundle, scene, bands, settings, notices)
    axes = axes_setting(spec, bundle, scene, settings, notices)
    grid = grid_setting(spec, bundle, axes, settings, networks, notices)
    threshold = threshold_setting(spec, bundle, settings)
    precision_setting(spec, settings)
    tta_setting(spec, settings)
    area, window = _area(spec, scene, settings, notices)
    return SegmentPlan(
        spec=spec,
        bundle=bundle,
        scene=scene_fingerprint(scene, spec.hash_content),
        shape=scene.shape,
        bands=bands,
        scale=scale,
        axes=axes,
        grid=grid,
        area=area,
        dtype=scene.dtypes[bands[0] - 1],
        ground_m=scene.gsd_m or spec.gsd_m,
        threshold=threshold,
        mask=replace(
            _mask_layout(bundle, scene, window, settings),
            # Which was told only where it was asked for.
            untold=("precision",) if spec.precision is Precision.AUTO else (),
        ),
        chunk_rows=scene.block_rows(_CHUNK_ROWS),
        settings=settings,
        notices=tuple(notices),
    )


def _area(
    spec: SegmentSpec, scene: Scene, settings: dict[str, Setting], notices: list[str]
) -> tuple[Area | None, Window]:
    """What is asked for, and the window of the scene that it lies in."""
    area = asked_area(spec, scene)
    if area is None:
        return None, Window(row=0, col=0, height=scene.height, width=scene.width)
    window = area.window(scene.shape)
    if spec.bounds is not None and (told := few_pixels(window, scene)):
        notices.append(told)
    place = [window.row, window.col, window.height, window.width]
    settings["area_px"] = Setting(value=place, origin="flag")
    settings["scene_px"] = Setting(value=list(scene.shape), origin="scene")
    if not area.is_box:
        settings["area_outline"] = Setting(value=area.digest, origin="flag")
    return area, window


def _mask_layout(
    bundle: Bundle, scene: Scene, window: Window, settings: dict[str, Setting]
) -> RasterLayout:
    card = bundle.card
    classes = {item.id: (item.name, item.color) for item in card.classes}
    if card.activation == "sigmoid":
        classes = {0: ("background", BACKGROUND), **classes}
    return class_layout(
        classes,
        shape=window.shape,
        origin=(window.row, window.col),
        transform=scene.transform_of(window),
        crs=scene.crs,
        model=f"{card.name} {card.version}",
        digest=bundle.digest,
        settings={key: setting.value for key, setting in settings.items()},
    )

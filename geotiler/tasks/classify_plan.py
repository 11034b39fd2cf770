"""What `geotiler classify` will do with a scene, decided before any pixel is labelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.cells import CellAxis
from geotiler.core.label_sweep import LabelPlan
from geotiler.core.measure import Ground
from geotiler.core.resample import Axis
from geotiler.core.sweep import Span
from geotiler.errors import SpecError
from geotiler.io.area import Area
from geotiler.io.asked_area import asked_area
from geotiler.io.bounds import few_pixels
from geotiler.io.class_raster import class_layout, coarser
from geotiler.io.fingerprint import scene_fingerprint
from geotiler.io.journal import JOURNAL, Journal
from geotiler.io.outputs import check_not_read, check_output
from geotiler.io.part_layout import RasterLayout, raster_driver
from geotiler.io.parts import are_stored, parts_folder
from geotiler.io.raster import Scene
from geotiler.io.scene_source import SceneSource, scene_source
from geotiler.io.scene_tags import CONFIDENCE_CONTENT, CONTENT_TAG
from geotiler.io.styles import style_notices
from geotiler.io.vector_formats import STDOUT, check_target, kept_notices
from geotiler.models.bundle import Bundle
from geotiler.models.card import ModelCard
from geotiler.models.predictor import used_precision
from geotiler.reports import Setting
from geotiler.specs import MASK_NODATA, PROBABILITY_STEPS, ClassifySpec, Precision, Window
from geotiler.tasks.classify_area import AskedCells, asked_cells
from geotiler.tasks.classify_input import Decisions, Radiometry, find_classifier, radiometry
from geotiler.tasks.classify_resolution import (
    ROUNDING,
    fitting_overview,
    gsd_setting,
    network_axes,
)

WRITTEN, MAP, CONFIDENCE = "written", "map", "confidence"
"""Words of the journal: an output is about to appear."""

_MUCH_FINER = 2.0
"""Scenes that are finer than the model by more than that are told what becomes of their pixels."""

_FEW_TILES = 9
"""So few tiles are told with their size: whoever expects more has another scene in mind."""

_CHUNK_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class ClassifyPlan:
    """Everything that decides the result."""

    spec: ClassifySpec
    bundle: Bundle
    source: SceneSource
    scene: dict[str, Any]
    """What tells the scene from others, see `scene_fingerprint`."""
    overview: int | None
    """Overview that is read, counted from 0; None: full resolution."""
    shape: tuple[int, int]
    """(height, width) of what is read."""
    ground: Ground
    """Where the pixels of what is read lie."""
    gsd_m: tuple[float, float] | None
    """Size (x, y) that a pixel of what is read is taken to have."""
    ground_m: tuple[float, float] | None
    """The same on the ground: by the georeference where there is one, whatever was said."""
    radiometry: Radiometry
    axes: tuple[Axis, Axis]
    cells: AskedCells
    map: RasterLayout
    """Layout of the class raster: one pixel for each cell."""
    chunk_rows: int
    settings: dict[str, Setting]
    notices: tuple[str, ...]

    @property
    def tiles(self) -> int:
        """Tiles that are looked at, the empty ones included."""
        return self.cells.tiles

    @property
    def classes(self) -> dict[int, tuple[str, str]]:
        """Id → name and colour."""
        return _classes(self.bundle)

    @property
    def names(self) -> list[str]:
        """Name of each channel of the network's answer."""
        return [item.name for item in self.bundle.card.classes]

    @property
    def cell_edges_px(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Limits of the rows and of the columns of cells, in pixels of what is read.

        They end where that does: the last cells may be narrower.
        """
        rows, columns = (
            np.minimum(cells.edges / axis.ratio, axis.source_px)[first : first + count + 1]
            for cells, axis, first, count in zip(
                self.cells.whole, self.axes, self.cells.first, self.cells.shape, strict=True
            )
        )
        return rows, columns

    def label_plan(self, batch: int) -> LabelPlan:
        """The plan of the pass."""
        card = self.bundle.card
        (top, rows), (left, columns) = self.cells.parts
        return LabelPlan(
            axes=self.axes,
            cells=(rows, columns),
            origin_px=(top, left),
            wanted=None if self.cells.is_all else self.cells.wanted_tiles,
            classes=len(card.classes),
            scale=self.radiometry.scale,
            mean=card.mean,
            std=card.std,
            min_valid=self.spec.min_valid,
            batch=batch,
        )

    @property
    def read(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns [first, last) that a run reads."""
        rows, columns = self.label_plan(1).spans(self.cells.offset[0])
        return rows.read, columns.read

    def chunks(self, rows: Span, columns: Span) -> Iterator[Window]:
        """Windows that pixels are read by, whole block rows, top to bottom."""
        (row, last), (left, right) = rows.read, columns.read
        while row < last:
            stop = min(last, (row // self.chunk_rows + 1) * self.chunk_rows)
            yield Window(row=row, col=left, height=stop - row, width=right - left)
            row = stop

    @property
    def confidence_layout(self) -> RasterLayout:
        """Layout of the raster of the likeliest class's probability."""
        return RasterLayout(
            shape=self.map.shape,
            dtype="uint8",
            nodata=float(MASK_NODATA),
            transform=self.map.transform,
            crs=self.map.crs,
            bands=("confidence",),
            scale=1.0 / PROBABILITY_STEPS,
            tags={**self.map.tags, CONTENT_TAG: CONFIDENCE_CONTENT},
            categorical=False,
        )


def plan_classify(spec: ClassifySpec) -> ClassifyPlan:
    """The plan of one run, with every check that needs no pixel, cheapest first.

    Raises:
        OutputError: a target exists or cannot be written.
        ModelError: unknown or damaged model.
        InputError: the scene cannot be read or does not fit the model.
        SpecError: a setting does not fit scene or model.
    """
    own = own_outputs(spec)
    targets = _targets(spec, own)
    for target in targets:
        check_not_read(target, spec.scene)
        check_not_read(target, filter(None, [spec.aoi]), by="--aoi")
        check_output(target, spec.overwrite or target in own)
    if len({target.resolve() for target in targets}) < len(targets):
        raise SpecError("map and confidence need different files", hint="--confidence c.tif")
    source = scene_source(spec.scene)
    with source.open() as scene:
        bundle = find_classifier(spec.model)
        for target in targets:
            check_not_read(target, scene.files)
        plan = _planned(spec, bundle, source, scene)
    notices = [*plan.notices, *style_notices(targets), *kept_notices(spec.output)]
    return replace(plan, notices=tuple(notices))


def cells_output(spec: ClassifySpec) -> Path:
    """What the folder of labelled cells is named after, as a raster's parts are after it."""
    return Path(f"{spec.output}.cells")


def own_outputs(spec: ClassifySpec) -> list[Path]:
    """Outputs that an unfinished run has written, unchanged: the same command replaces them."""
    if spec.output == STDOUT:
        return []
    _, lines = Journal(parts_folder(cells_output(spec)) / JOURNAL).read()
    places = {MAP: Path(spec.output), CONFIDENCE: spec.confidence}
    told = [line[WRITTEN] for line in lines if isinstance(line.get(WRITTEN), dict)]
    return [
        path
        for name, path in places.items()
        if path is not None and any(set(t) == {name} and are_stored(t, places.get) for t in told)
    ]


def _targets(spec: ClassifySpec, own: Sequence[Path]) -> list[Path]:
    """Files that will be written. Raises: SpecError: an unknown suffix."""
    if spec.is_vector:
        check_target(spec.output, spec.overwrite or Path(spec.output) in own, append=None)
        targets = [] if spec.output == STDOUT else [Path(spec.output)]
    else:
        raster_driver(Path(spec.output))
        targets = [Path(spec.output)]
    if spec.confidence is not None:
        raster_driver(spec.confidence)
        targets.append(spec.confidence)
    return targets


def _planned(spec: ClassifySpec, bundle: Bundle, source: SceneSource, scene: Scene) -> ClassifyPlan:
    decisions = Decisions()
    values = radiometry(spec.radiometry, bundle.card, source, scene, decisions)
    gsd_m = gsd_setting(spec, bundle, scene, decisions)
    overview = fitting_overview(scene, gsd_m, bundle.card.gsd_m)
    scene_gsd_m = gsd_m
    with source.open(overview) as read:
        factors = scene.width / read.width, scene.height / read.height
        if gsd_m is not None:
            gsd_m = gsd_m[0] * factors[0], gsd_m[1] * factors[1]
        decisions.say("overview", round(max(factors), 2) if overview is not None else 1, "scene")
        axes = network_axes(spec, bundle, read, gsd_m)
        decisions.say("network_px", [axis.target_px for axis in axes], "scene")
        whole = _cells(spec, bundle, read, axes, decisions)
        area = asked_area(spec, scene)
        cells = asked_cells(whole, axes, area and area.scaled(1 / factors[0], 1 / factors[1]))
        _say_area(spec, scene, area, cells, decisions)
        decisions.notices.extend(_size_notices(scene, bundle.card, scene_gsd_m, cells))
        used = used_precision(spec.run.precision, spec.run.backend, spec.run.device)
        asked = spec.run.precision is not Precision.AUTO
        decisions.say("precision", used.value, "flag" if asked else "default")
        return ClassifyPlan(
            spec=spec,
            bundle=bundle,
            source=source,
            scene=scene_fingerprint(scene, spec.hash_content, overview is not None),
            overview=overview,
            shape=read.shape,
            ground=Ground(tuple(read.transform), None if read.crs is None else read.crs.to_wkt()),
            gsd_m=gsd_m,
            ground_m=read.gsd_m or gsd_m,
            radiometry=values,
            axes=axes,
            cells=cells,
            map=_map_layout(bundle, read, axes, cells, decisions),
            chunk_rows=read.block_rows(_CHUNK_ROWS),
            settings=decisions.settings,
            notices=tuple(decisions.notices),
        )


def _cells(
    spec: ClassifySpec,
    bundle: Bundle,
    scene: Scene,
    axes: tuple[Axis, Axis],
    decisions: Decisions,
) -> tuple[CellAxis, CellAxis]:
    tile_px = bundle.card.tile_px
    height, width = (axis.target_px for axis in axes)
    if min(height, width) < tile_px and not spec.insist:
        gsd_m = bundle.card.gsd_m
        where = f" at the model's {gsd_m:g} m" if gsd_m else ""
        side = f" ({tile_px * gsd_m:g} m)" if gsd_m else ""
        raise SpecError(
            f"{scene.path} has {height}×{width} px{where}, less than one tile of "
            f"{tile_px}×{tile_px}{side}",
            hint="classify --insist mirrors it to fill a tile; without -o it is one image",
        )
    stride_px = spec.stride_px or tile_px
    decisions.say("tile_px", tile_px, "model card")
    decisions.say("stride_px", stride_px, "flag" if spec.stride_px else "model card")
    decisions.say("min_valid", spec.min_valid, "default" if spec.min_valid == 0.5 else "flag")
    rows, cols = (
        CellAxis(length_px=length, tile_px=tile_px, stride_px=stride_px)
        for length in (height, width)
    )
    return rows, cols


def _size_notices(
    scene: Scene,
    card: ModelCard,
    gsd_m: tuple[float, float] | None,
    cells: AskedCells,
) -> list[str]:
    """A line about a scene whose map may be coarser than expected: how coarse, and what to do."""
    if gsd_m is None or card.gsd_m is None:
        return []
    finer = card.gsd_m / max(gsd_m)
    tiles, (height, width) = cells.tiles, cells.shape
    if finer <= _MUCH_FINER * ROUNDING and tiles > _FEW_TILES:
        return []
    averaged = (
        f"{max(gsd_m):.3g} m per pixel are averaged to the model's {card.gsd_m:g} m"
        if finer > _MUCH_FINER * ROUNDING
        else f"at the model's {card.gsd_m:g} m"
    )
    stride_px = cells.whole[0].stride_px
    smaller_px = max(1, min(stride_px, card.tile_px) // 4)
    return [
        f"{scene.path}: {averaged}, {tiles:,} tile{'s' * (tiles > 1)} of "
        f"{card.tile_px * card.gsd_m:g} m make {height:,}×{width:,} cells of "
        f"{stride_px * card.gsd_m:g} m; --stride {smaller_px} makes cells of "
        f"{smaller_px * card.gsd_m:g} m, and single objects are for geotiler segment"
    ]


def _classes(bundle: Bundle) -> dict[int, tuple[str, str]]:
    return {item.id: (item.name, item.color) for item in bundle.card.classes}


def _say_area(
    spec: ClassifySpec, scene: Scene, area: Area | None, cells: AskedCells, decisions: Decisions
) -> None:
    """Note which cells are asked for, where an area says it."""
    if area is None:
        return
    if spec.bounds is not None and (told := few_pixels(area.window(scene.shape), scene)):
        decisions.notices.append(told)
    decisions.say("area_cells", [*cells.first, *cells.shape], "flag")
    if cells.wanted is not None:
        decisions.say("area_outline", area.digest, "flag")


def _map_layout(
    bundle: Bundle,
    scene: Scene,
    axes: tuple[Axis, Axis],
    cells: AskedCells,
    decisions: Decisions,
) -> RasterLayout:
    """Layout of the class raster."""
    down, across = (
        cell.stride_px / axis.ratio for cell, axis in zip(cells.whole, axes, strict=True)
    )
    return class_layout(
        _classes(bundle),
        shape=cells.shape,
        transform=coarser(scene.transform, across, down, cells.first),
        crs=scene.crs,
        model=f"{bundle.card.name} {bundle.card.version}",
        digest=bundle.digest,
        settings={key: setting.value for key, setting in decisions.settings.items()},
    )

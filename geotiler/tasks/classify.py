"""`geotiler classify` on a scene: tiles are labelled, and the labels become a map.

One pass from top to bottom: strips are read ahead by a thread, tiles are cut from them and given
to the network, answers become cells, finished rows of cells become pixels or polygons. Nothing
here grows with the scene's height.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from geotiler.core.cells import FinishedCells
from geotiler.core.label_sweep import LabelCounts, label_cells
from geotiler.core.masks import class_ids, quantised
from geotiler.engines.ordered import ordered_map
from geotiler.io.part_layout import Part
from geotiler.io.parts import Parts, hold_parts
from geotiler.io.scene_reader import SceneReader
from geotiler.io.vector import write_features
from geotiler.machine import peak_memory_bytes
from geotiler.models.predictor import Predictor
from geotiler.progress import Notice, Reporter, StageAdvanced, StageFinished, StageStarted, silent
from geotiler.reports import Report, Setting
from geotiler.specs import ClassifySpec
from geotiler.tasks.classify_input import open_classifier
from geotiler.tasks.classify_plan import CONFIDENCE, MAP, ClassifyPlan, plan_classify
from geotiler.tasks.classify_polygons import CellPolygons
from geotiler.tasks.classify_work import CellStore, opened_cells

_PART_CELLS = 250_000
"""About how many cells are held before they are written to a map."""

_STORED_CELLS = 4096
"""About how many labelled cells a run that is killed may lose."""


@dataclass(frozen=True, kw_only=True)
class ClassifyReport(Report):
    """What a run did, and what it cost."""

    scene: str
    output: str
    confidence: Path | None
    shape: tuple[int, int]
    """(height, width) of the scene, or of the overview that was read, in pixels."""
    cells: tuple[int, int]
    """Cells (down, across)."""
    cell_m: tuple[float, float] | None
    """Size (x, y) of a cell on the ground."""
    tiles: int
    """Tiles that the network labelled in this run."""
    skipped: int
    """Tiles with too few valid pixels, never computed."""
    resumed_cells: int
    """Cells that an earlier run had finished."""
    polygons: int | None
    """Features of a vector map."""
    seconds: float
    network_seconds: float
    """Of these, waiting for the network."""
    peak_memory_bytes: int
    class_cells: dict[str, int]
    """Cells of each class; those without a label are nodata, outside of an area they are none."""
    class_area_m2: dict[str, float] | None
    """Ground of each class inside the scene, whose last cells are narrower; None where the size of
    a pixel is not known."""
    mean_confidence: float | None
    """Of the labelled cells."""
    backend: str
    model: str
    settings: dict[str, Setting]
    """Each setting with where it came from."""


@dataclass(frozen=True, kw_only=True)
class ClassifyEstimate(Report):
    """What a run would do (`--dry-run`)."""

    scene: str
    shape: tuple[int, int]
    cells: tuple[int, int]
    tiles: int
    """Tiles to be looked at, the empty ones included."""
    seconds: float
    """All tiles times the measured time of one."""
    memory_bytes: int
    """Peak so far, with the network loaded and run, plus the rows held on the way."""
    backend: str
    model: str
    settings: dict[str, Setting]
    notices: tuple[str, ...]
    """What a run would tell before it begins."""


def classify(
    spec: ClassifySpec, *, report: Reporter = silent, stream: TextIO | None = None
) -> ClassifyReport:
    """Label a scene and write its map.

    Args:
        spec: what to do.
        report: hears progress and notices.
        stream: where GeoJSON goes when the output is "-".

    Raises:
        GeotilerError: see `plan_classify`; DeviceError where device or memory are not there. The
            targets are absent or whole in every case.
    """
    plan = plan_classify(spec)
    for notice in plan.notices:
        report(Notice(message=notice, warning=True))
    predictor = open_classifier(plan.bundle, spec.run)
    with opened_cells(plan, predictor, report) as store:
        run = _Run(plan, predictor, report, store)
        if spec.is_vector:
            run.to_polygons(stream)
        else:
            run.to_raster()
        return run.result()


def estimate(spec: ClassifySpec) -> ClassifyEstimate:
    """What `classify` would do, after loading the model and timing one batch; writes nothing.

    Raises:
        GeotilerError: as `classify`, as far as it shows before the scene is labelled.
    """
    plan = plan_classify(spec)
    card = plan.bundle.card
    predictor = open_classifier(plan.bundle, spec.run)
    batch = np.zeros((predictor.batch, len(card.bands), *predictor.tile_shape), np.float32)
    predictor(batch)
    started = time.perf_counter()
    predictor(batch)
    seconds = (time.perf_counter() - started) / predictor.batch * plan.tiles
    # Three chunks of raw values, one row of tiles as float32, and a part of it once more.
    rows, columns = (last - first for first, last in plan.read)
    raw = 3 * min(plan.chunk_rows, rows) * columns * 2 * len(card.bands)
    held = 2 * card.tile_px * plan.cells.parts[1][1].length_px * 4 * len(card.bands)
    return ClassifyEstimate(
        scene=plan.source.name,
        shape=plan.shape,
        cells=plan.map.shape,
        tiles=plan.tiles,
        seconds=round(seconds, 1),
        memory_bytes=peak_memory_bytes() + raw + held,
        backend=predictor.name,
        model=f"{card.name} {card.version}",
        settings=plan.settings,
        notices=plan.notices,
    )


class _Run:
    """One pass over a scene, and what it counted."""

    def __init__(
        self, plan: ClassifyPlan, predictor: Predictor, report: Reporter, store: CellStore | None
    ) -> None:
        self._plan = plan
        self._predictor = predictor
        self._report = report
        self._store = store
        self._resumed_cells = 0 if store is None else store.rows * plan.map.shape[1]
        self._started = time.perf_counter()
        self._network_seconds = 0.0
        self._counts = LabelCounts()
        self._class_cells = np.zeros(len(plan.names), np.int64)
        self._class_px = np.zeros(len(plan.names))
        self._confidence_sum = 0.0
        self._polygons: int | None = None
        self._confidence_placed: list[Part] = []

    def to_raster(self) -> None:
        """Write the class raster, its style, and the confidence where it is asked for."""
        plan = self._plan
        output = Path(plan.spec.output)
        ids = [item.id for item in plan.bundle.card.classes]
        with ExitStack() as stack:
            parts = _held(Parts(output, plan.map), stack)
            confidence = self._confidence_parts(stack)
            placed = [
                parts.write(
                    rows.row,
                    0,
                    class_ids(rows.probabilities, rows.known, ids=ids, threshold=None)[None],
                )
                for rows in self._stored(confidence)
            ]
            self._finish(confidence)
            # The map last: when it is there, everything is.
            parts.assemble(placed, self._may_replace(output), self._told(MAP))

    def to_polygons(self, stream: TextIO | None) -> None:
        """Write the cells, or what becomes of them when they are merged, as polygons."""
        plan = self._plan
        cells = CellPolygons(plan)
        with ExitStack() as stack:
            confidence = self._confidence_parts(stack)
            write_features(
                plan.spec.output,
                cells.batches(self._stored(confidence)),
                cells.layer,
                overwrite=self._may_replace(Path(plan.spec.output)),
                stream=stream,
                ready=self._told_features(),
            )
            self._finish(confidence)
        self._polygons = cells.count

    def result(self) -> ClassifyReport:
        """What was done so far."""
        plan = self._plan
        card = plan.bundle.card
        known = int(self._class_cells.sum())
        cell_m = None
        if plan.gsd_m is not None:
            x, y = (
                round(plan.cells.whole[0].stride_px * gsd / axis.ratio, 3)
                for gsd, axis in zip(plan.gsd_m, reversed(plan.axes), strict=True)
            )
            cell_m = x, y
        counts = {
            name: int(count) for name, count in zip(plan.names, self._class_cells, strict=True)
        }
        return ClassifyReport(
            scene=plan.source.name,
            output=plan.spec.output,
            confidence=plan.spec.confidence,
            shape=plan.shape,
            cells=plan.map.shape,
            cell_m=cell_m,
            tiles=self._counts.computed,
            skipped=self._counts.skipped,
            resumed_cells=self._resumed_cells,
            polygons=self._polygons,
            seconds=round(time.perf_counter() - self._started, 3),
            network_seconds=round(self._network_seconds, 3),
            peak_memory_bytes=peak_memory_bytes(),
            class_cells={**counts, "nodata": plan.cells.count - known},
            class_area_m2=self._class_area_m2(),
            mean_confidence=round(self._confidence_sum / known, 4) if known else None,
            backend=self._predictor.name,
            model=f"{card.name} {card.version}",
            settings=plan.settings,
        )

    def _class_area_m2(self) -> dict[str, float] | None:
        ground_m = self._plan.ground_m
        if ground_m is None:
            return None
        areas = (self._class_px * ground_m[0] * ground_m[1]).round(1)
        return dict(zip(self._plan.names, areas.tolist(), strict=True))

    def _confidence_parts(self, stack: ExitStack) -> Parts | None:
        path = self._plan.spec.confidence
        return None if path is None else _held(Parts(path, self._plan.confidence_layout), stack)

    def _finish(self, confidence: Parts | None) -> None:
        if confidence is not None:
            may_replace = self._may_replace(confidence.output)
            confidence.assemble(self._confidence_placed, may_replace, self._told(CONFIDENCE))

    def _may_replace(self, path: Path) -> bool:
        """Whether an output that is there may go: it may, or it is of a run that goes on here."""
        return self._plan.spec.overwrite or (self._store is not None and path in self._store.own)

    def _told(self, name: str) -> Callable[[Path], None] | None:
        """What hears of an output just before it appears."""
        return None if self._store is None else partial(self._store.written, name)

    def _told_features(self) -> Callable[[list[Path]], None] | None:
        tell = self._told(MAP)
        name = Path(self._plan.spec.output).name
        if tell is None:
            return None
        return lambda files: tell(next(path for path in files if path.name == name))

    def _stored(self, confidence: Parts | None) -> Iterator[FinishedCells]:
        """Labelled rows of cells, their confidence stored and everything counted on the way."""
        for rows in _gathered(self._kept(), _PART_CELLS):
            best = rows.probabilities.max(axis=0)
            likeliest = rows.probabilities.argmax(axis=0)[rows.known]
            self._class_cells += np.bincount(likeliest, minlength=len(self._class_cells))
            heights, widths = (np.diff(edges) for edges in self._plan.cell_edges_px)
            area_px = np.outer(heights[rows.row : rows.row + len(rows.known)], widths)[rows.known]
            self._class_px += np.bincount(likeliest, area_px, len(self._class_px))
            self._confidence_sum += float(best[rows.known].sum(dtype=np.float64))
            if confidence is not None:
                part = confidence.write(rows.row, 0, quantised(best[None], rows.known))
                self._confidence_placed.append(part)
            yield rows

    def _kept(self) -> Iterator[FinishedCells]:
        """Finished rows of cells, those of an earlier run first."""
        if self._store is None:
            yield from self._labelled(0)
            return
        yield from self._store.read()
        for rows in _gathered(self._labelled(self._store.rows), _STORED_CELLS):
            self._store.keep(rows)
            yield rows

    def _labelled(self, first: int) -> Iterator[FinishedCells]:
        """Finished rows of cells from one on; reading runs ahead of the network in a thread."""
        plan = self._plan
        stage = "classify"
        self._report(StageStarted(stage=stage, total=plan.tiles, unit="tile"))
        if first < plan.map.shape[0]:
            self._report(StageAdvanced(stage=stage, amount=plan.cells.tiles_before(first)))
            yield from self._swept(first, stage)
        self._report(StageFinished(stage=stage))

    def _swept(self, first: int, stage: str) -> Iterator[FinishedCells]:
        plan = self._plan
        label_plan = plan.label_plan(self._predictor.batch)
        first += plan.cells.offset[0]
        windows = plan.chunks(*label_plan.spans(first))
        reader = SceneReader(
            plan.source.gdal_name,
            plan.radiometry.bands,
            name=plan.source.name,
            overview=plan.overview,
            drivers=plan.source.drivers,
            allow_remote=plan.source.is_remote,
        )
        with (
            closing(reader),
            closing(ordered_map(reader, windows, threads=1, ahead=2)) as chunks,
        ):
            found = label_cells(
                chunks,
                self._timed,
                label_plan,
                self._counts,
                lambda tiles: self._report(StageAdvanced(stage=stage, amount=tiles)),
                first,
            )
            yield from (rows for cells in found if len((rows := plan.cells.taken(cells)).known))

    def _timed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        started = time.perf_counter()
        answer = self._predictor(batch)
        self._network_seconds += time.perf_counter() - started
        return answer


def _held(parts: Parts, stack: ExitStack) -> Parts:
    """The same parts, their folder empty, held for this run and removed when the stack closes."""
    folder = hold_parts(parts.output)
    stack.callback(folder.remove)
    folder.clear()  # what a run that was killed has left is not gone on with
    return parts


def _gathered(rows: Iterator[FinishedCells], count: int) -> Iterator[FinishedCells]:
    """The same rows, at least `count` cells at a time, but for the last ones."""
    held: list[FinishedCells] = []
    for each in rows:
        held.append(each)
        if sum(item.known.size for item in held) >= count:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(rows: list[FinishedCells]) -> FinishedCells:
    return FinishedCells(
        row=rows[0].row,
        probabilities=np.concatenate([item.probabilities for item in rows], axis=1),
        known=np.concatenate([item.known for item in rows]),
    )

"""`geotiler tile`: scenes and labels in, a data set of chips out.

Each scene is read once from top to bottom, in panels if it is very wide; chips are cut from the
rows that are held and written as they are finished, a row of them at a time. What needs the whole
data set - which empty chips stay, which block goes to which split - is decided at the end, from
counts. Nothing here grows with the size of scenes or labels' ground.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.chips import ChipRow, Chunk, chip_rows, masked_labels, panels, read_windows
from geotiler.core.radiometry import border_nodata
from geotiler.engines.ordered import ordered_map
from geotiler.errors import InputError
from geotiler.io.chip_folder import ChipFolder, ChipRecord, RowRecord
from geotiler.io.chips import ChipPlace, image_bytes, mask_bytes, write_bytes
from geotiler.io.scene_reader import SceneReader
from geotiler.io.work_folder import held
from geotiler.machine import peak_memory_bytes
from geotiler.progress import Notice, Reporter, StageAdvanced, StageFinished, StageStarted, silent
from geotiler.reports import Report
from geotiler.specs import TileSpec, Window
from geotiler.tasks.tile_finish import finished_data_set
from geotiler.tasks.tile_plan import PlannedScene, TilePlan, plan_tile

STAGE = "tile"
LARGEST_PICTURE_PX = 2**24
"""Larger scenes are not read whole to find black bands along their edges."""

HELD_BYTES = 64 * 2**20
"""Pixels of a scene that are held at once, about; wider scenes are cut in panels."""


@dataclass(frozen=True, kw_only=True)
class TileReport(Report):
    """What is in the data set, and what was left out."""

    output: Path
    scenes: int
    chips: int
    with_objects: int
    splits: dict[str, int]
    """Chips of each split."""
    class_px: dict[str, int]
    """Pixels of each class in all chips."""
    ignored_px: int
    """Mask pixels that are 255: nodata, or not labelled."""
    left_out: dict[str, int]
    """Reason → chips that were not written, or not kept."""
    bad_features: int
    """Features that --skip-bad left out."""
    bad_scenes: int
    """Scenes that --skip-bad left out."""
    resumed: int
    """Chips that an earlier run had finished."""
    tile_px: tuple[int, int]
    block_px: tuple[int, int] | None
    gsd_m: float | None
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class TileEstimate(Report):
    """What a run would do (`--dry-run`)."""

    output: Path
    scenes: int
    chips: int
    """At most: chips without valid pixels, and surplus empty ones, will be left out."""
    finished: int
    """Chips of an interrupted run that are there already."""
    blocks: int
    """Blocks, or scenes, that splits keep together."""
    block_px: tuple[int, int] | None
    labels: dict[str, list[str]]
    """Scene → the label files that it takes."""


def tile(spec: TileSpec, *, report: Reporter = silent) -> TileReport:
    """Cut scenes and labels into chips, with an index, split lists and a contact sheet.

    An interrupted run goes on; a complete data set of the same command is left as it is.

    Args:
        spec: what to do.
        report: hears progress and notices.

    Raises:
        GeotilerError: see `plan_tile`; InputError where a scene is damaged or no chip is left;
            OutputError where the disk refuses. Finished chips are kept.
    """
    started = time.perf_counter()
    folder = ChipFolder(spec.output, bool(spec.labels))
    plan = plan_tile(spec, folder)
    for notice in plan.notices:
        report(Notice(message=notice, warning=True))
    finished = plan.opened.finished
    if finished is not None:
        if folder.is_complete(folder.listed()):
            report(Notice(message=f"{spec.output} is complete already; --overwrite makes it again"))
            return _report(spec, finished, finished["chips"], started)
        report(Notice(message=f"{spec.output} lacks some of its chips: it is made again"))
        return tile(replace(spec, overwrite=True), report=report)
    with held(spec.output):
        folder.begin(plan.made_from, plan.opened)
        run = _Run(plan=plan, folder=folder, report=report, rows=list(plan.opened.rows))
        resumed = sum(len(row.chips) for row in run.rows)
        report(StageStarted(stage=STAGE, total=plan.chips, unit="chip"))
        done = sum(len(row.chips) + sum(row.left_out.values()) for row in run.rows)
        report(StageAdvanced(stage=STAGE, amount=done))
        for number, scene in enumerate(plan.scenes):
            run.add_scene(number, scene)
        report(StageFinished(stage=STAGE))
        description = finished_data_set(plan, folder, run.rows, report)
        return _report(spec, description, resumed, started)


def _report(
    spec: TileSpec, description: dict[str, Any], resumed: int, started: float
) -> TileReport:
    splits = description["splits"]
    class_px: dict[str, int] = {}
    ignored_px = 0
    for share in splits.values():
        ignored_px += share["px"] - share["labelled_px"] if spec.labels else 0
        for name, count in share["class_px"].items():
            class_px[name] = class_px.get(name, 0) + count
    block_px = description["block_px"]
    return TileReport(
        output=spec.output,
        scenes=len(description["scenes"]),
        chips=description["chips"],
        with_objects=description["with_objects"],
        splits={name: share["chips"] for name, share in splits.items()},
        class_px=class_px,
        ignored_px=ignored_px,
        left_out=description["left_out"],
        bad_features=sum(description["bad_features"].values()),
        bad_scenes=description["bad_scenes"],
        resumed=resumed,
        tile_px=spec.tile_px,
        block_px=None if block_px is None else (block_px[0], block_px[1]),
        gsd_m=description["gsd_m"],
        seconds=round(time.perf_counter() - started, 3),
        peak_memory_bytes=peak_memory_bytes(),
    )


def estimate(spec: TileSpec) -> TileEstimate:
    """What `tile` would do; reads no pixels and writes nothing.

    Raises:
        GeotilerError: as `tile`, as far as it shows before the pixels are read.
    """
    plan = plan_tile(spec, ChipFolder(spec.output, bool(spec.labels)))
    labels = {} if plan.labels is None else plan.labels.of_scene
    return TileEstimate(
        output=spec.output,
        scenes=len(plan.scenes),
        chips=plan.chips,
        finished=sum(len(row.chips) for row in plan.opened.rows),
        blocks=len(set(plan.units.values())),
        block_px=plan.block_px,
        labels={path: list(files) for path, files in labels.items()},
    )


@dataclass(kw_only=True)
class _Run:
    """A data set on its way."""

    plan: TilePlan
    folder: ChipFolder
    report: Reporter
    rows: list[RowRecord]
    """Finished, in any order."""
    threads: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))

    def add_scene(self, number: int, scene: PlannedScene) -> None:
        """Write the chips of a scene that are not there yet."""
        done = {(row.scene, row.panel, row.row) for row in self.rows}
        height, width = scene.grid.chip_shape
        firsts = [row for row, _ in scene.grid.rows.chips]
        pixel_bytes = len(scene.bands) * np.dtype(scene.dtype).itemsize + 1
        columns = [col for col, _ in scene.grid.cols.chips]
        groups = panels(scene.cutter, columns, scene.grid.chip_shape, pixel_bytes, HELD_BYTES)
        with ExitStack() as stack:
            labels = None
            if self.plan.labels is not None:
                labels = stack.enter_context(self.plan.labels.opened(scene.frame))
            reader = stack.enter_context(closing(SceneReader(scene.path, scene.bands)))
            for panel, cols in enumerate(groups):
                across = cols[-1] + width - cols[0]
                rows = [
                    Window(row=row, col=cols[0], height=height, width=across)
                    for row in firsts
                    if (number, panel, row) not in done
                ]
                for chips, row in self._pixels(scene, rows, reader):
                    known = None if labels is None else labels.read(row)
                    self._add_row((number, panel), scene, (row, cols), chips, known)

    def _pixels(
        self, scene: PlannedScene, rows: Sequence[Window], reader: SceneReader
    ) -> Iterator[tuple[ChipRow, Window]]:
        """Source pixels of each row of chips; reading runs ahead in a thread."""
        inside = self._inside_border(scene, reader)

        def read(window: Window) -> tuple[Window, Chunk]:
            try:
                values, valid = reader(window)
            except InputError:
                if not self.plan.spec.skip_bad:
                    raise
                values, valid = self._readable(scene, window, reader)
            return window, (values, valid if inside is None else valid & inside[window.slices])

        windows = read_windows(scene.cutter, rows, scene.chunk_rows)
        reading = ordered_map(read, windows, threads=1, ahead=2)
        with closing(reading):
            for chips in chip_rows(scene.cutter, rows, reading):
                yield chips, rows[chips.index]

    def _inside_border(self, scene: PlannedScene, reader: SceneReader) -> NDArray[np.bool_] | None:
        """(row, col) of the scene: False in its black bands; None where these do not count."""
        height, width = scene.frame.scene_shape
        if not self.plan.spec.black_border or scene.dtype != "uint8":
            return None
        if height * width > LARGEST_PICTURE_PX:
            message = f"{scene.path} is too large for its black bands to be looked for"
            self.report(Notice(message=message, warning=True))
            return None
        try:
            values, _ = reader(Window(row=0, col=0, height=height, width=width))
        except InputError:
            if self.plan.spec.skip_bad:
                return None
            raise
        return border_nodata(np.ascontiguousarray(values.transpose(1, 2, 0)))

    def _readable(self, scene: PlannedScene, window: Window, reader: SceneReader) -> Chunk:
        """What can be read of a window, a row of stored blocks at a time; the rest is nodata."""
        values = np.zeros((len(scene.bands), *window.shape), scene.dtype)
        valid = np.zeros(window.shape, bool)
        for row in range(window.row, window.row_stop, scene.block_rows):
            height = min(scene.block_rows, window.row_stop - row)
            part = replace(window, row=row, height=height)
            inside = slice(row - window.row, row - window.row + height)
            try:
                values[:, inside], valid[inside] = reader(part)
            except InputError as error:
                message = f"{error.message}: taken as nodata"
                self.report(Notice(message=message, warning=True))
        return values, valid

    def _add_row(
        self,
        place: tuple[int, int],
        scene: PlannedScene,
        where: tuple[Window, Sequence[int]],
        pixels: ChipRow,
        labels: NDArray[np.uint8] | None,
    ) -> None:
        """Write a row of chips and note that it is finished."""
        row, cols = where
        windows = [
            Window(row=row.row, col=col, height=row.height, width=scene.grid.chip_shape[1])
            for col in cols
        ]

        def write(window: Window) -> ChipRecord | str:
            values, valid = scene.cutter.cut(pixels.values, pixels.valid, pixels.origin, window)
            left = window.col - row.col
            known = None if labels is None else labels[:, left : left + window.width]
            return self._write(place[0], scene, window, values, valid, known)

        chips: list[ChipRecord] = []
        left_out: dict[str, int] = {}
        for outcome in ordered_map(write, windows, threads=self.threads, ahead=2 * self.threads):
            if isinstance(outcome, str):
                left_out[outcome] = left_out.get(outcome, 0) + 1
            else:
                chips.append(outcome)
            self.report(StageAdvanced(stage=STAGE, amount=1))
        record = RowRecord(
            scene=place[0], panel=place[1], row=row.row, chips=chips, left_out=left_out
        )
        self.folder.finish_row(record)
        self.rows.append(record)

    def _write(
        self,
        number: int,
        scene: PlannedScene,
        window: Window,
        values: NDArray[Any],
        valid: NDArray[np.bool_],
        labels: NDArray[np.uint8] | None,
    ) -> ChipRecord | str:
        """Write one chip, or say why not."""
        masked, counts = masked_labels(labels, valid)
        if not counts.valid_px:
            return "nodata"
        if counts.valid_px < self.plan.spec.min_valid * valid.size:
            return "min_valid"
        if masked is not None and not counts.labelled_px:
            return "unlabelled"
        place = ChipPlace(
            name=f"{scene.prefix}_r{window.row:06d}_c{window.col:06d}",
            transform=scene.frame.transform_of(window),
            crs=scene.frame.crs,
        )
        if masked is not None and self.plan.labels is not None:
            data = mask_bytes(masked, place, self.plan.labels.classes)
            write_bytes(self.folder.mask(place.name), data)
        data = image_bytes(values, valid, place, scene.band_names)
        write_bytes(self.folder.image(place.name), data)
        return ChipRecord(
            name=place.name, scene=number, row=window.row, col=window.col, height=window.height,
            width=window.width, block=_block(scene, window), valid_px=counts.valid_px,
            labelled_px=counts.labelled_px, class_px=counts.class_px,
        )  # fmt: skip


def _block(scene: PlannedScene, window: Window) -> tuple[int, int]:
    return dict(scene.grid.rows.chips)[window.row], dict(scene.grid.cols.chips)[window.col]

"""A mask to polygons: outlines, regularized, measured and written, a strip at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from geotiler.core.coverage import CONTOUR_PX, TOLERANCE_PX, simplified_coverage
from geotiler.core.measure import Ground
from geotiler.core.neighbours import Drawn, Neighbourhood, concatenated, drawn_features
from geotiler.core.outlines import Outlines, joined_outlines
from geotiler.core.polygons import PolygonStream
from geotiler.core.snapping import snapped
from geotiler.errors import SpecError
from geotiler.io.styles import style_notices
from geotiler.io.vector import FeatureBatch, write_features
from geotiler.io.vector_formats import (
    SHAPEFILE_LIMITS,
    check_target,
    check_texts,
    highest_id,
    is_geojson,
    kept_notices,
)
from geotiler.progress import (
    Notice,
    Reporter,
    StageAdvanced,
    StageFinished,
    StageStarted,
    silent,
)
from geotiler.specs import VectorizeSpec
from geotiler.tasks.vectorize_draw import (
    Sized,
    is_coverage,
    reach_px,
    rough_coverage,
    sized,
)
from geotiler.tasks.vectorize_features import MeasuredFeatures, VectorizeReport
from geotiler.tasks.vectorize_input import VectorizeInput
from geotiler.tasks.vectorize_work import (
    FeatureStore,
    Mark,
    arrays_of,
    arrays_of_sized,
    drawn_of,
    is_written,
    opened_features,
    sized_of,
)
from geotiler.tasks.vectorize_workers import drawn_tables

Bounds = npt.NDArray[np.float64]

STAGE = "vectorize"

BATCH_FEATURES, BATCH_VERTICES = 1024, 500_000
"""Features drawn at once, or vertices, whichever comes first."""

STORED_FEATURES, STORED_PX = 4096, 2**27
"""Features after which what was drawn is stored, or pixels, whichever comes first: a few seconds of
work, and some milliseconds of storing."""

MOST_FEATURES = 16_384
"""More are never drawn at once: a few rows of noise may hold a million."""


def vectorize(
    spec: VectorizeSpec, *, report: Reporter = silent, stream: TextIO | None = None
) -> VectorizeReport:
    """Write the polygons of a mask's classes, or of those that probabilities show.

    Features come in the order of their last row, numbered from 1, or on from those that are
    there. A polygon is dropped when either its pixels or its outline cover less than the minimum
    area. The bytes do not depend on the height of strips.

    Args:
        spec: what to do.
        report: hears progress and notices.
        stream: where GeoJSON goes when the output is "-".

    Raises:
        InputError: the mask cannot be read, or is no mask.
        OutputError: the target exists, or cannot be written.
        SpecError: settings that do not go together, a class that the mask does not have, or an
            unknown suffix of the target.
    """
    started = time.perf_counter()
    may_replace = spec.overwrite or is_written(spec)
    driver = check_target(spec.output, may_replace, append=spec.append, layer=spec.layer)
    with ExitStack() as stack:
        source = VectorizeInput(spec, stack)
        if source.note:
            report(Notice(message=source.note, warning=True))
        if driver == "ESRI Shapefile":
            report(Notice(message=SHAPEFILE_LIMITS, warning=True))
        for note in style_notices([spec.output]):
            report(Notice(message=note, warning=True))
        for note in () if spec.append else kept_notices(spec.output, spec.layer):
            report(Notice(message=note))
        check_texts(driver, source.scene.class_names.values())
        store = stack.enter_context(opened_features(spec, source, report))
        first_id = highest_id(spec.output, driver, spec.layer) + 1 if spec.append else 1
        run = _Run(spec, source, report, first_id, store)
        if store is not None and store.is_written:
            for _ in run.batches():  # for the report
                pass
            return run.result(time.perf_counter() - started)
        write_features(
            spec.output,
            run.batches(),
            run.features.layer(),
            overwrite=spec.overwrite,
            append=spec.append,
            stream=stream,
            ready=None if store is None else store.written,
        )
        return run.result(time.perf_counter() - started)


class _Run:
    """One pass over a mask, and what it counted."""

    def __init__(
        self,
        spec: VectorizeSpec,
        source: VectorizeInput,
        report: Reporter,
        first_id: int,
        store: FeatureStore | None,
    ) -> None:
        self._spec = spec
        self._store = store
        self._begin = Mark() if store is None else store.mark
        self._source = source
        self._report = report
        scene = source.scene
        self._several = source.is_several
        if spec.separate and is_coverage(spec, self._several):
            raise SpecError(
                "--separate parts the patches of one class, and several are vectorized",
                hint="--class chooses one, or --regularize any-angle draws each by itself",
            )
        crs = None if scene.crs is None else scene.crs.to_wkt()
        self.ground = Ground(tuple(scene.transform), crs, scene.stated_gsd_m)
        self.features = MeasuredFeatures(
            spec,
            scene,
            self.ground,
            has_means=source.probabilities is not None,
            first_id=first_id,
        )
        self._dropped = 0
        """Too small to be drawn; where a run can go on, they are in `_small`."""
        self._small = np.empty(0, np.int64)
        """Places of the features that were too small, beyond those that the mark counts."""
        self._say_what_is_odd()

    def _say_what_is_odd(self) -> None:
        scene = self._source.scene
        if scene.crs is None:
            unit = "measures are on the ground, by its tags" if self.ground.in_metres else (
                "areas and lengths are in pixels too"
            )  # fmt: skip
            a, b, _, d, e = tuple(scene.transform)[:5]
            are_pixels = np.allclose((a, b, d, e), (1, 0, 0, 1), rtol=0, atol=1e-9)
            where = "in pixels (x to the right, y down)" if are_pixels else "those of its transform"
            message = f"{scene.path} has no CRS: coordinates are {where}, {unit}"
            if is_geojson(self._spec.output):
                message += (
                    "; GDAL, QGIS and geopandas take any GeoJSON for degrees (WGS 84), a .gpkg or "
                    ".fgb for what it is"
                )
            self._report(Notice(message=message, warning=True))
        if is_coverage(self._spec, self._several):
            message = (
                "several classes: borders are simplified together, without gaps; "
                "--class chooses one to be regularized"
            )
            self._report(Notice(message=message))

    def batches(self) -> Iterator[FeatureBatch]:
        """Features as they become complete."""
        if is_coverage(self._spec, self._several):
            yield from self._as_a_whole()
            return
        held: list[Drawn] = []
        for decided in self._decided():
            if self._spec.snap_neighbours:
                held.append(decided)
            else:
                yield from self.features.batch(decided)
        if held:
            yield from self.features.batch(snapped(concatenated(held)))

    def _decided(self) -> Iterator[Drawn]:
        """Features that keep off their neighbours."""
        hood = Neighbourhood(
            reach_px(self._spec, self.ground, self._source.scene.shape, self._source.scene.grain_px)
        )
        for features, open_bounds, row in self._drawn():
            yield from hood.add(features, open_bounds, row)
        yield from hood.finish()

    def _drawn(self) -> Iterator[tuple[Drawn, Bounds, int]]:
        """Drawn features with the bounds of open ones, and the row up to which all is known; those
        of an earlier run first.
        """
        if self._store is not None:
            yield from map(drawn_of, self._store.read())
        known: deque[tuple[Bounds, int, int | None]] = deque()
        """Of the tables that are being drawn: what `_gathered` says of them."""

        def tables() -> Iterator[Sized]:
            for table, *rest in self._gathered():
                known.append((rest[0], rest[1], rest[2]))
                yield table

        new: list[Drawn] = []
        done = self._begin.done
        for drawn in drawn_tables(tables(), self._spec, self._source):
            open_bounds, row, last = known.popleft()
            yield drawn, open_bounds, row
            if len(drawn):
                new.append(drawn)
            if last is None:
                continue  # small ones are counted by the batch
            done = max(done, last)
            if self._is_due(sum(map(len, new)), row):
                arrays = arrays_of(new, open_bounds, row) if new else None
                self._keep(arrays, done, open_bounds, row)
                new = []

    def _is_due(self, features: int, row: int) -> bool:
        """Whether so much is new that it is worth a part."""
        if self._store is None:
            return False
        pixels = (row - self._store.mark.reached) * self._source.scene.width
        return features >= STORED_FEATURES or pixels >= STORED_PX

    def _keep(
        self, arrays: dict[str, npt.NDArray[Any]] | None, done: int, open_bounds: Bounds, row: int
    ) -> None:
        """Store features, and from where others can go on.

        Args:
            arrays: what to store; None: nothing is new.
            done: place of the last feature of these.
            open_bounds: of features yet to come, as far as they are known.
            row: first row that no feature is known from.
        """
        assert self._store is not None
        known = self._small <= done
        row = min(row, self._source.scene.height)  # beyond it once all is traced
        top = min(row, int(open_bounds[:, 1].min(initial=row)))
        mark = Mark(
            reached=row,
            row=max(0, top - 1),  # so that nothing that is to come touches the edge
            done=done,
            small=self._store.mark.small + int(known.sum()),
        )
        self._small = self._small[~known]
        self._store.keep(arrays, mark)

    def _gathered(self) -> Iterator[tuple[Sized, Bounds, int, int | None]]:
        """Outlines in batches that are worth the while: with the bounds of open ones, the row up
        to which all is known, and the place of the last (None: more of the batch is to come).
        """
        tables: list[Outlines] = []
        features = vertices = 0
        bounds, row = np.empty((0, 4)), 0
        for outlines, polygons in self._traced():
            bounds, row = polygons.open_bounds().astype(np.float64), polygons.row
            tables.append(outlines)
            features, vertices = features + len(outlines), vertices + len(outlines.xy)
            is_large = features >= BATCH_FEATURES or vertices >= BATCH_VERTICES
            if is_large or self._is_due(features, row):
                yield from self._portions(joined_outlines(tables), bounds, row)
                tables, features, vertices = [], 0, 0
        if tables:
            yield from self._portions(joined_outlines(tables), bounds, row)

    def _portions(
        self, outlines: Outlines, bounds: Bounds, row: int
    ) -> Iterator[tuple[Sized, Bounds, int, int | None]]:
        """Outlines by so many at once; those that are left count as yet to come."""
        table = self._sized(outlines)
        places = outlines.places()
        end = int(places[-1]) if len(places) else -1
        boxes = table.outlines.bounds_px().astype(np.float64)
        for start in range(0, max(len(boxes), 1), MOST_FEATURES):
            stop = start + MOST_FEATURES
            ahead, known = boxes[stop:], row
            if len(ahead):  # they come by their last row: most lie below this one altogether
                known = min(row, int(boxes[stop - 1, 3]))
                ahead = ahead[ahead[:, 1] < known]
            last = end if stop >= len(boxes) else None
            yield table.part(start, stop), np.concatenate([bounds, ahead]), known, last

    def _traced(self) -> Iterator[tuple[Outlines, PolygonStream]]:
        """Outlines as they become complete, and the stream they come from; from the mark on."""
        scene = self._source.scene
        self._report(StageStarted(stage=STAGE, total=scene.height * scene.width, unit="px"))
        polygons: PolygonStream | None = None
        edge = 0
        for row, classes in self._source.strips(self._begin.row):
            if polygons is None:
                edge, eight = row, self._spec.eight_connected
                polygons = PolygonStream(scene.width, eight_connected=eight, row=edge)
                self._report(StageAdvanced(stage=STAGE, amount=edge * scene.width))
            for outlines in polygons.add_strip(classes):
                yield self._wanted(outlines, edge), polygons
            self._report(StageAdvanced(stage=STAGE, amount=classes.size))
        assert polygons is not None
        for outlines in polygons.finish():
            yield self._wanted(outlines, edge), polygons
        self._report(StageFinished(stage=STAGE))

    def _wanted(self, outlines: Outlines, edge: int) -> Outlines:
        """The outlines that are not done with, of those from a row on."""
        if self._begin.done < 0 or not len(outlines):
            return outlines
        wanted = outlines.places() > self._begin.done
        if edge:  # what it cuts came whole in an earlier run
            wanted &= outlines.bounds_px()[:, 1] > edge
        return outlines.select(wanted)

    def _sized(self, outlines: Outlines) -> Sized:
        # What lies in a hole is another feature's, where there are several classes.
        table = sized(outlines, self.ground, self._spec, fill=not self._several)
        new = table.small[table.small > self._begin.done]
        if self._store is None:
            self._dropped += len(new)
        else:
            self._small = np.concatenate([self._small, new])
        return table

    def _as_a_whole(self) -> Iterator[FeatureBatch]:
        """All features of a map of several classes, whose borders are simplified together."""
        spec = self._spec
        tables = self._all_sized()
        if not tables:
            return
        outlines = [table.outlines for table in tables]
        size = np.concatenate([table.pixel_size for table in tables])
        scale = np.median(size, axis=0) if len(size) else np.ones(2)
        rough, means = rough_coverage(
            outlines, self._source.probabilities, contour=self._source.contours
        )
        step = CONTOUR_PX if self._source.contours else TOLERANCE_PX
        tolerance = step * float(np.sqrt(scale.prod()))
        if spec.simplify_m is not None:
            tolerance = spec.simplify_m
        drawn = simplified_coverage(rough, scale, tolerance)
        columns: dict[str, npt.NDArray[Any]] = {
            "class_id": np.concatenate([each.class_id for each in outlines]),
            "filled": np.zeros(len(rough), np.int64),
            "pixel_size": size,
            "angle": np.full(len(rough), np.nan),
        }
        if means is not None:
            columns["mean_probability"] = means
        status = np.zeros(len(rough), np.uint8)
        whole = drawn_features(rough, drawn, status, columns)
        for start in range(0, len(whole), BATCH_FEATURES):
            yield from self.features.batch(
                whole.take(np.arange(len(whole))[start : start + BATCH_FEATURES])
            )

    def _all_sized(self) -> list[Sized]:
        """All outlines that are large enough."""
        tables = [] if self._store is None else [sized_of(each) for each in self._store.read()]
        new = len(tables)
        done = self._begin.done
        for outlines, polygons in self._traced():
            if len(outlines):
                done = int(outlines.places()[-1])
                tables.append(self._sized(outlines))
            row = polygons.row
            if self._is_due(sum(len(table.outlines) for table in tables[new:]), row):
                arrays = arrays_of_sized(tables[new:]) if new < len(tables) else None
                self._keep(arrays, done, polygons.open_bounds().astype(np.float64), row)
                new = len(tables)
        return tables

    def result(self, seconds: float) -> VectorizeReport:
        """What was counted so far."""
        if too_large := self.features.too_large:
            share = self.features.too_large_area / max(self.features.area, 1e-9)
            message = (
                f"{too_large} {'patch was' if too_large == 1 else 'patches were'} too large for "
                f"--separate and left whole: {share:.0%} of the area drawn; a raster of larger "
                "pixels has smaller ones"
            )
            if self._source.is_own:
                message += ", a higher --threshold too"
            self._report(Notice(message=message, warning=True))
        stored = 0 if self._store is None else self._store.mark.small
        small = self._dropped + len(self._small) + stored
        found = self.features.result(small, self._source.sieved, seconds)
        if not (found.polygons or found.dropped or found.sieved or stored):
            self._report(Notice(message=self._source.why_nothing, warning=True))
        return found

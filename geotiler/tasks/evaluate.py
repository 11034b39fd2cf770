"""Masks or polygons against the truth, in pixels and in objects, a strip at a time."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from geotiler.core.boundary import BoundaryCounts
from geotiler.core.measure import Ground
from geotiler.core.metrics import ConfusionMatrix
from geotiler.core.object_match import Matches, ObjectMatcher, Objects, Unfinished
from geotiler.core.object_scores import ObjectTally, tallied
from geotiler.core.object_streams import GivenObjects, TracedObjects, given_objects
from geotiler.core.scores import ClassCounts, pooled
from geotiler.core.thresholds import ThresholdCounts, probability_steps
from geotiler.errors import InputError
from geotiler.io.labels import chosen_classes, class_name
from geotiler.io.probabilities import HINT, Probabilities
from geotiler.io.raster import Scene, open_scene
from geotiler.io.sides import PREDICTION, TRUTH, Side, class_names, open_side
from geotiler.io.table import write_csv
from geotiler.io.threshold_plot import write_threshold_plot
from geotiler.progress import Notice, Reporter, StageAdvanced, StageFinished, StageStarted, silent
from geotiler.specs import MASK_NODATA, EvaluateSpec, Window
from geotiler.tasks.evaluate_plan import Comparison, plan_evaluate
from geotiler.tasks.evaluate_report import EvaluateReport, SceneCounts, reported, table_rows

STAGE = "evaluate"

Place = tuple[str, str | None, tuple[float, ...], tuple[int, int]]
"""Truth, and the CRS as WKT, transform and shape of the grid that it is compared on."""


def evaluate(spec: EvaluateSpec, *, report: Reporter = silent) -> EvaluateReport:
    """Compare predictions with their truth, per scene and pooled; nodata of either is left out.

    Raises:
        InputError: a file cannot be read, is no mask, or they do not overlap; no pixel is known
            in both.
        OutputError: the table or the plot cannot be written.
        SpecError: the settings do not fit the files, as a class that is in neither.
    """
    started = time.perf_counter()
    comparisons = plan_evaluate(spec)
    said: dict[str, int] = {}
    places: dict[Place, list[str]] = {}
    scenes = [_scene(each, spec, said, places, report) for each in comparisons]
    for note, count in said.items():
        if count > 1:
            report(Notice(message=f"the same of {count - 1} more: {note}"))
    for (truth, *_), masks in places.items():
        if len(masks) > 1:
            message = (
                f"{len(masks)} predictions of the same ground have the truth {truth}, the first is "
                f"{masks[0]}: pooled scores count this ground as often, those of each scene once"
            )
            report(Notice(message=message, warning=True))
    _check_known(scenes, report)
    result = reported(scenes, time.perf_counter() - started)
    if spec.csv is not None:
        write_csv(spec.csv, table_rows(result), overwrite=spec.overwrite)
    if spec.plot is not None:
        total = pooled([scene.classes for scene in scenes])
        curves = {name: c.thresholds.curve() for name, c in total.items() if c.thresholds}
        if curves:
            write_threshold_plot(spec.plot, curves, overwrite=spec.overwrite)
    return result


def _check_known(scenes: list[SceneCounts], report: Reporter) -> None:
    """Raises: InputError: nothing can be compared in any of the scenes."""
    unknown = [scene for scene in scenes if not scene.pixels_scored]
    for scene in unknown:
        message = f"no pixel is known in both {scene.prediction} and {scene.truth}"
        if len(unknown) == len(scenes):
            raise InputError(message, hint="--truth takes files of the same place")
        report(Notice(message=message, warning=True))


def _scene(
    pair: Comparison,
    spec: EvaluateSpec,
    said: dict[str, int],
    places: dict[Place, list[str]],
    report: Reporter,
) -> SceneCounts:
    """Everything that is counted in one scene.

    `said` counts notes, which are told once; `places` takes what lies where.
    """
    names = class_names({pair.prediction: PREDICTION, pair.truth: TRUTH}, spec.attribute)
    with ExitStack() as stack:
        grid = stack.enter_context(open_scene(pair.grid))
        crs = None if grid.crs is None else grid.crs.to_wkt()
        place = pair.truth, crs, tuple(grid.transform), (grid.height, grid.width)
        places.setdefault(place, []).append(pair.prediction)
        sides = [
            stack.enter_context(
                open_side(path, grid, names, flag=flag, attribute=spec.attribute)
            )
            for path, flag in ((pair.truth, TRUTH), (pair.prediction, PREDICTION))
        ]  # fmt: skip
        for note in (note for side in sides for note in side.notes):
            kind = note.replace(pair.prediction, "...").replace(pair.truth, "...")
            said[kind] = said.get(kind, 0) + 1
            if said[kind] == 1:
                report(Notice(message=note))
        run = _Run(spec=spec, pair=pair, grid=grid, truth=sides[0], predicted=sides[1])
        if pair.probability is not None:
            opened = stack.enter_context(open_scene(pair.probability))
            run.probabilities = Probabilities(opened)
            run.probabilities.check_grid(grid)
        return run.counted(names, report)


@dataclass(kw_only=True)
class _Run:
    """One pass over a scene."""

    spec: EvaluateSpec
    pair: Comparison
    grid: Scene
    truth: Side
    predicted: Side
    probabilities: Probabilities | None = None
    matrix: ConfusionMatrix = field(default_factory=ConfusionMatrix)
    curves: dict[int, ThresholdCounts] = field(default_factory=dict)
    """Class id → its sweep."""

    def counted(self, names: dict[int, str], report: Reporter) -> SceneCounts:
        """Read it from top to bottom."""
        grid, spec = self.grid, self.spec
        crs = None if grid.crs is None else grid.crs.to_wkt()
        # As `vectorize` measures what it draws of the same mask.
        ground = Ground(tuple(grid.transform), crs, grid.stated_gsd_m)
        boundary = BoundaryCounts(spec.boundary_px)
        objects = None
        if spec.objects:
            objects = _ObjectPass(spec, self, ground, report)
        bands = self._bands(names)
        report(StageStarted(stage=STAGE, total=grid.height * grid.width, unit="px"))
        for window in grid.strips():
            truth, predicted = self.truth.read(window), self.predicted.read(window)
            self.matrix.add(truth, predicted)
            boundary.add(truth, predicted)
            for class_id, band in bands.items():
                self._sweep(class_id, band, window, truth)
            if objects is not None:
                objects.add(window, truth, predicted)
            report(StageAdvanced(stage=STAGE, amount=window.height * window.width))
        boundary.finish()
        tallies = {} if objects is None else objects.finish()
        report(StageFinished(stage=STAGE))
        return self._result(names, boundary, tallies, ground.in_metres, report)

    def _bands(self, names: dict[int, str]) -> dict[int, int]:
        """Class id → band of its probability."""
        if self.probabilities is None:
            return {}
        found = self.probabilities.bands_of(names)
        if not found:
            raise InputError(
                f"{self.probabilities.path} has bands of {self.probabilities.told}, and none "
                f"is a class of {self.pair.prediction}",
                hint=HINT,
            )
        return found

    def _sweep(self, class_id: int, band: int, window: Window, truth: NDArray[np.uint8]) -> None:
        assert self.probabilities is not None
        values, known = self.probabilities.read(window, band)
        known = known & (truth != MASK_NODATA)
        counts = self.curves.setdefault(class_id, ThresholdCounts())
        counts.add(truth[known] == class_id, probability_steps(values[0][known]))

    def _result(
        self,
        names: dict[int, str],
        boundary: BoundaryCounts,
        tallies: dict[int, ObjectTally],
        in_metres: bool,
        report: Reporter,
    ) -> SceneCounts:
        pair, matrix = self.pair, self.matrix
        present = set(matrix.present)
        ids = set(names) | present
        if self.spec.classes is not None:
            ids = chosen_classes(self.spec.classes, names, present, pair.prediction)
        classes = {
            class_name(names, each): ClassCounts(
                pixels=matrix.score(each),
                boundary=(int(boundary.both[each]), int(boundary.either[each])),
                objects=tallies.get(each, ObjectTally()),
                thresholds=self.curves.get(each),
            )
            for each in sorted(ids or {1})
        }
        pixels = [counts.pixels for counts in classes.values()]
        if matrix.scored and not any(each.true_positive + each.false_negative for each in pixels):
            message = (
                f"{pair.truth} has nothing of {', '.join(classes)} on {pair.grid}: recall cannot "
                "be told, and all that was found there counts as false"
            )
            report(Notice(message=message, warning=True))
        return SceneCounts(
            prediction=pair.prediction,
            truth=pair.truth,
            classes=classes,
            pixels_scored=matrix.scored,
            pixels_ignored=matrix.ignored,
            pixels_agreed=matrix.agreed,
            has_objects=self.spec.objects,
            in_metres=in_metres,
        )


class _ObjectPass:
    """The objects of both sides, strip by strip."""

    def __init__(self, spec: EvaluateSpec, run: _Run, ground: Ground, report: Reporter) -> None:
        self._ground = ground
        self._matcher = ObjectMatcher()
        self._tallies: dict[int, ObjectTally] = {}
        grid = Window(row=0, col=0, height=run.grid.height, width=run.grid.width)
        paths = run.pair.truth, run.pair.prediction
        self._sides = []
        for path, side in zip(paths, (run.truth, run.predicted), strict=True):
            made = _SideObjects(side, grid, ground, spec.least_area_m2)
            if made.mended:
                message = f"{made.mended} polygons of {path} cross themselves: mended"
                report(Notice(message=message, warning=True))
            self._sides.append(made)

    def add(self, window: Window, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Take the next strip."""
        known = (truth != MASK_NODATA) & (predicted != MASK_NODATA)
        for side, classes in zip(self._sides, (truth, predicted), strict=True):
            side.add(window, np.where(known, classes, np.uint8(0)), known)
        self._matcher.add(*(side.taken(window.row_stop) for side in self._sides))
        self._settle(window.row_stop)

    def finish(self) -> dict[int, ObjectTally]:
        """Class id → tally of the whole scene."""
        self._matcher.add(*(side.rest() for side in self._sides))
        self._settle(np.inf)
        return self._tallies

    def _settle(self, row: float) -> None:
        open_ = [Unfinished.none() if row == np.inf else side.unfinished for side in self._sides]
        matches = self._known(self._matcher.settle(row, *open_))
        for class_id, tally in tallied(matches, self._ground).items():
            self._tallies[class_id] = self._tallies.get(class_id, ObjectTally()) + tally

    def _known(self, matches: Matches) -> Matches:
        """Without objects of which less than half lies on known pixels."""
        truth, predicted = self._sides
        pairs = truth.is_known(matches.truth) & predicted.is_known(matches.predicted)
        return replace(
            matches,
            truth=matches.truth.take(pairs),
            predicted=matches.predicted.take(pairs),
            iou=matches.iou[pairs],
            missed=matches.missed.take(truth.is_known(matches.missed)),
            false=matches.false.take(predicted.is_known(matches.false)),
        )


class _SideObjects:
    """The objects of one side: traced in a raster's known pixels, or given as polygons."""

    def __init__(self, side: Side, grid: Window, ground: Ground, least_area_m2: float) -> None:
        self._polygons = side.polygons
        self.mended = 0
        self._given: GivenObjects | None = None
        if self._polygons is None:
            self._traced = TracedObjects(grid.width, ground, least_area_m2)
            self._complete = Objects.none()
            return
        shapes = self._polygons.shapes
        objects, self.mended = given_objects(
            shapes, self._polygons.ids, grid, ground, least_area_m2
        )
        self._given = GivenObjects(objects)
        self._pixels = np.zeros((2, len(shapes)), np.int64)
        """[all, known ones] of each polygon."""

    def add(self, window: Window, classes: NDArray[np.uint8], known: NDArray[np.bool_]) -> None:
        """Take a strip: classes where both sides are known, 0 elsewhere."""
        if self._polygons is None:
            self._complete = self._traced.add_strip(classes)
        elif not known.all():
            numbers = self._polygons.numbers(window)
            for row, chosen in enumerate((numbers >= 0, (numbers >= 0) & known)):
                self._pixels[row] += np.bincount(numbers[chosen], minlength=self._pixels.shape[1])

    def taken(self, row: int) -> Objects:
        """Objects that the strip above a row brought."""
        return self._complete if self._given is None else self._given.until(row)

    def rest(self) -> Objects:
        """Objects at the end of the scene."""
        return self._traced.finish() if self._given is None else self._given.until(np.inf)

    @property
    def unfinished(self) -> Unfinished:
        """Objects that go on below."""
        return self._traced.unfinished if self._given is None else Unfinished.none()

    def is_known(self, objects: Objects) -> NDArray[np.bool_]:
        """Whether at least half of each object lies on known pixels."""
        if self._given is None:
            return np.ones(len(objects), bool)
        every, known = self._pixels[:, objects.number]
        result: NDArray[np.bool_] = 2 * known >= every
        return result

"""What `geotiler evaluate` answers: scores of each class, of each scene and of all together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from geotiler.core.metrics import mean_of
from geotiler.core.scores import ClassCounts, pooled
from geotiler.core.thresholds import ThresholdCurve
from geotiler.reports import Report

ALL = "all"
"""What stands for all scenes together in a table."""

SHOWN_THRESHOLDS = tuple(step / 20 for step in range(1, 20))


@dataclass(frozen=True, kw_only=True)
class SceneCounts:
    """Everything that was counted in one scene."""

    prediction: str
    truth: str
    classes: dict[str, ClassCounts]
    pixels_scored: int
    pixels_ignored: int
    pixels_agreed: int
    has_objects: bool
    in_metres: bool


@dataclass(frozen=True, kw_only=True)
class ObjectResult:
    """Objects that lie on each other by half or more (IoU 0.5), and how well their outlines agree.

    The last four are means over the matched pairs.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    truth: int
    """True objects."""
    predicted: int
    matched: int
    iou: float | None
    polis_m: float | None
    """PoLiS distance; None without a CRS."""
    polis_px: float | None
    """The same in pixels; None with a CRS."""
    c_iou: float | None
    """Complexity-aware IoU."""
    max_tangent_angle_deg: float | None


@dataclass(frozen=True, kw_only=True)
class ThresholdResult:
    """Scores at one threshold."""

    threshold: float
    iou: float | None
    f1: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What other thresholds would give."""

    best: ThresholdResult
    """Of the highest IoU on these data; one chosen so is not to be reported as a score on them."""
    average_precision: float | None
    thresholds: list[ThresholdResult]


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """Scores of one class, 0 to 1; None where nothing could tell."""

    iou: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    boundary_iou: float | None
    objects: ObjectResult | None
    """None where objects were not compared."""
    true_positive: int
    false_positive: int
    false_negative: int
    sweep: SweepResult | None = None
    """Of all scenes together, where probabilities were given."""


@dataclass(frozen=True, kw_only=True)
class SceneResult:
    """Scores of one scene."""

    prediction: str
    truth: str
    pixels_scored: int
    """Pixels known in both."""
    pixels_ignored: int
    """Pixels that are nodata in either."""
    accuracy: float | None
    """Share of the scored pixels on which both agree, background included."""
    classes: dict[str, ClassResult]
    """Scores by class name; the background is no class."""


@dataclass(frozen=True, kw_only=True)
class EvaluateReport(Report):
    """How well predictions agree with the truth, all scenes together."""

    pixels_scored: int
    pixels_ignored: int
    accuracy: float | None
    iou: float | None
    """Mean over the classes below that have one; with one class, its own. Pooled over pixels."""
    f1: float | None
    precision: float | None
    recall: float | None
    boundary_iou: float | None
    classes: dict[str, ClassResult]
    """Scores by class name, pooled over all pixels and objects."""
    scenes: list[SceneResult]
    seconds: float


def reported(scenes: Sequence[SceneCounts], seconds: float) -> EvaluateReport:
    """The report of some scenes."""
    total = pooled([scene.classes for scene in scenes])
    units = {scene.in_metres for scene in scenes}
    has_objects = scenes[0].has_objects
    # Metres and pixels do not add up.
    in_metres = units.pop() if len(units) == 1 else None
    classes = {
        name: _class(counts, has_objects, in_metres, with_sweep=True)
        for name, counts in total.items()
    }
    each = list(classes.values())
    scored = sum(scene.pixels_scored for scene in scenes)
    return EvaluateReport(
        pixels_scored=scored,
        pixels_ignored=sum(scene.pixels_ignored for scene in scenes),
        accuracy=sum(scene.pixels_agreed for scene in scenes) / scored,
        iou=mean_of([result.iou for result in each]),
        f1=mean_of([result.f1 for result in each]),
        precision=mean_of([result.precision for result in each]),
        recall=mean_of([result.recall for result in each]),
        boundary_iou=mean_of([result.boundary_iou for result in each]),
        classes=classes,
        scenes=[_scene(scene) for scene in scenes],
        seconds=round(seconds, 3),
    )


def _scene(scene: SceneCounts) -> SceneResult:
    return SceneResult(
        prediction=scene.prediction,
        truth=scene.truth,
        pixels_scored=scene.pixels_scored,
        pixels_ignored=scene.pixels_ignored,
        accuracy=scene.pixels_agreed / scene.pixels_scored if scene.pixels_scored else None,
        classes={
            name: _class(counts, scene.has_objects, scene.in_metres)
            for name, counts in scene.classes.items()
        },
    )


def _class(
    counts: ClassCounts, has_objects: bool, in_metres: bool | None, *, with_sweep: bool = False
) -> ClassResult:
    pixels = counts.pixels
    sweep = None
    if with_sweep and counts.thresholds is not None:
        sweep = _sweep(counts.thresholds.curve())
    return ClassResult(
        iou=pixels.iou,
        f1=pixels.f1,
        precision=pixels.precision,
        recall=pixels.recall,
        boundary_iou=counts.boundary_iou,
        objects=_objects(counts, in_metres) if has_objects else None,
        sweep=sweep,
        **asdict(pixels),
    )


def _objects(counts: ClassCounts, in_metres: bool | None) -> ObjectResult:
    tally = counts.objects
    return ObjectResult(
        precision=tally.precision,
        recall=tally.recall,
        f1=tally.f1,
        truth=tally.truth,
        predicted=tally.predicted,
        matched=tally.matched,
        iou=tally.iou,
        polis_m=tally.polis if in_metres is True else None,
        polis_px=tally.polis if in_metres is False else None,
        c_iou=tally.c_iou,
        max_tangent_angle_deg=tally.max_tangent_angle_deg,
    )


def _sweep(curve: ThresholdCurve) -> SweepResult:
    return SweepResult(
        best=_at(curve, curve.best),
        average_precision=curve.average_precision,
        thresholds=[_at(curve, curve.at(value)) for value in SHOWN_THRESHOLDS],
    )


def _at(curve: ThresholdCurve, index: int) -> ThresholdResult:
    scores = {
        name: _known(float(getattr(curve, name)[index]))
        for name in ("iou", "f1", "precision", "recall")
    }
    return ThresholdResult(threshold=round(float(curve.threshold[index]), 4), **scores)


def _known(value: float) -> float | None:
    return value if value == value else None


def table_rows(report: EvaluateReport) -> list[dict[str, Any]]:
    """One row for each class of each scene, then one for each class of all together."""
    rows = [
        {"scene": scene.prediction, "truth": scene.truth, **_cells(name, result)}
        for scene in report.scenes
        for name, result in scene.classes.items()
    ]
    rows += [
        {"scene": ALL, "truth": ALL, **_cells(name, result)}
        for name, result in report.classes.items()
    ]
    return rows


def _cells(name: str, result: ClassResult) -> dict[str, Any]:
    values = asdict(result)
    objects, _ = values.pop("objects"), values.pop("sweep")
    return {"class": name, **values, **dict(_object_cells(objects))}


def _object_cells(objects: dict[str, Any] | None) -> Iterator[tuple[str, Any]]:
    for name in ObjectResult.__dataclass_fields__:
        yield f"object_{name}", None if objects is None else objects[name]

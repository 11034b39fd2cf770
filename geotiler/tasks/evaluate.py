"""A mask against the truth, pixel by pixel, a strip at a time."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from geotiler.core.metrics import ConfusionMatrix, mean_of
from geotiler.errors import InputError
from geotiler.io.labels import Labels, chosen_classes, class_name, label_rule
from geotiler.io.raster import Scene, open_scene
from geotiler.io.truth import open_truth
from geotiler.progress import (
    Notice,
    Reporter,
    StageAdvanced,
    StageFinished,
    StageStarted,
    silent,
)
from geotiler.reports import Report
from geotiler.specs import MASK_NODATA, EvaluateSpec

STAGE = "evaluate"


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """Scores of one class, 0 to 1; None where no pixel could tell."""

    iou: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    true_positive: int
    false_positive: int
    false_negative: int


@dataclass(frozen=True, kw_only=True)
class EvaluateReport(Report):
    """How well a mask agrees with the truth."""

    mask: str
    truth: str
    pixels_scored: int
    """Pixels known in both."""
    pixels_ignored: int
    """Pixels that are nodata in either."""
    accuracy: float | None
    """Share of the scored pixels on which both agree, background included."""
    iou: float | None
    """Mean over the classes below that have one; with one class, its own."""
    f1: float | None
    precision: float | None
    recall: float | None
    classes: dict[str, ClassResult]
    """Scores by class name; the background is no class."""
    seconds: float


def evaluate(spec: EvaluateSpec, *, report: Reporter = silent) -> EvaluateReport:
    """Compare a mask with the truth; nodata of either is left out.

    Raises:
        InputError: a file cannot be read, is no mask, or they do not overlap; no pixel is known
            in both; a class that was asked for is in neither.
    """
    started = time.perf_counter()
    with open_scene(spec.mask) as scene:
        rule = label_rule(scene)
        labels = Labels(scene, rule)
        with open_truth(spec.truth, scene) as truth:
            for note in (rule.note, *truth.notes):
                if note:
                    report(Notice(message=note))
            matrix = ConfusionMatrix()
            report(StageStarted(stage=STAGE, total=scene.height * scene.width, unit="px"))
            for window in scene.strips():
                matrix.add(truth.read(window), labels.read(window))
                amount = window.height * window.width
                report(StageAdvanced(stage=STAGE, amount=amount))
            report(StageFinished(stage=STAGE))
        if not matrix.scored:
            raise InputError(
                f"no pixel is known in both {spec.mask} and {spec.truth}",
                hint="--truth takes a raster or vector file of the same place",
            )
        classes = _classes(spec, scene, matrix)
    return _report(spec, matrix, classes, time.perf_counter() - started)


def _classes(spec: EvaluateSpec, scene: Scene, matrix: ConfusionMatrix) -> dict[int, str]:
    """Ids and names of the classes to score."""
    names = {key: name for key, name in scene.class_names.items() if 0 < key < MASK_NODATA}
    present = set(matrix.present)
    ids = set(names) | present
    if spec.classes is not None:
        ids = chosen_classes(spec.classes, names, present, spec.mask)
    return {each: class_name(names, each) for each in sorted(ids or {1})}


def _report(
    spec: EvaluateSpec, matrix: ConfusionMatrix, classes: dict[int, str], seconds: float
) -> EvaluateReport:
    results = {}
    for class_id, name in classes.items():
        score = matrix.score(class_id)
        results[name] = ClassResult(
            iou=score.iou,
            f1=score.f1,
            precision=score.precision,
            recall=score.recall,
            **asdict(score),
        )
    each = list(results.values())
    return EvaluateReport(
        mask=spec.mask,
        truth=spec.truth,
        pixels_scored=matrix.scored,
        pixels_ignored=matrix.ignored,
        accuracy=matrix.accuracy,
        iou=mean_of([result.iou for result in each]),
        f1=mean_of([result.f1 for result in each]),
        precision=mean_of([result.precision for result in each]),
        recall=mean_of([result.recall for result in each]),
        classes=results,
        seconds=round(seconds, 3),
    )

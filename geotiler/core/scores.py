"""Scores of one class, whatever they were counted from, as counts that add up over scenes."""

from __future__ import annotations

from dataclasses import dataclass, field

from geotiler.core.metrics import ClassScore
from geotiler.core.object_scores import ObjectTally
from geotiler.core.thresholds import ThresholdCounts


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Everything that was counted about one class in one scene, or in several."""

    pixels: ClassScore
    boundary: tuple[int, int] = (0, 0)
    """Pixels in both bands, and in either of them."""
    objects: ObjectTally = field(default_factory=ObjectTally)
    thresholds: ThresholdCounts | None = None

    def __add__(self, other: ClassCounts) -> ClassCounts:
        one, two = self.pixels, other.pixels
        curves = [each.thresholds for each in (self, other) if each.thresholds is not None]
        return ClassCounts(
            pixels=ClassScore(
                true_positive=one.true_positive + two.true_positive,
                false_positive=one.false_positive + two.false_positive,
                false_negative=one.false_negative + two.false_negative,
            ),
            boundary=(
                self.boundary[0] + other.boundary[0],
                self.boundary[1] + other.boundary[1],
            ),
            objects=self.objects + other.objects,
            thresholds=sum(curves[1:], curves[0]) if curves else None,
        )

    @property
    def boundary_iou(self) -> float | None:
        """Intersection over union of the bands along outlines, 0 to 1."""
        both, either = self.boundary
        return both / either if either else None


def pooled(scenes: list[dict[str, ClassCounts]]) -> dict[str, ClassCounts]:
    """Class name → counts of all scenes together."""
    total: dict[str, ClassCounts] = {}
    for scene in scenes:
        for name, counts in scene.items():
            total[name] = total[name] + counts if name in total else counts
    return total

"""How well objects were found, in numbers that add up over classes, strips and scenes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.measure import Ground
from geotiler.core.object_match import Matches, Objects
from geotiler.core.shape_metrics import c_iou, corner_count, max_tangent_angle_deg, polis

Geometries = npt.NDArray[np.object_]

SPACING_PX = 2.0
"""Distance at which the direction of an outline is compared.

Source: Girard et al., Polygonal Building Extraction by Frame Field Learning, CVPR 2021."""


@dataclass(frozen=True, kw_only=True)
class ObjectTally:
    """Objects of one class, and sums over the pairs that were found."""

    truth: int = 0
    """True objects."""
    predicted: int = 0
    """Found objects."""
    matched: int = 0
    """Pairs."""
    iou_sum: float = 0.0
    polis_sum: float = 0.0
    """In metres; in pixels where there is no CRS."""
    c_iou_sum: float = 0.0
    angle_sum_deg: float = 0.0
    angles: int = 0
    """Pairs whose outlines could be compared."""

    def __add__(self, other: ObjectTally) -> ObjectTally:
        names = [item.name for item in fields(self)]
        return ObjectTally(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def precision(self) -> float | None:
        """Share of the found objects that are true ones."""
        return _mean(self.matched, self.predicted)

    @property
    def recall(self) -> float | None:
        """Share of the true objects that were found."""
        return _mean(self.matched, self.truth)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both."""
        return _mean(2 * self.matched, self.truth + self.predicted)

    @property
    def iou(self) -> float | None:
        """Mean intersection over union of the pairs."""
        return _mean(self.iou_sum, self.matched)

    @property
    def polis(self) -> float | None:
        """Mean PoLiS distance of the pairs; see `shape_metrics.polis`."""
        return _mean(self.polis_sum, self.matched)

    @property
    def c_iou(self) -> float | None:
        """Mean complexity-aware IoU of the pairs; see `shape_metrics.c_iou`."""
        return _mean(self.c_iou_sum, self.matched)

    @property
    def max_tangent_angle_deg(self) -> float | None:
        """Mean over the pairs; see `shape_metrics.max_tangent_angle_deg`."""
        return _mean(self.angle_sum_deg, self.angles)


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def tallied(matches: Matches, ground: Ground) -> dict[int, ObjectTally]:
    """Class id → tally of objects whose fate is decided.

    Args:
        matches: shapes in pixels.
        ground: of these pixels; lengths are measured on it.
    """
    bounds = shapely.bounds(matches.truth.shapes).reshape(-1, 4)
    size, _ = ground.pixel_size_m((bounds[:, :2] + bounds[:, 2:]) / 2)
    truth, found = (_on_ground(side.shapes, size) for side in (matches.truth, matches.predicted))
    measures = {
        "iou_sum": matches.iou,
        "polis_sum": polis(found, truth),
        "c_iou_sum": c_iou(matches.iou, corner_count(found), corner_count(truth)),
    }
    angle = max_tangent_angle_deg(found, truth, SPACING_PX * size.mean(axis=1))
    sides = (matches.truth, matches.missed), (matches.predicted, matches.false)
    counts = [_counts(*side) for side in sides]
    result = {}
    for class_id in np.flatnonzero(counts[0] + counts[1]).tolist():
        mine = matches.truth.class_id == class_id
        angles = angle[mine][np.isfinite(angle[mine])]
        result[class_id] = ObjectTally(
            truth=int(counts[0][class_id]),
            predicted=int(counts[1][class_id]),
            matched=int(np.count_nonzero(mine)),
            angle_sum_deg=float(angles.sum()),
            angles=len(angles),
            **{name: float(values[mine].sum()) for name, values in measures.items()},
        )
    return result


def _counts(matched: Objects, alone: Objects) -> npt.NDArray[np.int64]:
    """(256): objects of each class."""
    classes = np.concatenate([matched.class_id, alone.class_id])
    return np.bincount(classes, minlength=256)


def _on_ground(shapes: Geometries, size: npt.NDArray[np.float64]) -> Geometries:
    """Shapes in metres; each by the size (n, 2) of a pixel where it lies."""
    points, owner = shapely.get_coordinates(shapes, return_index=True)
    placed: Geometries = shapely.set_coordinates(shapes.copy(), points * size[owner])
    return placed

"""How well a class raster agrees with the truth, counted exactly and a block at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IGNORED = 255
"""Unknown: pixels with this value, in truth or prediction, are not scored."""


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """Agreement on one class, in pixels. A ratio without any pixel to judge by is None."""

    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def iou(self) -> float | None:
        """Intersection over union, 0 to 1."""
        return _ratio(
            self.true_positive, self.true_positive + self.false_positive + self.false_negative
        )

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall (Dice coefficient), 0 to 1."""
        twice = 2 * self.true_positive
        return _ratio(twice, twice + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float | None:
        """Share of the pixels given this class that have it, 0 to 1."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float | None:
        """Share of the pixels of this class that were given it, 0 to 1."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that exist, or None."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


class ConfusionMatrix:
    """Counts of (true class, predicted class) pairs.

    Law: adding blocks in any order and of any size gives the matrix of the whole.
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros((256, 256), np.int64)
        """[true, predicted] pixels."""

    def add(self, truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8]) -> None:
        """Count the pixels of two class rasters of one shape."""
        if truth.shape != predicted.shape:
            raise ValueError(f"shapes differ: {truth.shape} and {predicted.shape}")
        pairs = truth.astype(np.uint16).ravel() << 8
        pairs |= predicted.ravel()
        self.counts += np.bincount(pairs, minlength=65536).reshape(256, 256)

    @property
    def scored(self) -> int:
        """Pixels known in both."""
        return int(self.counts[:IGNORED, :IGNORED].sum())

    @property
    def ignored(self) -> int:
        """Pixels unknown in either."""
        return int(self.counts.sum()) - self.scored

    @property
    def accuracy(self) -> float | None:
        """Share of the scored pixels on which both agree, background included."""
        return _ratio(self.agreed, self.scored)

    @property
    def agreed(self) -> int:
        """Pixels known in both on which both agree."""
        return int(np.trace(self.counts[:IGNORED, :IGNORED]))

    @property
    def present(self) -> list[int]:
        """Class ids that occur in a scored pixel of either, background left out."""
        known = self.counts[:IGNORED, :IGNORED]
        return [int(i) for i in np.flatnonzero(known.sum(axis=0) + known.sum(axis=1)) if i]

    def score(self, class_id: int) -> ClassScore:
        """Agreement on one class."""
        known = self.counts[:IGNORED, :IGNORED]
        hit = int(known[class_id, class_id])
        return ClassScore(
            true_positive=hit,
            false_positive=int(known[:, class_id].sum()) - hit,
            false_negative=int(known[class_id].sum()) - hit,
        )

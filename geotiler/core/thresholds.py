"""What every threshold of a probability would give, from one pass over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geotiler.specs import PROBABILITY_STEPS

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ThresholdCurve:
    """Scores at each threshold, NaN where no pixel could tell."""

    threshold: Floats
    """(n): a pixel belongs to the class from this probability on; ascending, 1/254 apart."""
    iou: Floats
    f1: Floats
    precision: Floats
    recall: Floats
    average_precision: float | None
    """Area below precision over recall as steps; None where the truth has no such pixel."""

    @property
    def best(self) -> int:
        """Position of the threshold of the highest IoU; the middle one if several have it."""
        known = np.nan_to_num(self.iou, nan=-1.0)
        several = np.flatnonzero(known == known.max())
        return int(several[len(several) // 2])

    def at(self, threshold: float) -> int:
        """Position of the threshold that is nearest to a given one."""
        return int(np.argmin(np.abs(self.threshold - threshold)))


class ThresholdCounts:
    """Pixels by truth and probability, in steps of 1/254 as uint8 probability rasters have.

    Law: blocks in any order give the counts of the whole.
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros((2, PROBABILITY_STEPS + 1), np.int64)
        """[is of the class, step]: pixels."""

    def __add__(self, other: ThresholdCounts) -> ThresholdCounts:
        result = ThresholdCounts()
        result.counts = self.counts + other.counts
        return result

    def add(self, truth: npt.NDArray[np.bool_], steps: npt.NDArray[np.uint8]) -> None:
        """Count known pixels: whether each is of the class, and its probability in steps."""
        for row, chosen in enumerate((~truth, truth)):
            self.counts[row] += np.bincount(steps[chosen], minlength=PROBABILITY_STEPS + 1)

    def curve(self) -> ThresholdCurve:
        """Scores at the thresholds 1/254 to 1."""
        false, true = np.cumsum(self.counts[:, ::-1], axis=1)[:, ::-1].astype(np.float64)
        positive, found = true[0], true + false
        with np.errstate(divide="ignore", invalid="ignore"):
            precision, recall = true / found, true / positive
            iou = true / (positive + false)
            f1 = 2 * true / (positive + found)
        # From the highest threshold down to 0, at which everything is taken.
        gained = np.diff(recall[::-1], prepend=0.0)
        area = float(np.nansum(gained * np.nan_to_num(precision[::-1]))) if positive else None
        steps = np.arange(1, PROBABILITY_STEPS + 1)
        return ThresholdCurve(
            threshold=steps / PROBABILITY_STEPS, iou=iou[1:], f1=f1[1:],
            precision=precision[1:], recall=recall[1:], average_precision=area,
        )  # fmt: skip


def probability_steps(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """round(254 p) of probabilities 0 to 1."""
    return np.rint(np.clip(values, 0.0, 1.0) * PROBABILITY_STEPS).astype(np.uint8)

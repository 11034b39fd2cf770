"""How well the outlines of a class raster agree with the truth, a strip at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geotiler.core.metrics import IGNORED

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class BoundaryCounts:
    """Pixels near outlines, of truth and prediction: boundary intersection over union.

    The band of a class holds its pixels within `distance_px` (chessboard) of a pixel that is known
    to be something else. The edge of the raster and unknown pixels are no outlines. Pixels unknown
    in either raster are not counted.

    Law: strips of any height give the counts of the whole.

    Source: Cheng et al., Boundary IoU, CVPR 2021. They take 2 % of an image's diagonal for the
    distance, which means nothing for a scene, and count the image's edge as an outline.
    """

    def __init__(self, distance_px: int) -> None:
        """Args: distance_px: width of the band, at least 1."""
        self._distance = distance_px
        self._held: tuple[Bytes, Bytes] | None = None
        """Rows of truth and prediction that the next ones need, or wait for them."""
        self._above = 0
        """How many of them are counted already."""
        self.both: npt.NDArray[np.int64] = np.zeros(256, np.int64)
        """(class): pixels in both bands."""
        self.either: npt.NDArray[np.int64] = np.zeros(256, np.int64)
        """(class): pixels in one of the bands."""

    def add(self, truth: Bytes, predicted: Bytes) -> None:
        """Count the next rows (row, col) of class ids."""
        if truth.shape != predicted.shape:
            raise ValueError(f"shapes differ: {truth.shape} and {predicted.shape}")
        if self._held is not None:
            truth = np.concatenate([self._held[0], truth])
            predicted = np.concatenate([self._held[1], predicted])
        self._count(truth, predicted, len(truth) - self._distance)

    def finish(self) -> None:
        """Count the rows that were still waiting; nothing lies below them."""
        if self._held is not None:
            truth, predicted = self._held
            self._count(truth, predicted, len(truth))

    def _count(self, truth: Bytes, predicted: Bytes, stop: int) -> None:
        """Count rows up to `stop` and hold what those below need."""
        if stop > self._above:
            rows = slice(self._above, stop)
            known = (truth[rows] != IGNORED) & (predicted[rows] != IGNORED)
            present = np.flatnonzero(_present(truth) | _present(predicted))
            for class_id in present.tolist():
                bands = [_band(each, class_id, self._distance)[rows] for each in (truth, predicted)]
                self.both[class_id] += np.count_nonzero(bands[0] & bands[1] & known)
                self.either[class_id] += np.count_nonzero((bands[0] | bands[1]) & known)
        counted = max(stop, self._above)
        first = max(0, counted - self._distance)
        self._held = truth[first:].copy(), predicted[first:].copy()
        self._above = counted - first


def _present(classes: Bytes) -> Bools:
    """(256): classes that occur, background and unknown left out."""
    found = np.bincount(classes.ravel(), minlength=256) > 0
    found[[0, IGNORED]] = False
    return found


def _band(classes: Bytes, class_id: int, distance_px: int) -> Bools:
    """Pixels of a class near a known pixel of another one."""
    import cv2  # 15 MB that inference does without

    mine = classes == class_id
    others = (~mine & (classes != IGNORED)).astype(np.uint8)
    kernel = np.ones((2 * distance_px + 1,) * 2, np.uint8)
    near = cv2.dilate(others, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    band: Bools = mine & (near > 0)
    return band

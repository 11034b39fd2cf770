"""From probabilities to class ids, decided once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geotiler.specs import MASK_NODATA, PROBABILITY_STEPS


def class_ids(
    probabilities: NDArray[np.float32],
    valid: NDArray[np.bool_],
    *,
    ids: Sequence[int],
    threshold: float | None,
) -> NDArray[np.uint8]:
    """Class id of each pixel, 255 where invalid.

    Args:
        probabilities: (class, row, col).
        valid: (row, col), True = valid.
        ids: class id of each channel.
        threshold: for one channel: its id from this probability on, else 0. None takes the
            channel of the largest probability.
    """
    lookup = np.asarray(ids, np.uint8)
    if threshold is None:
        found = lookup[probabilities.argmax(axis=0)]
    else:
        found = np.where(probabilities[0] >= np.float32(threshold), lookup[0], np.uint8(0))
    return np.where(valid, found, np.uint8(MASK_NODATA)).astype(np.uint8)


def quantised(
    probabilities: NDArray[np.float32], valid: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Probabilities as round(254 p), 255 where invalid; the error is at most 1/508."""
    steps = np.rint(np.clip(probabilities, 0, 1) * PROBABILITY_STEPS).astype(np.uint8)
    steps[:, ~valid] = MASK_NODATA
    return steps

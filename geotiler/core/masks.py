"""From probabilities to class ids, decided once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geotiler.specs import MASK_NODATA, PROBABILITY_STEPS

_ROWS_AT_ONCE = 64
"""Bounds temporary arrays of 64-bit integers."""


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
    found = np.empty(valid.shape, np.uint8)
    for top in range(0, len(found), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        if threshold is None:
            found[rows] = lookup[probabilities[:, rows].argmax(axis=0)]
        else:
            found[rows] = (probabilities[0, rows] >= np.float32(threshold)) * lookup[0]
    np.copyto(found, np.uint8(MASK_NODATA), where=~valid)
    return found


def quantised(probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Probabilities as round(254 p), 255 where invalid; the error is at most 1/508."""
    steps = np.empty(probabilities.shape, np.uint8)
    for plane, target in zip(probabilities, steps, strict=True):
        scaled = np.clip(plane, 0, 1)
        scaled *= PROBABILITY_STEPS
        np.rint(scaled, out=scaled)
        target[:] = scaled
    np.copyto(steps, np.uint8(MASK_NODATA), where=~valid)
    return steps


def class_counts(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many pixels have each of the values 0 to 255."""
    counts = np.zeros(256, np.int64)
    for top in range(0, len(mask), _ROWS_AT_ONCE):
        counts += np.bincount(mask[top : top + _ROWS_AT_ONCE].ravel(), minlength=256)
    return counts

"""Test-time augmentation: the mean of the answers for an image and its mirror images."""

from __future__ import annotations

import numpy as np

from geotiler.core.arrays import Array
from geotiler.models.predictor import Batch, Predictor
from geotiler.models.resident import Resident, resident_of

_TURNED_AXES: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
"""Axes of (N, C, H, W) that are reversed for each mirror image; the first is the image itself."""


class MirroredPredictor:
    """A `Predictor` of a segmentation network that answers with a mean over mirror images.

    Law: with four of them, mirroring a tile mirrors its answer, up to rounding.
    """

    def __init__(self, inner: Predictor, images: int) -> None:
        """Args: images: 2 (itself and left to right) or 4 (both ways, and both at once)."""
        self.name = f"{inner.name} tta {images}"
        self.classes = inner.classes
        self.batch = inner.batch
        self.tile_shape = inner.tile_shape
        self._inner = inner
        self._turned = _TURNED_AXES[:images]
        there = resident_of(inner)
        self.resident = there and MirroredResident(there, images)
        """See `resident_of`."""

    def __call__(self, batch: Batch) -> Batch:
        """See `Predictor.__call__`."""
        total = self._inner(batch)
        for axes in self._turned[1:]:
            answers = self._inner(np.ascontiguousarray(np.flip(batch, axes)))
            total += np.flip(answers, axes)
        total *= np.float32(1 / len(self._turned))
        return total


class MirroredResident:
    """The same on a device; see `Resident`."""

    def __init__(self, inner: Resident, images: int) -> None:
        """Args: images: see `MirroredPredictor`."""
        self.arrays = inner.arrays
        self.decided = inner.decided
        self.failures = inner.failures
        self._inner = inner
        self._turned = _TURNED_AXES[:images]

    def __call__(self, inputs: Array) -> Array:
        """See `Resident.__call__`."""
        total = self._inner(inputs)
        for axes in self._turned[1:]:
            total = total + self._inner(inputs.flip(axes)).flip(axes)
        return total * (1 / len(self._turned))


def mirrored(predictor: Predictor, images: int) -> Predictor:
    """The predictor, averaged over so many mirror images; itself where that is one."""
    return predictor if images == 1 else MirroredPredictor(predictor, images)

"""A network whose inputs and answers stay on its device, and what comes back from there.

Between the host and a GPU lies a bus that is slower than either: raw values go there as they were
read, and what comes back are classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geotiler.core.arrays import Array, Arrays
from geotiler.models.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class DecidedRows:
    """What comes back of finished rows; nothing in it is nodata yet."""

    classes: NDArray[np.uint8]
    """(row, col), class ids as `class_ids` decides them."""
    probability: NDArray[Any] | None
    """(class, row, col), float32, or uint8 as `quantised` makes them."""
    seam_sums: NDArray[np.float64]
    """See `SeamMeter`."""


class Resident(Protocol):
    """A network on a device, with the arrays of a sweep beside it."""

    arrays: Arrays

    def __call__(self, inputs: Array) -> Array:
        """As `Predictor.__call__`, of a batch made by `arrays.inputs`; nobody waits for it."""
        ...

    def decided(
        self,
        probabilities: Array,
        seam_sums: Array,
        *,
        ids: Sequence[int],
        threshold: float | None,
        probability_dtype: str | None,
    ) -> Callable[[], DecidedRows]:
        """Decide rows (class, row, col) and send them back; the function waits until they are here.

        Args:
            probabilities: of finished rows; they may be overwritten after this returns.
            seam_sums: of these rows.
            ids, threshold: see `class_ids`.
            probability_dtype: uint8 or float32, what is wanted back; None: none.

        Raises:
            ModelError: the function, where a probability is NaN.
        """
        ...

    def failures(self) -> AbstractContextManager[None]:
        """Makes a DeviceError of what the device's library raises, in whichever call it does."""
        ...


def resident_of(predictor: Predictor) -> Resident | None:
    """What keeps a predictor's arrays on its device; None where they are the host's anyway."""
    found: Resident | None = getattr(predictor, "resident", None)
    return found

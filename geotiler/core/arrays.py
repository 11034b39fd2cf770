"""Where the arrays of a sweep live: in the host's memory, or in that of a GPU.

Operators and slices mean the same wherever an array lives, so that blending and measuring seams
are written once. `Arrays` is what is left: making arrays, and what libraries do differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geotiler.core.tiles import Pieces, network_inputs
from geotiler.specs import Scale

Array = Any
"""An array made by some `Arrays`: numpy's own, or one on a device."""


class Arrays(Protocol):
    """What makes the arrays of a sweep, all in one place."""

    rows_at_once: int
    """Rows that are measured in one go, which bounds temporary arrays."""

    def inputs(
        self,
        tiles: Sequence[Pieces],
        tile_shape: tuple[int, int],
        *,
        scale: Scale,
        mean: Sequence[float],
        std: Sequence[float],
        out: Array | None = None,
    ) -> Array:
        """What the network is given for a batch of tiles; see `network_inputs`."""
        ...

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """An array of float32."""
        ...

    def of(self, values: NDArray[Any]) -> Array:
        """A small array of the host, there; not to be written."""
        ...

    def mask(self, valid: NDArray[np.bool_]) -> Array:
        """A mask (row, col) of the host, there; not to be written."""
        ...

    def copied(self, array: Array) -> Array:
        """The same values in memory of their own."""
        ...

    def shift(self, array: Array, axis: int, count: int) -> None:
        """Drop the first positions along an axis in place; the freed ones at the end become 0."""
        ...

    def sums(self, steps: Array, pairs: Array) -> Array:
        """(sum of float32 values, number of True) in double precision, where there is such."""
        ...

    def zero_sums(self) -> Array:
        """(2, 2) zeros that `sums` can be added to."""
        ...


class _HostArrays:
    """Arrays of numpy."""

    rows_at_once = 64
    inputs = staticmethod(network_inputs)

    def zeros(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        return values

    def mask(self, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return valid

    def copied(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.copy()

    def shift(self, array: NDArray[Any], axis: int, count: int) -> None:
        moved = np.moveaxis(array, axis, 0)
        keep = max(0, len(moved) - count)
        if keep:
            moved[:keep] = moved[count:]
        moved[keep:] = 0

    def sums(self, steps: NDArray[np.float32], pairs: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.array([steps.sum(dtype=float), pairs.sum()])

    def zero_sums(self) -> NDArray[np.float64]:
        return np.zeros((2, 2))


HOST: Arrays = _HostArrays()
"""Arrays in the host's memory."""

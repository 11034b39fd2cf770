"""Probability rasters of `geotiler segment`, read in the steps of their 8-bit form."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from geotiler.core.thresholds import probability_steps
from geotiler.errors import InputError
from geotiler.io.raster import Scene, open_scene
from geotiler.specs import PROBABILITY_STEPS, Window

HINT = "--probability takes what geotiler segment --probability wrote for the same scene"


class Probabilities:
    """An open probability raster: a band for each class."""

    def __init__(self, path: str, grid: Scene) -> None:
        """Open it.

        Raises:
            InputError: unreadable, no probabilities, or not of the grid's pixels.
        """
        self._scene = open_scene(path)
        self.path = path
        kinds = set(self._scene.dtypes)
        if self._scene.shape != grid.shape or (
            self._scene.crs == grid.crs
            and not self._scene.transform.almost_equals(grid.transform, precision=1e-6)
        ):
            self._scene.close()
            raise InputError(f"{path} has not the pixels of {grid.path}", hint=HINT)
        said = self._scene.tags.get("GEOTILER_CONTENT") == "probability"
        self._is_float = kinds <= {"float32", "float64"}
        if not (self._is_float or (said and kinds == {"uint8"})):
            self._scene.close()
            raise InputError(
                f"{path} holds {', '.join(sorted(kinds))} values and does not say that they are "
                "probabilities",
                hint=HINT,
            )

    def __enter__(self) -> Probabilities:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scene.close()

    @property
    def bands(self) -> dict[str | None, int]:
        """Lower-case name of each class → its band; None → 1 where the one band has no name."""
        names = self._scene.band_names
        if len(names) == 1:
            return {names[0]: 1, None: 1}
        return {name: band for band, name in enumerate(names, start=1)}

    def read(self, window: Window, band: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Probability in steps of 1/254, and where it is known; both (row, col).

        Raises:
            InputError: unreadable there, or a value is no probability.
        """
        values, valid = self._scene.read_with_valid(window, [band])
        if not self._is_float:
            steps = values[0]
            return steps, valid & (steps <= PROBABILITY_STEPS)
        plane = np.where(valid, values[0], 0.0).astype(np.float32)
        if plane.size and not (plane.min() >= -1e-3 and plane.max() <= 1 + 1e-3):
            raise InputError(
                f"{self.path} holds values of {plane.min():g} to {plane.max():g}, expected "
                "probabilities from 0 to 1",
                hint=HINT,
            )
        return probability_steps(plane), valid

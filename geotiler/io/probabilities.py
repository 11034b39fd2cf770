"""Rasters of probabilities, as `segment --probability` writes them or anybody else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from geotiler.core.masks import class_ids
from geotiler.errors import InputError
from geotiler.io.raster import Scene
from geotiler.io.scene_tags import CONTENT_TAG
from geotiler.specs import MASK_NODATA, PROBABILITY_STEPS, Window

DEFAULT_THRESHOLD = 0.5

HINT = "--probability takes what geotiler segment --probability wrote for the same scene"
TOLD_HINT = "a mask of class ids is vectorized with --outlines-from mask"

_ROUNDING = 1e-3
"""Others' rasters may leave 0 to 1 by this much."""


def is_probability(scene: Scene) -> bool:
    """Whether an open raster says that it holds probabilities."""
    return scene.tags.get(CONTENT_TAG) == "probability"


class Probabilities:
    """An open raster read as probabilities of one class or several."""

    def __init__(
        self, scene: Scene, threshold: float | None = None, *, is_told: bool = False
    ) -> None:
        """`scene` stays the caller's to close.

        Args:
            scene: open.
            threshold: of a raster with one band; None: as its tags say, else 0.5.
            is_told: the user says that these are probabilities, of 0 to 255 in 8 bits; otherwise
                8 bits have to say so themselves, lest a mask be taken for them. A mask of
                geotiler, which names its classes, is known to be none.

        Raises:
            InputError: values that cannot be probabilities.
        """
        self._scene = scene
        self.path = scene.path
        self._hint = TOLD_HINT if is_told else HINT
        kinds = set(scene.dtypes)
        self._factor = 1.0
        self._top = float("inf")
        """Highest stored value that is one; above it nothing is known."""
        if kinds == {"uint8"} and is_probability(scene):
            self._factor, self._top = 1.0 / PROBABILITY_STEPS, PROBABILITY_STEPS
        elif kinds == {"uint8"} and is_told and not scene.class_names:
            self._factor = 1.0 / 255 if scene.scales[0] == 1.0 else scene.scales[0]
        elif not kinds <= {"float32", "float64"}:
            raise InputError(
                f"{scene.path} holds {', '.join(sorted(kinds))} values and does not say that they "
                "are probabilities",
                hint=self._hint,
            )
        stated = scene.settings.get("threshold")
        if threshold is None and isinstance(stated, float) and 0 < stated < 1:
            threshold = stated
        self.threshold = DEFAULT_THRESHOLD if threshold is None else threshold

    @property
    def count(self) -> int:
        """Number of bands, one for each class."""
        return self._scene.count

    @property
    def told(self) -> str:
        """What its bands are called, for messages."""
        return ", ".join(text or "no name" for text in self._scene.descriptions[:12])

    def check_grid(self, grid: Scene) -> None:
        """Raises: InputError: its pixels are not those of the grid."""
        mine = self._scene
        if mine.shape != grid.shape or (
            mine.crs == grid.crs
            and not mine.transform.almost_equals(grid.transform, precision=1e-6)
        ):
            raise InputError(f"{self.path} has not the pixels of {grid.path}", hint=HINT)

    def bands_of(self, names: Mapping[int, str]) -> dict[int, int]:
        """Class id → its band, of those of some named classes that have one.

        A band is found by its name; a single band without the name of any is that of the only
        class, of class 1 if there are several or none.
        """
        bands = {
            (text or "").strip().casefold(): band
            for band, text in enumerate(self._scene.descriptions, start=1)
        }
        folded = {class_id: name.strip().casefold() for class_id, name in names.items()}
        found = {class_id: bands[name] for class_id, name in folded.items() if name in bands}
        if not found and self.count == 1:
            only = set(names) - {0}
            found[only.pop() if len(only) == 1 else 1] = 1
        return found

    def own_bands(self) -> dict[int, int]:
        """Class id → its band, by what the raster itself says: its names, else their order.

        Raises:
            InputError: more bands than there are class ids.
        """
        if self.count >= MASK_NODATA:
            raise InputError(f"{self.path} has {self.count} bands, more than there are class ids")
        named = self.bands_of(self._scene.class_names)
        if len(named) == self.count:
            return named
        return {band: band for band in range(1, self.count + 1)}

    def read(
        self, window: Window, band: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Probabilities (band, row, col) of a window, of one band or all, and where (row, col)
        they are known.

        Raises:
            InputError: unreadable there, or a value is no probability.
        """
        values, valid = self._scene.read_with_valid(window, None if band is None else [band])
        if np.isfinite(self._top):
            valid = valid & (values <= self._top).all(axis=0)
        scaled = np.where(valid, values, 0).astype(np.float32)
        scaled *= np.float32(self._factor)
        if scaled.size:
            low, high = float(scaled.min()), float(scaled.max())
            if low < -_ROUNDING or high > 1 + _ROUNDING:
                raise InputError(
                    f"{self.path} holds values of {low:g} to {high:g}, expected probabilities "
                    "from 0 to 1",
                    hint=self._hint,
                )
        return np.clip(scaled, 0.0, 1.0, out=scaled), valid

    def classes(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (row, col) of a window: 0 background, 255 unknown.

        Raises:
            InputError: as `read`.
        """
        values, valid = self.read(window)
        own = self.own_bands()
        ids = sorted(own, key=lambda class_id: own[class_id])
        threshold = self.threshold if self.count == 1 else None
        return class_ids(values, valid, ids=ids, threshold=threshold)

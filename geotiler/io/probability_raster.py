"""Rasters of probabilities, as `segment --probability` writes them or anybody else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geotiler.core.masks import class_ids
from geotiler.errors import InputError
from geotiler.io.raster import CONTENT_TAG, Scene
from geotiler.specs import MASK_NODATA, PROBABILITY_STEPS, Window

DEFAULT_THRESHOLD = 0.5


def is_probability(scene: Scene) -> bool:
    """Whether an open raster says that it holds probabilities."""
    return scene.tags.get(CONTENT_TAG) == "probability"


class Probabilities:
    """An open raster read as probabilities of one class or several."""

    def __init__(self, scene: Scene, threshold: float | None = None) -> None:
        """`scene` stays the caller's to close.

        Args:
            scene: open.
            threshold: of a raster with one band; None: as its tags say, else 0.5.

        Raises:
            InputError: values of a type that cannot be probabilities.
        """
        self._scene = scene
        dtype = np.dtype(scene.dtypes[0])
        if np.issubdtype(dtype, np.floating):
            self._factor = 1.0
        elif dtype == np.uint8:
            own = scene.scale != 1.0 or is_probability(scene)
            self._factor = 1.0 / PROBABILITY_STEPS if own else 1.0 / 255
        else:
            raise InputError(
                f"{scene.path} holds {dtype} values, expected probabilities",
                hint="floats from 0 to 1, or 8 bits from 0 to 255",
            )
        stated = scene.settings.get("threshold")
        if threshold is None and isinstance(stated, float) and 0 < stated < 1:
            threshold = stated
        self.threshold = DEFAULT_THRESHOLD if threshold is None else threshold
        self.ids = _class_ids(scene)

    @property
    def count(self) -> int:
        """Number of classes that have a band."""
        return len(self.ids)

    def read(self, window: Window) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Probabilities (band, row, col) and valid mask (row, col) of a window.

        Raises:
            InputError: a value below 0 or above 1.
        """
        values, valid = self._scene.read_with_valid(window)
        scaled = values.astype(np.float32) * np.float32(self._factor)
        odd = valid & ((scaled < -1e-6) | (scaled > 1 + 1e-6)).any(axis=0)
        if odd.any():
            value = values[:, odd].flat[np.abs(scaled[:, odd] - 0.5).argmax()]
            raise InputError(
                f"{self._scene.path} holds the value {value:g}, expected probabilities from 0 to 1",
                hint="a mask of class ids is vectorized with --from mask",
            )
        return scaled, valid

    def classes(self, window: Window) -> npt.NDArray[np.uint8]:
        """Class ids (row, col) of a window: 0 background, 255 unknown."""
        values, valid = self.read(window)
        threshold = self.threshold if self.count == 1 else None
        ids = class_ids(values, valid, ids=self.ids, threshold=threshold)
        return ids


def _class_ids(scene: Scene) -> list[int]:
    """Class of each band: by its name where the tags know it, else by its place."""
    by_name = {name: key for key, name in scene.class_names.items()}
    ids = [by_name.get(text or "", 0) for text in scene.descriptions]
    named = all(text in by_name for text in scene.descriptions) and len(set(ids)) == len(ids)
    if named:
        return ids
    if scene.count >= MASK_NODATA:
        raise InputError(f"{scene.path} has {scene.count} bands, more than there are class ids")
    return list(range(1, scene.count + 1))

"""What a preview shows of one part of a scene, everything at the size of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geotiler.core.palette import Colour
from geotiler.io.preview import Reduced, burned, drawn_areas, read_reduced
from geotiler.io.preview_layers import MaskLayer, VectorLayer, read_mask, read_vectors
from geotiler.io.raster import Scene
from geotiler.io.vector_reading import is_vector
from geotiler.specs import MASK_NODATA, PreviewSpec, Window

_CREDIT_TAGS = ("TIFFTAG_COPYRIGHT", "ATTRIBUTION", "attribution", "COPYRIGHT", "copyright")


@dataclass(frozen=True, kw_only=True)
class View:
    """A part of the scene with what lies over it."""

    scene: Reduced
    masks: tuple[MaskLayer, ...]
    vectors: tuple[VectorLayer, ...]
    truth: NDArray[np.bool_] | None
    """(row, col), True where something is known to be; only where the first mask knows."""

    def found(self) -> NDArray[np.bool_] | None:
        """(row, col), what the first mask found, else the first polygons; None without layers."""
        if self.masks:
            ids = self.masks[0].ids
            return np.asarray((ids != 0) & (ids != MASK_NODATA) & self.scene.valid)
        if self.vectors:
            return drawn_areas(self.vectors[0].geometries, self.scene.valid.shape)
        return None

    def area(self) -> NDArray[np.bool_]:
        """Where there is something to look at."""
        nothing = np.zeros_like(self.scene.valid)
        found, truth = self.found(), self.truth
        return (nothing if found is None else found) | (nothing if truth is None else truth)


def read_view(spec: PreviewSpec, scene: Scene, window: Window, shape: tuple[int, int]) -> View:
    """Scene, layers and truth of a window at a shape.

    Raises:
        InputError: a file cannot be read, or does not lie on the scene.
    """
    picture = read_reduced(spec.scene, shape, window=window)
    masks: list[MaskLayer] = []
    colours: dict[str, Colour] = {}
    vector_paths = [path for path in spec.layers if _holds_features(path)]
    for path in spec.layers:
        if path not in vector_paths:
            masks.append(read_mask(path, picture, scene))
            colours |= {each.name: each.colour for each in masks[-1].classes.values()}
    vectors = [read_vectors(path, picture, colours, scene) for path in vector_paths]
    known = picture.valid
    if masks:
        known = known & (masks[0].ids != MASK_NODATA)
    return View(
        scene=picture,
        masks=tuple(masks),
        vectors=tuple(vectors),
        truth=None if spec.truth is None else _truth(spec, picture, scene) & known,
    )


def _truth(spec: PreviewSpec, picture: Reduced, scene: Scene) -> NDArray[np.bool_]:
    path = str(spec.truth)
    if _holds_features(path):
        return burned(path, spec.scene, picture.window, picture.valid.shape)
    ids = read_mask(path, picture, scene).ids
    return np.asarray((ids != 0) & (ids != MASK_NODATA))


def _holds_features(path: str) -> bool:
    return path.lower().endswith(".parquet") or is_vector(path)


def attribution_of(spec: PreviewSpec, scene: Scene) -> str | None:
    """Whose imagery it is: what was given, else what the scene's tags say."""
    if spec.attribution is not None:
        return spec.attribution or None
    return next((scene.tags[tag] for tag in _CREDIT_TAGS if scene.tags.get(tag)), None)

"""What is labelled on the ground of a scene, as class ids on the grid of its chips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyproj
import pyproj.exceptions
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geotiler.core.resample import Axis
from geotiler.errors import InputError
from geotiler.io.raster import Scene
from geotiler.specs import MASK_NODATA, Window

Classes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The pixels of one scene's chips, as one grid."""

    path: str
    """Of the scene, for messages."""
    scene_shape: tuple[int, int]
    axes: tuple[Axis, Axis]
    """(rows, columns) of the scene to the grid."""
    transform: Affine
    """From pixels of the grid to the CRS."""
    crs: CRS | None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the grid."""
        return self.axes[0].target_px, self.axes[1].target_px

    def transform_of(self, window: Window) -> Affine:
        """From pixels of a window of the grid to the CRS."""
        return self.transform @ Affine.translation(window.col, window.row)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of the scene, in its CRS."""
        return window_bounds(
            self.transform, Window(row=0, col=0, height=self.shape[0], width=self.shape[1])
        )


def frame_of(scene: Scene, axes: tuple[Axis, Axis]) -> Frame:
    """The grid that a scene's axes lead to."""
    step = Affine.scale(1 / axes[1].ratio, 1 / axes[0].ratio)
    return Frame(
        path=scene.path,
        scene_shape=scene.shape,
        axes=axes,
        transform=scene.transform @ step,
        crs=scene.crs,
    )


def window_bounds(transform: Affine, window: Window) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of a window's corners."""
    points = window_corners(transform, window)
    left, bottom = points.min(axis=0)
    right, top = points.max(axis=0)
    return float(left), float(bottom), float(right), float(top)


def window_corners(transform: Affine, window: Window) -> NDArray[np.float64]:
    """The four corners (x, y) of a window in the CRS, around it."""
    return placed_points(transform, corner_points(window))


def corner_points(window: Window) -> NDArray[np.float64]:
    """The four corners (column, row) of a window, around it."""
    return np.array([
        [window.col, window.row], [window.col, window.row_stop],
        [window.col_stop, window.row_stop], [window.col_stop, window.row],
    ], float)  # fmt: skip


def placed_points(transform: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (x, y) in the CRS of points (column, row)."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return points @ np.array([[a, d], [b, e]]) + np.array([c, f])


def way_to(frame: Frame, path: str, crs: object) -> pyproj.Transformer:
    """From the CRS of the labels at `path` to that of a frame, which must have one.

    Raises:
        InputError: there is no way, as from a site's own grid.
    """
    try:
        return pyproj.Transformer.from_crs(
            pyproj.CRS.from_user_input(crs), frame.crs.to_wkt(), always_xy=True
        )
    except pyproj.exceptions.ProjError as error:
        raise InputError(
            f"{path} cannot be brought into the CRS of {frame.path}",
            hint="both need a CRS with a place on the earth",
        ) from error


def described_boxes(labels: Sequence[float], scene: Sequence[float]) -> str:
    """Where labels and scene lie, in words; bounds in one CRS."""
    texts = [" ".join(f"{value:.6g}" for value in box) for box in (labels, scene)]
    return f"the labels lie in {texts[0]}, the scene in {texts[1]} (left bottom right top)"


class LabelSource(Protocol):
    """What is known about one scene."""

    def read(self, window: Window) -> Classes:
        """Class ids (row, col) of a window of the chips' grid; 0 background, 255 unknown."""


class Stacked:
    """Several sources: a later one is asked where those before have nothing to say."""

    def __init__(self, sources: Sequence[LabelSource], nothing: int) -> None:
        """Args: sources: at least one. nothing: their answer where they have none."""
        self._sources = sources
        self._nothing = nothing

    def read(self, window: Window) -> Classes:
        """See `LabelSource`."""
        classes = self._sources[0].read(window)
        for source in self._sources[1:]:
            classes = np.where(classes == self._nothing, source.read(window), classes)
        return classes


class Within:
    """A source that is trusted inside an extent only."""

    def __init__(self, source: LabelSource, extent: LabelSource | None) -> None:
        """Args: source: what is labelled. extent: where; None: nowhere in this scene."""
        self._source = source
        self._extent = extent

    def read(self, window: Window) -> Classes:
        """See `LabelSource`; 255 outside the extent."""
        if self._extent is None:
            return np.full(window.shape, MASK_NODATA, np.uint8)
        inside = self._extent.read(window) > 0
        return np.where(inside, self._source.read(window), np.uint8(MASK_NODATA))


class Nothing:
    """Labels of a place that is known to hold no object."""

    def read(self, window: Window) -> Classes:
        """See `LabelSource`; all background."""
        return np.zeros(window.shape, np.uint8)

"""Labels from rasters of class ids, read by windows, through GDAL's warper if need be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import rasterio
import rasterio.windows
from affine import Affine
from rasterio._err import CPLE_BaseError  # which warping lets through as it is
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from geotiler.core.chips import nearest
from geotiler.core.resample import Axis
from geotiler.errors import InputError
from geotiler.io.label_source import (
    Classes,
    Frame,
    LabelSource,
    described_boxes,
    way_to,
    window_bounds,
    window_corners,
)
from geotiler.io.labels import LabelRule, Labels, label_rule
from geotiler.io.raster import Scene, open_scene
from geotiler.io.vector_formats import DRIVERS
from geotiler.io.vector_reading import is_vector
from geotiler.specs import MASK_NODATA, Window

SAME_GRID_PX = 0.01
"""Grids are one when their corners are no further apart."""


class SampledLabels:
    """A raster with the scene's own pixels, taken at the centres of the grid's pixels."""

    def __init__(self, labels: Labels, axes: tuple[Axis, Axis]) -> None:
        """Args: labels: of the raster. axes: (rows, columns) of its pixels to the grid."""
        self._labels = labels
        self._axes = axes

    def read(self, window: Window) -> Classes:
        """See `LabelSource`."""
        rows = nearest(self._axes[0], window.row, window.row_stop)
        cols = nearest(self._axes[1], window.col, window.col_stop)
        height, width = int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1
        part = Window(row=int(rows[0]), col=int(cols[0]), height=height, width=width)
        return self._labels.read(part)[np.ix_(rows - rows[0], cols - cols[0])]


class _WarpedLabels:
    """A raster on another grid."""

    def __init__(self, vrt: WarpedVRT, rule: LabelRule) -> None:
        self._vrt = vrt
        self._rule = rule
        self._nodata = vrt.src_dataset.nodata

    def read(self, window: Window) -> Classes:
        area = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        try:
            values, alpha = self._vrt.read([1, 2], window=area)
        except RasterioError as error:
            raise InputError(
                f"{self._rule.path} cannot be read at rows {window.row} to {window.row_stop} of "
                f"the other grid: {error}",
                hint="the file may be truncated or damaged",
            ) from error
        inside = alpha > 0
        valid = inside & (values != self._nodata) if self._nodata is not None else inside
        classes = self._rule.apply(values, valid)
        classes[~inside] = MASK_NODATA  # the rule may read a stored 0 as background
        return classes


@contextmanager
def warped_labels(path: str, frame: Frame, rule: LabelRule) -> Iterator[LabelSource]:
    """The raster at `path`, resampled (nearest) to the frame's grid; 255 beyond its edge.

    Raises:
        InputError: it has no place on that grid.
    """
    try:
        with (
            rasterio.open(path) as dataset,
            WarpedVRT(
                dataset, crs=frame.crs, transform=frame.transform, width=frame.shape[1],
                height=frame.shape[0], resampling=Resampling.nearest, src_nodata=None,
                nodata=None, add_alpha=True,  # which tells what lies outside
            ) as vrt,
        ):  # fmt: skip
            yield _WarpedLabels(vrt, rule)
    except (CPLE_BaseError, RasterioError) as error:
        raise InputError(f"{path} cannot be brought onto the grid of {frame.path}") from error


def is_raster(path: str, hint: str) -> bool:
    """Whether labels are a raster, not features; `hint` says what may be given.

    Raises:
        InputError: neither raster nor vector file, or missing.
    """
    suffix = Path(path).suffix.lower()
    if suffix in DRIVERS and suffix != ".gpkg":
        return False
    try:
        open_scene(path).close()
    except InputError as error:
        if is_vector(path):
            return False
        raise InputError(error.message, hint=hint) from error
    return True


def overlaps_raster(path: str, frame: Frame) -> bool:
    """Whether a label raster and a scene share ground; by grid or size where one has no CRS."""
    with open_scene(path) as scene:
        if scene.crs is None or frame.crs is None:
            return why_not_taken(scene, frame) is None
        bounds = _bounds_in(scene, frame)
    here = frame.bounds
    return (
        bounds is not None
        and bounds[0] < here[2] and here[0] < bounds[2]
        and bounds[1] < here[3] and here[1] < bounds[3]
    )  # fmt: skip


def has_place(path: str, frame: Frame) -> bool:
    """Whether both a label raster and a scene have a CRS."""
    with open_scene(path) as scene:
        return scene.crs is not None and frame.crs is not None


def raster_place_beside(path: str, frame: Frame) -> str | None:
    """Where a label raster and a scene are, in the scene's CRS; None if nobody can tell."""
    with open_scene(path) as scene:
        if scene.crs is None or frame.crs is None:
            return None
        bounds = _bounds_in(scene, frame)
    if bounds is None:
        return f"the labels have no place in the CRS of {frame.path}"
    return described_boxes(bounds, frame.bounds)


def _bounds_in(scene: Scene, frame: Frame) -> tuple[float, ...] | None:
    whole = Window(row=0, col=0, height=scene.height, width=scene.width)
    bounds = window_bounds(scene.transform, whole)
    moved = way_to(frame, scene.path, scene.crs.to_wkt()).transform_bounds(*bounds)
    return tuple(moved) if np.isfinite(moved).all() else None


@contextmanager
def raster_labels(
    path: str, frame: Frame
) -> Iterator[tuple[LabelSource, dict[int, str], str | None]]:
    """Labels from a raster, the class names it knows, and what was decided in reading it.

    Raises:
        InputError: no mask, or of another size where sizes must be equal.
    """
    with ExitStack() as stack:
        scene = stack.enter_context(open_scene(path))
        labels = Labels(scene, label_rule(scene))
        source: LabelSource
        if scene.crs is None or frame.crs is None:
            if reason := why_not_taken(scene, frame):
                raise InputError(
                    f"mask {reason}",
                    hint="--labels takes a mask of the scene's grid or size, or one with a CRS",
                )
            source = SampledLabels(labels, frame.axes)
        elif is_same_grid(scene, frame):
            source = SampledLabels(labels, frame.axes)
        else:
            source = stack.enter_context(warped_labels(path, frame, labels.rule))
        yield source, scene.class_names, labels.rule.note


def why_not_taken(scene: Scene, frame: Frame) -> str | None:
    """Why a raster's pixels are not a frame's one by one, where one has no CRS; None: they are.

    Sizes must be equal; and the grids, where both have one: of a world file, say.
    """
    if scene.shape != frame.scene_shape:
        return (
            f"{scene.path} is {scene.height} x {scene.width} pixels (rows, columns), {frame.path} "
            f"is {frame.scene_shape[0]} x {frame.scene_shape[1]}; without a CRS they must be equal"
        )
    there = _scene_transform(frame)
    plain = Affine.identity()
    if scene.transform.almost_equals(plain) or there.almost_equals(plain):
        return None
    if _have_same_corners(scene, frame):
        return None
    texts = (
        ",".join(f"{value:.10g}" for value in each.to_gdal()) for each in (scene.transform, there)
    )
    return (
        f"{scene.path} has the transform {next(texts)}, {frame.path} {next(texts)}; without a CRS "
        "they must be equal"
    )


def is_same_grid(scene: Scene, frame: Frame) -> bool:
    """Whether a raster's pixels are those of the scene that the frame belongs to."""
    if scene.shape != frame.scene_shape or scene.crs != frame.crs:
        return False
    return _have_same_corners(scene, frame)


def _have_same_corners(scene: Scene, frame: Frame) -> bool:
    whole = Window(row=0, col=0, height=scene.height, width=scene.width)
    theirs = window_corners(scene.transform, whole)
    ours = window_corners(_scene_transform(frame), whole)
    pixel = abs(scene.transform.determinant) ** 0.5
    return bool(np.abs(theirs - ours).max() <= SAME_GRID_PX * pixel)


def _scene_transform(frame: Frame) -> Affine:
    """From pixels of the scene, not of its chips, to the CRS."""
    return frame.transform @ Affine.scale(*(axis.ratio for axis in frame.axes[::-1]))

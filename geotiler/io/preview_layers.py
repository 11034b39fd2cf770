"""What is drawn over a scene: masks on the picture's grid, vectors in the picture's pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window as RasterWindow

from geotiler.core.measure import Ground
from geotiler.core.palette import Colour, class_colour
from geotiler.core.qgis_style import StyledClass
from geotiler.errors import InputError
from geotiler.io.labels import label_rule
from geotiler.io.opening import quiet_about_georeferencing
from geotiler.io.preview import Reduced
from geotiler.io.raster import Scene, open_scene
from geotiler.io.styles import shown_classes
from geotiler.io.vector_reading import read_features
from geotiler.specs import MASK_NODATA

_ELSEWHERE = "the layers of a preview lie on its scene's ground"


@dataclass(frozen=True, kw_only=True)
class ShownClass:
    """A class with the colour it is drawn in."""

    name: str
    colour: Colour


@dataclass(frozen=True, kw_only=True)
class MaskLayer:
    """A mask of class ids at the size of the picture."""

    path: str
    ids: npt.NDArray[np.uint8]
    """(row, col) of the picture; 0 background, 255 unknown."""
    classes: Mapping[int, ShownClass]
    """Those that are drawn, by id; neither background nor unknown."""
    same_grid: bool
    """The file's pixels are the scene's."""


@dataclass(frozen=True, kw_only=True)
class VectorLayer:
    """Polygons in pixels of the picture, (x, y) from its upper left corner."""

    path: str
    geometries: npt.NDArray[np.object_]
    attributes: Mapping[str, npt.NDArray[Any]]
    class_of: npt.NDArray[np.intp]
    """Index into `classes` of each feature."""
    classes: tuple[ShownClass, ...]
    """Of the whole file, those beside the picture too."""
    filled: bool
    """The file tells several classes: a map, whose areas are looked at rather than their edges."""
    area: npt.NDArray[np.float64]
    """Of each feature, in `area_unit`."""
    area_unit: str
    """m2, or px where the scene has no CRS."""


def read_mask(path: str, like: Reduced, scene: Scene) -> MaskLayer:
    """A mask on the picture's grid, nearest pixels.

    Raises:
        InputError: it cannot be read, holds no class ids, or lies elsewhere.
    """
    with open_scene(path) as opened:
        rule = label_rule(opened)
        names, table = opened.class_names, opened.class_colours
        grid = _grid(opened, scene)
    values, valid = _read_onto(path, like, grid)
    ids = rule.apply(values, valid)
    present = [int(each) for each in np.unique(ids) if 0 < each < MASK_NODATA]
    drawn = sorted({*present, *(key for key in names if 0 < key < MASK_NODATA)})
    classes = {
        each: ShownClass(
            name=names.get(each, f"class {each}"),
            colour=table.get(each, class_colour(each)),
        )
        for each in drawn
    }
    return MaskLayer(path=path, ids=ids, classes=classes, same_grid=grid == Affine.identity())


def _read_onto(
    path: str, like: Reduced, grid: Affine | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Values and valid mask (row, col) on the picture's grid."""
    shape = like.valid.shape
    try:
        with quiet_about_georeferencing(), rasterio.open(path) as dataset:
            if grid is not None:
                return _read_placed(path, dataset, like, grid)
            if dataset.crs is None or like.crs is None:
                raise InputError(f"only one of {path} and its scene has a CRS", hint=_ELSEWHERE)
            _check_place(path, dataset, like)
            with WarpedVRT(
                dataset, crs=like.crs, transform=like.transform, height=shape[0], width=shape[1],
                resampling=Resampling.nearest, nodata=MASK_NODATA,
            ) as warped:  # fmt: skip
                values = warped.read(1)
                return values, (warped.read_masks(1) > 0) & (values != MASK_NODATA)
    except RasterioError as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _grid(mask: Scene, scene: Scene) -> Affine | None:
    """Pixels of a mask to those of the scene, where both are in the same coordinates or in none.

    A picture without any coordinates is the whole scene, whatever its size. None: see their CRS.
    """
    is_plain = mask.crs is None and mask.transform.almost_equals(Affine.identity())
    placed = ~scene.transform @ mask.transform
    same_place = placed.almost_equals(Affine.identity(), 1e-3)
    if mask.shape == scene.shape and (is_plain or same_place):
        return Affine.identity()
    if mask.crs is not None or scene.crs is not None:
        return None
    if is_plain:
        return Affine.scale(scene.width / mask.width, scene.height / mask.height)
    return placed


def _read_placed(
    path: str, dataset: Any, like: Reduced, grid: Affine
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Values and valid mask (row, col) of a raster on a grid along the scene's.

    Raises:
        InputError: it lies beside the scene.
    """
    height, width = like.valid.shape
    down, across = like.window.height / height, like.window.width / width
    # The raster in pixels of the picture: its first one, and how long one of its own is.
    left, top = (grid.c - like.window.col) / across, (grid.f - like.window.row) / down
    x, y = grid.a / across, grid.e / down
    whole = _whole_scene(like)
    right, bottom = left + dataset.width * x, top + dataset.height * y
    if left >= whole[2] or top >= whole[3] or right <= whole[0] or bottom <= whole[1]:
        raise InputError(f"{path} does not touch the scene", hint=_ELSEWHERE)
    values = np.full((height, width), MASK_NODATA, dataset.dtypes[0])
    valid = np.zeros((height, width), bool)
    rows = slice(max(0, round(top)), min(height, round(bottom)))
    cols = slice(max(0, round(left)), min(width, round(right)))
    if rows.start < rows.stop and cols.start < cols.stop:
        first_row, last_row = np.clip(
            [(rows.start - top) / y, (rows.stop - top) / y], 0, dataset.height
        )
        first_col, last_col = np.clip(
            [(cols.start - left) / x, (cols.stop - left) / x], 0, dataset.width
        )
        part = RasterWindow(first_col, first_row, last_col - first_col, last_row - first_row)
        shape = rows.stop - rows.start, cols.stop - cols.start
        options = {"window": part, "out_shape": shape, "resampling": Resampling.nearest}
        values[rows, cols] = dataset.read(1, **options)
        valid[rows, cols] = dataset.read_masks(1, **options) > 0
    return values, valid


def _whole_scene(like: Reduced) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the scene that a picture shows a part of, in its pixels."""
    part = like.window
    down, across = like.valid.shape[0] / part.height, like.valid.shape[1] / part.width
    height, width = like.scene_shape
    return (
        -part.col * across,
        -part.row * down,
        (width - part.col) * across,
        (height - part.row) * down,
    )


def _check_place(path: str, dataset: Any, like: Reduced) -> None:
    corners = _whole_scene(like)
    left, top = like.transform @ corners[:2]
    right, bottom = like.transform @ corners[2:]
    bounds = dataset.bounds
    west, east = sorted((bounds.left, bounds.right))
    south, north = sorted((bounds.bottom, bounds.top))  # rows may begin in the south
    box = transform_bounds(dataset.crs, like.crs, west, south, east, north)
    apart = (
        box[0] >= max(left, right)
        or box[2] <= min(left, right)
        or box[1] >= max(top, bottom)
        or box[3] <= min(top, bottom)
    )
    if apart:
        raise InputError(f"{path} does not touch the scene", hint=_ELSEWHERE)


def read_vectors(
    path: str, like: Reduced, colours: Mapping[str, Colour], scene: Scene
) -> VectorLayer:
    """Polygons of a vector file that touch the picture, in its pixels.

    Classes are the values of the attribute `class`, in the colours of the file's style, else in
    those given for their names.

    Raises:
        InputError: it cannot be read, or none of it touches the scene.
    """
    features = read_features(path)
    shapes = features.geometries
    if features.crs is not None and like.crs is not None:
        there = pyproj.Transformer.from_crs(features.crs, like.crs.to_wkt(), always_xy=True)
        shapes = shapely.transform(shapes, there.transform, interleaved=False)
    ground = Ground(tuple(scene.transform), None if scene.crs is None else scene.crs.to_wkt())
    height, width = like.valid.shape
    picture = _moved(shapes, ~like.transform)
    areal = np.isin(shapely.get_type_id(picture), (3, 6))
    there = areal & shapely.intersects(picture, shapely.box(*_whole_scene(like)))
    if len(picture) and not there.any():
        raise InputError(f"no polygon of {path} touches the scene", hint=_ELSEWHERE)
    inside = there & shapely.intersects(picture, shapely.box(0, 0, width, height))
    values = features.attributes.get("class", np.full(len(picture), Path(path).stem))
    # Those of the whole file: a part of it shows them in the same colours.
    order, class_of = np.unique([str(value) for value in values], return_inverse=True)
    styled = {str(each.value): each for each in shown_classes(Path(path))}
    classes = _shown(order.tolist(), styled, colours)
    picture = picture[inside]
    attributes = {name: np.asarray(column)[inside] for name, column in features.attributes.items()}
    area, _ = ground.measure(_moved(shapes[inside], ~scene.transform))
    return VectorLayer(
        path=path,
        geometries=picture,
        attributes=attributes,
        class_of=class_of[inside].astype(np.intp),
        classes=classes,
        filled=max(len(classes), len(styled)) > 1,
        area=area,
        area_unit="m2" if ground.in_metres else "px",
    )


def _shown(
    values: list[str], styled: Mapping[str, StyledClass], colours: Mapping[str, Colour]
) -> tuple[ShownClass, ...]:
    """Name and colour of each value of the attribute `class`."""
    found = []
    for place, value in enumerate(values, start=1):
        style = styled.get(value)
        name = style.name if style else f"class {value}" if value.isdecimal() else value
        colour = colours.get(name, class_colour(int(value) if value.isdecimal() else place))
        if style is not None:
            red, green, blue = bytes.fromhex(style.color[1:])
            colour = red, green, blue
        found.append(ShownClass(name=name, colour=colour))
    return tuple(found)


def _moved(shapes: npt.NDArray[np.object_], transform: Affine) -> npt.NDArray[np.object_]:
    def move(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = points.T
        return np.stack(
            [
                transform.a * x + transform.b * y + transform.c,
                transform.d * x + transform.e * y + transform.f,
            ],
            axis=1,
        )

    moved: npt.NDArray[np.object_] = shapely.transform(shapes, move)
    return moved


def rings_of(geometry: shapely.Geometry) -> list[npt.NDArray[np.float64]]:
    """Every ring of a polygon or multipolygon as (n, 2) points, the closing one left out."""
    polygons = shapely.get_parts(geometry)
    rings = shapely.get_rings(polygons)
    return [shapely.get_coordinates(ring)[:-1] for ring in rings]

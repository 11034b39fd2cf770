"""Labels from vector files.

A file is read once; for each scene its features are moved into the pixels of the chips and put into
a spatial index, so that a window costs what lies in it, whatever the scene and the file hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray

from geotiler.errors import InputError, SpecError
from geotiler.io.label_source import Classes, Frame, described_boxes, placed_points, way_to
from geotiler.io.vector_reading import attribute_names, read_features
from geotiler.specs import LARGEST_CLASS, MASK_NODATA, ClassRule, Window
from geotiler.spelling import did_you_mean

Shapes = NDArray[np.object_]

_ROOM_PX = 2.0
"""Room around a window in which polygons are looked for."""


def is_polygonal(shapes: Shapes) -> NDArray[np.bool_]:
    """(shape): True for polygons and multipolygons."""
    kinds = [shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON]
    return np.isin(shapely.get_type_id(shapes), kinds)


class PolygonFile:
    """Polygons of a vector file with the class id of each."""

    def __init__(
        self,
        path: str,
        *,
        flag: str = "--labels",
        attribute: str | None = None,
        classes: Sequence[ClassRule] = (),
    ) -> None:
        """Read it.

        Args:
            path: vector file.
            flag: that named it, for hints.
            attribute: that tells the class; None: all are class 1, or that of the one rule.
            classes: what the attribute's values mean.

        Raises:
            InputError: unreadable, without polygons, or with classes that collide.
            SpecError: without the attribute.
        """
        self.path = path
        self._flag = flag
        wanted = [] if attribute is None else [attribute]
        features = read_features(path, columns=wanted, keep_empty=True)
        if attribute is not None and attribute not in features.attributes:
            raise no_such_attribute(path, attribute)
        self.crs = features.crs
        self.shapes: Shapes = features.geometries
        self.classes: dict[int, str] = {}
        self.unmapped = 0
        """Features whose value has no class: they count as background."""
        if attribute is None:
            rule = next(iter(classes), ClassRule(id=1, name="object", values=("object",)))
            self.ids = np.full(len(self.shapes), rule.id, np.uint8)
            self.classes = {rule.id: rule.name}
        else:
            self.ids = self._mapped(features.attributes[attribute], classes)
        self._useless = ~is_polygonal(self.shapes) | shapely.is_empty(self.shapes)
        if self._useless.all():
            what = "no polygons" if len(self.shapes) else "no features"
            raise InputError(f"{path} holds {what}", hint=f"{flag} takes a file of polygons")
        self.bad: dict[int, str] = {}
        """Feature number (from 0) → what is wrong with it, as far as scenes have asked."""

    def _mapped(self, column: NDArray[Any], rules: Sequence[ClassRule]) -> NDArray[np.uint8]:
        texts = _texts(column)
        by_value = {value.casefold(): rule.id for rule in rules for value in rule.values}
        self.classes = {rule.id: rule.name for rule in rules if 0 < rule.id < MASK_NODATA}
        known = np.array([text.casefold() in by_value for text in texts], bool)
        self.unmapped = int(np.count_nonzero(~known))
        if len(texts) and not known.any():
            have = ", ".join(sorted(set(texts) - {""})[:8]) or "none"
            raise InputError(
                f"{self.path} has no feature of the classes {', '.join(by_value)}; values: {have}",
                hint="--classes building=1,road=2 names values of the attribute",
            )
        return np.array([by_value.get(text.casefold(), 0) for text in texts], np.uint8)

    def onto(self, frame: Frame, *, skip_bad: bool) -> PolygonLabels | None:
        """The polygons in pixels of a frame; None if none of them lies there.

        Raises:
            InputError: no CRS where the scene has one, or, unless `skip_bad`, features without
                area or with outlines that cross themselves.
        """
        self._remember_useless(skip_bad)
        moved, exists = in_pixels(self.path, self.shapes, self.crs, frame, self._flag)
        bounds = shapely.bounds(moved)
        height, width = frame.shape
        with np.errstate(invalid="ignore"):
            here = (
                (bounds[:, 0] < width) & (bounds[:, 2] > 0)
                & (bounds[:, 1] < height) & (bounds[:, 3] > 0) & ~self._useless & exists
            )  # fmt: skip
        chosen = np.flatnonzero(here)
        wrong = chosen[~shapely.is_valid(moved[chosen])]
        for index in wrong.tolist():
            reason = shapely.is_valid_reason(self.shapes[index])
            self.bad[index] = "Self-intersection" if reason == "Valid Geometry" else reason
        self._complain(skip_bad)
        chosen = np.setdiff1d(chosen, wrong)
        if not chosen.size:
            return None
        return PolygonLabels(moved[chosen], self.ids[chosen])

    def place_beside(self, frame: Frame) -> str | None:
        """Where the polygons and a scene are, in the polygons' CRS; None if nobody can tell."""
        if self.crs is None or frame.crs is None:
            return None
        there = pyproj.Transformer.from_crs(frame.crs.to_wkt(), self.crs, always_xy=True)
        return described_boxes(
            shapely.total_bounds(self.shapes), there.transform_bounds(*frame.bounds)
        )

    def _remember_useless(self, skip_bad: bool) -> None:
        for index in np.flatnonzero(self._useless).tolist():
            shape = self.shapes[index]
            empty = shape is None or shape.is_empty
            self.bad[index] = "empty geometry" if empty else f"{shape.geom_type}, not a polygon"
        self._complain(skip_bad)

    def _complain(self, skip_bad: bool) -> None:
        if self.bad and not skip_bad:
            index, reason = next(iter(self.bad.items()))
            raise InputError(
                f"{self.path} has {len(self.bad)} bad feature{'s' if len(self.bad) > 1 else ''}, "
                f"the first is number {index + 1}: {reason}",
                hint="--skip-bad leaves them out and counts them",
            )


def no_such_attribute(path: str, attribute: str) -> SpecError:
    """The error that says which attributes there are."""
    known = attribute_names(path)
    have = ", ".join(known[:12]) or "none"
    return SpecError(
        f"{path} has no attribute {attribute!r}{did_you_mean(attribute, known) or ';'} "
        f"its attributes: {have}",
        hint="--attribute takes one of these",
    )


def in_pixels(
    path: str, shapes: Shapes, crs: pyproj.CRS | None, frame: Frame, flag: str
) -> tuple[Shapes, NDArray[np.bool_]]:
    """Shapes in pixels of a frame, and which of them have a place there.

    Where neither they nor the frame have a CRS, they are in the coordinates of its transform: those
    of a world file, or pixels.

    Raises:
        InputError: only one of the two has a CRS; `flag` named the file.
    """
    points, owner = shapely.get_coordinates(shapes, return_index=True)
    exists = np.ones(len(shapes), bool)
    if frame.crs is None:
        if crs is not None:
            raise _without_place(path, crs, frame, flag)
        pixels = placed_points(~frame.transform, points)
    else:
        if crs is None:
            raise InputError(
                f"{path} has no CRS, but {frame.path} has one",
                hint=f"{flag} takes a vector file with a CRS",
            )
        there = way_to(frame, path, crs)
        placed = np.stack(there.transform(points[:, 0], points[:, 1]), axis=1)
        exists[owner[~np.isfinite(placed).all(axis=1)]] = False
        placed[~exists[owner]] = 0.0  # a ring with infinite corners does not close
        pixels = placed_points(~frame.transform, placed)
    moved: Shapes = shapely.set_coordinates(shapes.copy(), pixels)
    return moved, exists


def _without_place(path: str, crs: pyproj.CRS, frame: Frame, flag: str) -> InputError:
    hint = f"give {frame.path} a CRS, or {flag} polygons in its coordinates"
    if Path(path).suffix.lower() in (".geojson", ".json"):
        hint += ': a GeoJSON is longitude and latitude unless it says "crs": null'
    return InputError(
        f"{path} is in {crs.name}, and {frame.path} has no CRS: nobody knows where they meet",
        hint=hint,
    )


class PolygonLabels:
    """Polygons in pixels, burned window by window where they contain a pixel's centre."""

    def __init__(self, shapes: Shapes, ids: NDArray[np.uint8]) -> None:
        """Args: shapes: in pixels. ids: class of each; later ones lie on top."""
        self.shapes = shapes
        self.ids = ids
        self._tree = shapely.STRtree(shapes)

    def read(self, window: Window) -> Classes:
        """See `LabelSource`; what no polygon covers is background."""
        chosen = self._near(window)
        return _burned(self.shapes[chosen], self.ids[chosen], window)

    def numbers(self, window: Window) -> NDArray[np.int32]:
        """Number (row, col) of the polygon on top of each pixel, -1 where there is none."""
        chosen = self._near(window)
        return _burned(self.shapes[chosen], (chosen + 1).astype(np.int32), window) - np.int32(1)

    def _near(self, window: Window) -> NDArray[np.intp]:
        """Positions of the polygons that may cover a pixel of a window, in their order."""
        frame = shapely.box(
            window.col - _ROOM_PX, window.row - _ROOM_PX,
            window.col_stop + _ROOM_PX, window.row_stop + _ROOM_PX,
        )  # fmt: skip
        return np.sort(self._tree.query(frame))


def _burned(shapes: Shapes, values: NDArray[Any], window: Window) -> NDArray[Any]:
    """Values (row, col) of the polygons that contain the pixels' centres; 0 elsewhere."""
    if not len(shapes):
        return np.zeros(window.shape, values.dtype)
    burned: NDArray[Any] = rasterio.features.rasterize(
        zip(shapes, values.tolist(), strict=True),
        out_shape=window.shape,
        transform=Affine.translation(window.col, window.row),
        dtype=values.dtype,
    )
    return burned


def found_classes(paths: Sequence[str], attribute: str) -> list[ClassRule]:
    """A class for each value of an attribute in any of the files, numbered in alphabetical order.

    Raises:
        InputError: values differ by upper and lower case only, or are too many.
    """
    texts: set[str] = set()
    for path in paths:
        column = read_features(path, columns=[attribute]).attributes.get(attribute)
        if column is not None:  # a file without it is refused where it is used
            texts.update(_texts(column))
    values = sorted(texts - {""})
    folded: dict[str, str] = {}
    for value in values:
        other = folded.setdefault(value.casefold(), value)
        if other != value:
            raise InputError(
                f"class names collide: {other!r} and {value!r} in the attribute {attribute!r}",
                hint=f"--classes {value.casefold()}=1 takes them as one",
            )
    if len(values) > LARGEST_CLASS:
        raise InputError(
            f"the attribute {attribute!r} has {len(values)} values, expected at most "
            f"{LARGEST_CLASS} classes",
            hint="--classes building=1,road=2 names those that count",
        )
    return [
        ClassRule(id=index, name=value, values=(value,))
        for index, value in enumerate(values, start=1)
    ]


def _texts(column: NDArray[Any]) -> list[str]:
    return ["" if _is_null(value) else _text(value) for value in column.tolist()]


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _text(value: Any) -> str:
    """An attribute's value as it would be written in --classes: 1.0 is "1"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()

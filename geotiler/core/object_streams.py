"""Objects to be compared, handed out as a scene is read from top to bottom."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.measure import Ground
from geotiler.core.object_match import Objects, Unfinished
from geotiler.core.outlines import Outlines
from geotiler.core.polygons import PolygonStream
from geotiler.core.simplify import STAIRS_PX, simplify
from geotiler.specs import SMALLEST_HOLE_M2, Window

Geometries = npt.NDArray[np.object_]


class TracedObjects:
    """Objects of a class raster that is given in strips: the connected pixels of a class.

    Small holes are filled and stairs straightened as `vectorize` does without regularization.
    """

    def __init__(self, width: int, ground: Ground, least_area_m2: float) -> None:
        """Begin above the first row.

        Args:
            width: of the raster.
            ground: of its pixels.
            least_area_m2: smaller objects are left out (square pixels without a CRS).
        """
        self._stream = PolygonStream(width)
        self._ground = ground
        self._least = least_area_m2

    def add_strip(self, classes: npt.NDArray[np.uint8]) -> Objects:
        """Objects completed by the next rows; 0 is background, any other value a class."""
        return self._gathered(self._stream.add_strip(classes))

    def finish(self) -> Objects:
        """Objects that reach the last row."""
        return self._gathered(self._stream.finish())

    @property
    def unfinished(self) -> Unfinished:
        """Objects that reach the last row given."""
        stream = self._stream
        return Unfinished(
            bounds=stream.open_bounds().astype(np.float64),
            area_px=stream.open_area_px.astype(np.float64),
        )

    def _gathered(self, found: Iterable[Outlines]) -> Objects:
        every = Objects.none()
        for outlines in found:
            if len(outlines):
                every += self._objects(outlines)
        return every

    def _objects(self, outlines: Outlines) -> Objects:
        bounds = outlines.bounds_px()
        size, pixel_area = self._ground.pixel_size_m((bounds[:, :2] + bounds[:, 2:]) / 2)
        ring_area = outlines.ring_area_px * pixel_area[outlines.ring_feature]
        outlines = outlines.without_rings((ring_area < 0) & (ring_area > -SMALLEST_HOLE_M2))
        large = outlines.area_px() * pixel_area >= self._least
        outlines, size = outlines.select(large), size[large]
        tolerance = STAIRS_PX * np.sqrt(pixel_area[large])
        return Objects(
            shapes=simplify(outlines.polygons(), size, tolerance),
            class_id=outlines.class_id,
            number=np.full(len(outlines), -1, np.int64),
        )


class GivenObjects:
    """Objects whose outlines are known from the start."""

    def __init__(self, objects: Objects) -> None:
        """Args: objects: in pixels, in any order."""
        top = shapely.bounds(objects.shapes).reshape(-1, 4)[:, 1]
        order = np.argsort(top, kind="stable")
        self._objects, self._top = objects.take(order), top[order]
        self._given = 0

    def until(self, row: float) -> Objects:
        """Objects that begin above a row and were not handed out before."""
        first, self._given = self._given, int(np.searchsorted(self._top, row, side="left"))
        return self._objects.take(np.arange(first, self._given))


def given_objects(
    shapes: Geometries,
    class_id: npt.NDArray[np.uint8],
    grid: Window,
    ground: Ground,
    least_area_m2: float,
) -> tuple[Objects, int]:
    """Polygons as objects of a grid, numbered by their position, and how many had to be mended.

    What lies outside of the grid is cut off; an object of which the grid shows less than half,
    one of class 0, and one that is too small is left out. Outlines that cross themselves are
    mended.

    Args:
        shapes: polygons and multipolygons in pixels of the grid.
        class_id: of each.
        grid: the whole of it.
        ground: of its pixels.
        least_area_m2: smaller ones are left out (square pixels without a CRS).
    """
    number = np.flatnonzero((class_id > 0) & ~shapely.is_empty(shapes))
    chosen = shapes[number]
    wrong = ~shapely.is_valid(chosen)
    chosen[wrong] = shapely.make_valid(chosen[wrong], method="structure", keep_collapsed=False)
    area = shapely.area(chosen)
    frame = shapely.box(grid.col, grid.row, grid.col_stop, grid.row_stop)
    shapely.prepare(frame)
    out = ~shapely.contains_properly(frame, chosen)
    chosen[out] = shapely.intersection(chosen[out], frame)
    # Where an outline runs along the frame, the cut leaves lines beside the polygon.
    mixed = shapely.get_type_id(chosen) == shapely.GeometryType.GEOMETRYCOLLECTION
    chosen[mixed] = shapely.buffer(chosen[mixed], 0.0)
    inside = (shapely.area(chosen) > 0) & (shapely.area(chosen) >= area / 2)
    chosen, number = chosen[inside], number[inside]
    large = ground.measure(chosen)[0] >= least_area_m2
    objects = Objects(
        shapes=chosen[large],
        class_id=class_id[number][large],
        number=number[large].astype(np.int64),
    )
    return objects, int(np.count_nonzero(wrong))

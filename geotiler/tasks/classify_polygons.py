"""Cells of a map as polygons: one for each, or one for each area of one class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geotiler.core.cells import FinishedCells
from geotiler.core.components import ComponentSums
from geotiler.core.outlines import Outlines
from geotiler.core.polygons import PolygonStream
from geotiler.core.qgis_style import StyledClass
from geotiler.io.vector import FeatureBatch, Layer, digits_for
from geotiler.tasks.classify_plan import ClassifyPlan

_DIGITS = 4
"""Decimal places of probabilities."""


class CellPolygons:
    """Features of a map, in the order of their last row, numbered from 1.

    Outlines end at the scene's edge, where the last cells may be narrower. Cells without a label
    have no feature.
    """

    def __init__(self, plan: ClassifyPlan) -> None:
        """No feature yet."""
        self.count = 0
        """Features so far."""
        self._plan = plan
        self._names = np.array(plan.names, object)
        self._area = "area_m2" if plan.ground.in_metres else "area_px"
        self._y, self._x = plan.cell_edges_px

    @property
    def layer(self) -> Layer:
        """What all features have in common."""
        fields = {"id": "int", "class": "text", "confidence": "float", self._area: "float"}
        if self._plan.spec.dissolve:
            fields["cells"] = "int"
        fields |= {f"p_{name}": "float" for name in self._plan.names}
        ground = self._plan.ground
        return Layer(
            fields=fields,
            crs=ground.crs,
            digits=digits_for(ground.pixel) if ground.crs is None else None,
            styled=self._styled,
        )

    def _styled(self) -> list[StyledClass]:
        """The model's classes in their own colours, those that do not occur too."""
        classes = self._plan.classes.values()
        return [StyledClass(value=name, name=name, color=colour) for name, colour in classes]

    def batches(self, rows: Iterable[FinishedCells]) -> Iterator[FeatureBatch]:
        """The features of rows of cells that come from top to bottom."""
        yield from self._dissolved(rows) if self._plan.spec.dissolve else self._single(rows)

    def _single(self, rows: Iterable[FinishedCells]) -> Iterator[FeatureBatch]:
        for cells in rows:
            row, col = np.nonzero(cells.known)
            y, x = self._y[cells.row :], self._x
            boxes = shapely.box(x[col], y[row], x[col + 1], y[row + 1])
            if len(boxes):
                yield self._batch(boxes, cells.probabilities[:, row, col].astype(np.float64))

    def _dissolved(self, rows: Iterable[FinishedCells]) -> Iterator[FeatureBatch]:
        stream = PolygonStream(self._plan.map.shape[1])
        sums = ComponentSums()
        for cells in rows:
            likeliest = cells.probabilities.argmax(axis=0).astype(np.uint8) + np.uint8(1)
            classes = np.where(cells.known, likeliest, np.uint8(0))  # 0 belongs to no area
            sums.add_rows(classes, cells.probabilities)
            for outlines in stream.add_strip(classes):
                yield from self._areas(outlines, sums)
        for outlines in stream.finish():
            yield from self._areas(outlines, sums)

    def _areas(self, outlines: Outlines, sums: ComponentSums) -> Iterator[FeatureBatch]:
        """The features of complete areas, none or one batch."""
        if not len(outlines):
            return
        found = [sums.take(row, col) for row, col in _first_cells(outlines).tolist()]
        cells = np.array([count for count, _ in found])
        probabilities = np.stack([total / count for count, total in found], axis=1)
        corners = outlines.polygons()
        points = shapely.get_coordinates(corners).astype(np.intp)
        placed = np.stack([self._x[points[:, 0]], self._y[points[:, 1]]], axis=1)
        polygons = shapely.set_coordinates(corners, placed)
        yield self._batch(polygons, probabilities, outlines.class_id.astype(np.intp) - 1, cells)

    def _batch(
        self,
        polygons: NDArray[np.object_],
        probabilities: NDArray[np.float64],
        channel: NDArray[np.intp] | None = None,
        cells: NDArray[np.int64] | None = None,
    ) -> FeatureBatch:
        """Features from outlines in pixels of the scene.

        Args:
            polygons: (feature).
            probabilities: (class, feature).
            channel: (feature): of its class; None: of the largest probability.
            cells: (feature): how many it is made of; None leaves the attribute out.
        """
        if channel is None:
            channel = probabilities.argmax(axis=0)
        ground = self._plan.ground
        attributes: dict[str, NDArray[Any]] = {
            "id": np.arange(self.count + 1, self.count + 1 + len(polygons)),
            "class": self._names[channel],
            "confidence": probabilities[channel, np.arange(len(polygons))].round(_DIGITS),
            self._area: ground.measure(polygons)[0].round(2),
        }
        if cells is not None:
            attributes["cells"] = cells
        for name, values in zip(self._plan.names, probabilities, strict=True):
            attributes[f"p_{name}"] = values.round(_DIGITS)
        self.count += len(polygons)
        return FeatureBatch(geometries=ground.geometries_to_crs(polygons), attributes=attributes)


def _first_cells(outlines: Outlines) -> NDArray[np.int64]:
    """(feature, 2): row and column of the first cell of each area, row-major."""
    sizes = np.diff(outlines.ring_starts)
    feature = np.repeat(outlines.ring_feature, sizes)
    col, row = outlines.xy[:, 0].astype(np.int64), outlines.xy[:, 1].astype(np.int64)
    order = np.lexsort((col, row, feature))
    first = order[np.searchsorted(feature[order], np.arange(len(outlines)))]
    return np.stack([row[first], col[first]], axis=1)

"""Which cells of a scene a map is made of, and the tiles that they are seen by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geotiler.core.cells import CellAxis, FinishedCells
from geotiler.core.resample import Axis
from geotiler.io.area import Area, OutsideError

_EDGE_PX = 0.01
"""An area that reaches no further into a cell than that ends at its edge, but for rounding."""

_CELLS_AT_ONCE = 100_000
"""As many are held against an area at once."""


@dataclass(frozen=True, kw_only=True)
class AskedCells:
    """A rectangle of the scene's cells. Their labels are those that they get in the whole scene."""

    whole: tuple[CellAxis, CellAxis]
    """(rows, columns) of the scene's cells."""
    first: tuple[int, int]
    """(row, col) of the first cell."""
    shape: tuple[int, int]
    """Cells (down, across)."""
    wanted: NDArray[np.bool_] | None = None
    """(down, across), False where the area does not touch a cell; None: all are asked for."""

    @cached_property
    def parts(self) -> tuple[tuple[int, CellAxis], tuple[int, CellAxis]]:
        """First network pixel, and axis, of the rows and of the columns that have to be seen."""
        rows, columns = (
            axis.part(first, first + count)
            for axis, first, count in zip(self.whole, self.first, self.shape, strict=True)
        )
        return rows, columns

    @property
    def offset(self) -> tuple[int, int]:
        """(row, col) of the first cell among those of `parts`."""
        row, col = (
            first - start // axis.stride_px
            for first, (start, axis) in zip(self.first, self.parts, strict=True)
        )
        return row, col

    @property
    def is_all(self) -> bool:
        """Whether the whole scene is asked for."""
        return self.wanted is None and self.shape == tuple(axis.cells for axis in self.whole)

    @property
    def count(self) -> int:
        """How many cells are wanted."""
        return self.shape[0] * self.shape[1] if self.wanted is None else int(self.wanted.sum())

    @property
    def tiles(self) -> int:
        """How many tiles of `parts` cover a cell that is wanted."""
        return int(self._tiles_across.sum())

    def tiles_before(self, row: int) -> int:
        """How many of them lie above all those that cover a row of the map."""
        return int(self._tiles_across[: self.parts[0][1].first_tile(row + self.offset[0])].sum())

    def wanted_tiles(self, row: int) -> NDArray[np.bool_]:
        """(col), of a row of tiles of `parts`: True where one covers a cell that is wanted."""
        above, below = (ends[row] for ends in self._covered[0])
        before, behind = self._covered[1]
        if self.wanted is None:
            return (before < behind) & (above < below)
        sums = np.append(0, self.wanted[above:below].any(axis=0).cumsum())
        found: NDArray[np.bool_] = sums[behind] > sums[before]
        return found

    @cached_property
    def _tiles_across(self) -> NDArray[np.int64]:
        """How many wanted tiles each row of tiles has."""
        (above, below), (before, behind) = self._covered
        if self.wanted is None:
            return (above < below) * (before < behind).sum()
        return np.array([self.wanted_tiles(row).sum() for row in range(len(above))])

    @cached_property
    def _covered(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
        """[first, last) of the map's rows that each row of tiles covers; the same of columns."""
        limits = []
        for (_, axis), offset, count in zip(self.parts, self.offset, self.shape, strict=True):
            cells = np.array([axis.covered(tile) for tile in range(len(axis.starts))]) - offset
            first, last = np.clip(cells, 0, count).T
            limits.append((first, last))
        return tuple(limits)

    def taken(self, cells: FinishedCells) -> FinishedCells:
        """Rows of the map from rows of `parts`, perhaps none."""
        (top, left), (height, width) = self.offset, self.shape
        first = max(0, top - cells.row)
        last = max(first, min(len(cells.known), top + height - cells.row))
        rows, columns = slice(first, last), slice(left, left + width)
        row = cells.row + first - top
        known = cells.known[rows, columns]
        if self.wanted is not None:
            known = known & self.wanted[row : row + len(known)]
        probabilities = cells.probabilities[:, rows, columns] * known
        return FinishedCells(row=row, probabilities=probabilities, known=known)


def asked_cells(
    whole: tuple[CellAxis, CellAxis], axes: tuple[Axis, Axis], area: Area | None
) -> AskedCells:
    """The cells that an area touches, in the rectangle of rows and columns around them.

    Args:
        whole: (rows, columns) of the scene's cells, in network pixels.
        axes: (rows, columns), pixels of what is read to network pixels.
        area: in pixels of what is read; None: everything. An outline that is no rectangle takes
            a byte for each cell of the rectangle around it.

    Raises:
        OutsideError: no cell is touched more than a rounding error.
    """
    shape = whole[0].cells, whole[1].cells
    if area is None:
        return AskedCells(whole=whole, first=(0, 0), shape=shape)
    edges = [np.minimum(c.edges / a.ratio, a.source_px) for c, a in zip(whole, axes, strict=True)]
    left, top, right, bottom = area.polygons.bounds
    (first, last), (before, behind) = (
        _reached(ends, low, high)
        for ends, low, high in zip(edges, (top, left), (bottom, right), strict=True)
    )
    wanted = None
    if not area.is_box:
        columns = _limits(edges[1][before : behind + 1])
        step = max(1, _CELLS_AT_ONCE // len(columns))
        wanted = np.concatenate(
            [
                area.touches(_limits(edges[0][row : min(row + step, last) + 1]), columns)
                for row in range(first, last, step)
            ]
        )
        if not wanted.any():
            raise OutsideError("the area reaches no further than the edge of the scene")
    return AskedCells(
        whole=whole, first=(first, before), shape=(last - first, behind - before), wanted=wanted
    )


def _reached(edges: NDArray[np.float64], low: float, high: float) -> tuple[int, int]:
    """Cells [first, last) between edges that reach into [low, high], at least one."""
    first = int(np.searchsorted(edges, low + _EDGE_PX, side="right")) - 1
    last = int(np.searchsorted(edges, high - _EDGE_PX, side="left"))
    first = min(max(first, 0), len(edges) - 2)
    return first, min(max(last, first + 1), len(edges) - 1)


def _limits(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """(cells, 2): what an area has to reach to touch a cell."""
    return np.stack([edges[:-1] + _EDGE_PX, edges[1:] - _EDGE_PX], axis=1)

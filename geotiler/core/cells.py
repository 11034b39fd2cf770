"""A map of cells from tiles that got one answer each.

A cell is a square of one stride. Where stride and tile are the same, a cell has its own tile and
takes its answer as it is. Where tiles overlap, a cell's probabilities are the weighted mean of all
tiles that cover a part of it; a tile's weight for a cell is the sum of its window weights there,
so that the tiles whose centres are nearest count most. Tiles with too little to see have no
answer. The sum of weights is therefore kept for each cell: it is no product of rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geotiler.core.blend import window_weights
from geotiler.core.grid import starts
from geotiler.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class CellAxis:
    """Tiles and cells along one side of a scene, in network pixels."""

    length_px: int
    """Of the scene."""
    tile_px: int
    """May be more than the scene has."""
    stride_px: int
    """Side of a cell, and distance of neighbouring tiles."""

    def __post_init__(self) -> None:
        """Raises: SpecError: an empty side, or cells that no tile sees."""
        if self.length_px < 1:
            raise SpecError(f"a scene needs at least one pixel, got {self.length_px}")
        if not 1 <= self.stride_px <= self.tile_px:
            raise SpecError(
                f"stride_px must be in [1, {self.tile_px}], got {self.stride_px}",
                hint=f"try --stride {self.tile_px}",
            )

    @cached_property
    def starts(self) -> list[int]:
        """First pixel of each tile; the last one is shifted inward."""
        return starts(self.length_px, self.tile_px, self.stride_px)

    @property
    def cells(self) -> int:
        """How many cells cover the side; the last one may stick out."""
        return -(-self.length_px // self.stride_px)

    @property
    def edges(self) -> NDArray[np.int64]:
        """(cells + 1): where cells begin and end, the last one at the scene's edge."""
        inner = np.arange(self.cells + 1, dtype=np.int64) * self.stride_px
        return np.minimum(inner, self.length_px)

    def final(self, tile: int) -> int:
        """How many cells are final once tiles 0 to `tile` have answered."""
        if tile + 1 == len(self.starts):
            return self.cells
        if self.stride_px == self.tile_px:
            return tile + 1
        return self.starts[tile + 1] // self.stride_px

    def first_tile(self, cell: int) -> int:
        """The first tile that covers a part of a cell; all later ones follow it in `starts`."""
        if self.stride_px == self.tile_px:
            return cell
        first_px = cell * self.stride_px
        return next(i for i, start in enumerate(self.starts) if start + self.tile_px > first_px)

    def covered(self, tile: int) -> tuple[int, int]:
        """Cells [first, last) that a tile answers for."""
        if self.stride_px == self.tile_px:
            return tile, tile + 1
        start = self.starts[tile]
        stop = min(start + self.tile_px, self.length_px)
        return start // self.stride_px, -(-stop // self.stride_px)

    def part(self, first: int, last: int) -> tuple[int, CellAxis]:
        """First pixel, and axis, of a part in which cells [first, last) get what they get here.

        It begins with a cell, perhaps before the first one, and holds every tile that covers one
        of them.
        """
        tile = self.first_tile(first)
        if self.starts[tile] % self.stride_px:  # the last one, which is shifted inward
            tile -= 1
        start = self.starts[tile]
        stop = self.length_px
        if last < self.cells and self.stride_px == self.tile_px:
            stop = min(stop, last * self.tile_px)
        elif last < self.cells:
            seen = [begin for begin in self.starts if begin < last * self.stride_px]
            stop = min(stop, seen[-1] + self.tile_px)
        return start, CellAxis(
            length_px=stop - start, tile_px=self.tile_px, stride_px=self.stride_px
        )

    def shares(self, tile: int) -> tuple[int, NDArray[np.float32]]:
        """First cell that a tile covers, and its weight, above 0, for that and the following."""
        if self.stride_px == self.tile_px:  # each cell has a tile of its own
            return tile, np.ones(1, np.float32)
        start = self.starts[tile]
        weights = window_weights(self.tile_px)[: self.length_px - start]
        first = start // self.stride_px
        bounds = np.arange(first + 1, -(-(start + len(weights)) // self.stride_px)) * self.stride_px
        return first, np.add.reduceat(weights, np.append(0, bounds - start))


@dataclass(frozen=True, kw_only=True)
class FinishedCells:
    """Rows of cells whose probabilities are final."""

    row: int
    """First row."""
    probabilities: NDArray[np.float32]
    """(class, row, col); 0 where nothing is known."""
    known: NDArray[np.bool_]
    """(row, col), True where a tile that covers the cell has answered."""


class CellBlender:
    """Answers of tiles, row-major, to rows of cells that are emitted as soon as they are final.

    Laws: a model that answers a constant gives exactly that constant in every known cell, for any
    size, stride and choice of tiles that answer; where stride and tile are the same, a cell is
    exactly its tile's answer. Holds the cells of one row of tiles.
    """

    def __init__(self, *, classes: int, rows: CellAxis, cols: CellAxis, row: int = 0) -> None:
        """Nothing is known yet. Args: row: of tiles, the first that will answer."""
        self._rows = rows
        self._row = row
        """Row of tiles that `_row_shares` belongs to."""
        self._row_shares = rows.shares(row)
        self._col_shares = [cols.shares(tile) for tile in range(len(cols.starts))]
        self._shape = (classes, cols.cells)
        self._first = self._row_shares[0]
        """Row of cells that `_mean` begins with."""
        self._mean: NDArray[np.float32] = np.zeros((classes, 0, cols.cells), np.float32)
        self._sums: NDArray[np.float32] = np.zeros((0, cols.cells), np.float32)

    def add(self, row: int, col: int, probabilities: NDArray[np.float32]) -> None:
        """Blend one tile's answer (class) into the cells it covers; rows of tiles in order."""
        if row != self._row:
            self._row, self._row_shares = row, self._rows.shares(row)
        top, down = self._row_shares
        self._reach(top + len(down))
        left, across = self._col_shares[col]
        rows = slice(top - self._first, top - self._first + len(down))
        cols = slice(left, left + len(across))
        weights = np.multiply.outer(down, across)
        sums = self._sums[rows, cols]
        sums += weights
        mean = self._mean[:, rows, cols]
        mean += (probabilities[:, None, None] - mean) * (weights / sums)

    def finish_row(self, row: int) -> FinishedCells:
        """The rows of cells that are final now that no tile of this or an earlier row is to come.

        Skipping rows of tiles is allowed; there may be no finished row at all.
        """
        final = self._rows.final(row)
        self._reach(final)
        count = max(0, final - self._first)
        done = FinishedCells(
            row=self._first,
            probabilities=self._mean[:, :count].copy(),
            known=self._sums[:count] > 0,
        )
        self._mean = self._mean[:, count:]
        self._sums = self._sums[count:]
        self._first += count
        return done

    def _reach(self, stop: int) -> None:
        """Make room for the rows of cells before `stop`."""
        missing = stop - self._first - len(self._sums)
        if missing <= 0:
            return
        classes, width = self._shape
        self._mean = np.concatenate(
            [self._mean, np.zeros((classes, missing, width), np.float32)], axis=1
        )
        self._sums = np.concatenate([self._sums, np.zeros((missing, width), np.float32)])


class CellsSeen:
    """Which cells have a valid pixel, from valid masks that come row by row."""

    def __init__(self, rows: CellAxis, cols: CellAxis, row: int = 0) -> None:
        """No pixel has been looked at yet. Args: row: of pixels, the first that will be."""
        self._stride_px = rows.stride_px
        self._col_starts = cols.edges[:-1]
        self._row = row
        self._seen: dict[int, NDArray[np.bool_]] = {}

    def add(self, valid: NDArray[np.bool_]) -> None:
        """Look at the next rows (row, col) of the scene's valid mask."""
        across = np.logical_or.reduceat(valid, self._col_starts, axis=1)
        for cell, rows in self._pieces(len(valid)):
            before = self._seen.get(cell, np.zeros(len(self._col_starts), bool))
            self._seen[cell] = np.logical_or.reduce(across[rows], axis=0) | before
        self._row += len(valid)

    def take(self, row: int, count: int) -> NDArray[np.bool_]:
        """(count, col): True where a cell of these rows has a valid pixel; forgets them."""
        width = len(self._col_starts)
        taken = [self._seen.pop(cell) for cell in range(row, row + count)]
        return np.stack(taken) if taken else np.zeros((0, width), bool)

    def _pieces(self, count: int) -> Iterator[tuple[int, slice]]:
        """Rows of cells that the next `count` rows belong to, with the rows of each."""
        first, last = self._row // self._stride_px, (self._row + count - 1) // self._stride_px
        for cell in range(first, last + 1):
            start = max(0, cell * self._stride_px - self._row)
            yield cell, slice(start, min(count, (cell + 1) * self._stride_px - self._row))

"""One pass over a scene from top to bottom that labels it tile by tile: rows in, cells out.

Pure, as `geotiler.core.sweep`: pixels come from an iterator, answers from a callable. Pixels are
normalised once, however many tiles share them, and batches run on across rows of tiles, so that
only the scene's last one may be short. Holds one row of tiles, whatever the scene's height.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geotiler.core.cells import CellAxis, CellBlender, CellsSeen, FinishedCells
from geotiler.core.radiometry import normalise
from geotiler.core.resample import Axis
from geotiler.core.row_buffer import RowBuffer
from geotiler.core.sweep import Chunk, Span, at_network_gsd
from geotiler.core.tiles import mirrored
from geotiler.specs import Scale

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(N, C, H, W) → probabilities (N, K)."""

_ROWS_AT_ONCE = 64
"""Rows normalised together: they fit the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class LabelPlan:
    """Everything that decides the numbers of one pass."""

    axes: tuple[Axis, Axis]
    """(rows, columns): scene pixels to network pixels."""
    cells: tuple[CellAxis, CellAxis]
    """(rows, columns): tiles and cells, in network pixels."""
    classes: int
    scale: Scale
    mean: Sequence[float]
    std: Sequence[float]
    min_valid: float
    """Least share of valid pixels of a tile; 0 asks for one pixel."""
    batch: int = 1
    origin_px: tuple[int, int] = (0, 0)
    """(row, col) of the network's grid that `cells` begin at: more than 0 for a part of a scene."""
    wanted: Callable[[int], NDArray[np.bool_]] | None = None
    """Row of tiles → (col), False for those that are not asked for; None: all are."""

    @property
    def is_resampled(self) -> bool:
        """True if the network's pixels are not the scene's."""
        return any(axis.ratio != 1.0 for axis in self.axes)

    def spans(self, first: int) -> tuple[Span, Span]:
        """Rows and columns that are read, and network pixels that they become.

        Args:
            first: row of cells to begin with.
        """
        above = self.cells[0].starts[self.cells[0].first_tile(first)]
        found = []
        for axis, cells, origin, skipped in zip(
            self.axes, self.cells, self.origin_px, (above, 0), strict=True
        ):
            start, stop = origin + skipped, origin + cells.length_px
            low, high = axis.needed(start, stop)
            read = low if start else 0, high if stop < axis.target_px else axis.source_px
            found.append(Span(read=read, network=(start, stop), answered=read, starts=()))
        rows, columns = found
        return rows, columns

    @property
    def tile_shape(self) -> tuple[int, int]:
        """(height, width) of a tile."""
        return self.cells[0].tile_px, self.cells[1].tile_px


@dataclass
class LabelCounts:
    """What a pass did; filled while it runs."""

    computed: int = 0
    """Tiles given to the network."""
    skipped: int = 0
    """Tiles with too few valid pixels."""


def label_cells(
    chunks: Iterable[Chunk],
    network: Network,
    plan: LabelPlan,
    counts: LabelCounts,
    advanced: Callable[[int], None] = lambda tiles: None,
    first: int = 0,
) -> Iterator[FinishedCells]:
    """Probabilities of the plan's cells, rows in order, each row once.

    A cell is known when a tile that covers it has answered and it has a valid pixel itself.

    Args:
        chunks: consecutive rows of the scene, those that `plan.spans(first)` read.
        network: answers probabilities; fewer tiles than `plan.batch` may be given.
        plan: tiles and radiometry.
        counts: filled as the pass goes on.
        advanced: hears how many tiles are dealt with.
        first: row of cells to begin with; the tiles above that cover a part of it are asked, too,
            so that it and the rows below are those of the whole scene.
    """
    first_tile = plan.cells[0].first_tile(first)
    first_px = plan.cells[0].starts[first_tile]
    if plan.is_resampled:
        chunks = at_network_gsd(chunks, plan.axes, *plan.spans(first))
    seen = CellsSeen(*plan.cells, first_px)
    blender = CellBlender(
        classes=plan.classes, rows=plan.cells[0], cols=plan.cells[1], row=first_tile
    )
    queue = _Queue(network, plan)
    last = len(plan.cells[0].starts) - 1
    found = _tile_rows(chunks, plan, seen, counts, advanced, first_tile)
    for row, tiles in enumerate(found, start=first_tile):
        for col, tile in tiles:
            queue.add(row, col, tile)
            if queue.is_full:
                yield from _from(first, _answered(queue, blender, seen, counts, advanced))
        queue.end_row(row)
        if row == last:
            yield from _from(first, _answered(queue, blender, seen, counts, advanced))


def _from(first: int, rows: Iterable[FinishedCells]) -> Iterator[FinishedCells]:
    """Rows of cells without those above the first: of these not all tiles were asked."""
    for done in rows:
        above = max(0, first - done.row)
        if above < len(done.known):
            yield FinishedCells(
                row=done.row + above,
                probabilities=done.probabilities[:, above:],
                known=done.known[above:],
            )


class _Queue:
    """Tiles that wait for a full batch, and ends of rows among them."""

    def __init__(self, network: Network, plan: LabelPlan) -> None:
        self._network = network
        self._tiles = np.empty((plan.batch, len(plan.mean), *plan.tile_shape), np.float32)
        self._count = 0
        self._order: list[tuple[int, int | None]] = []
        """(row, column) of each tile; (row, None) where a row ends."""

    @property
    def is_full(self) -> bool:
        """Whether the next tile has to wait for answers."""
        return self._count == len(self._tiles)

    def add(self, row: int, col: int, tile: NDArray[np.float32]) -> None:
        self._tiles[self._count] = tile
        self._count += 1
        self._order.append((row, col))

    def end_row(self, row: int) -> None:
        self._order.append((row, None))

    def answers(self) -> Iterator[tuple[int, int | None, NDArray[np.float32] | None]]:
        """(row, column, probabilities) of what waits, (row, None, None) where a row ends."""
        found = iter(self._network(self._tiles[: self._count]) if self._count else ())
        order, self._order, self._count = self._order, [], 0
        for row, col in order:
            yield row, col, None if col is None else next(found)


def _answered(
    queue: _Queue,
    blender: CellBlender,
    seen: CellsSeen,
    counts: LabelCounts,
    advanced: Callable[[int], None],
) -> Iterator[FinishedCells]:
    """Ask the network for all that waits, and give out the rows of cells that it completes."""
    answered = 0
    for row, col, probabilities in queue.answers():
        if col is not None and probabilities is not None:
            blender.add(row, col, probabilities)
            answered += 1
            continue
        done = blender.finish_row(row)
        valid = seen.take(done.row, len(done.known))
        if len(valid):
            yield FinishedCells(
                row=done.row, probabilities=done.probabilities, known=done.known & valid
            )
    counts.computed += answered
    advanced(answered)


def _tile_rows(
    chunks: Iterable[Chunk],
    plan: LabelPlan,
    seen: CellsSeen,
    counts: LabelCounts,
    advanced: Callable[[int], None],
    first_tile: int,
) -> Iterator[Iterator[tuple[int, NDArray[np.float32]]]]:
    """For each row of tiles, (index along the row, network input) of those with enough to see."""
    rows = plan.cells[0]
    pixels = RowBuffer(rows.starts[first_tile])
    source = _normalised(chunks, plan)
    for number, start in enumerate(rows.starts[first_tile:], start=first_tile):
        stop = min(start + rows.tile_px, rows.length_px)
        pixels.drop(start)
        while pixels.stop < stop:
            values, valid = next(source)
            seen.add(valid)
            pixels.append(values, valid)
        values, valid = pixels.rows(start, stop)
        wanted = None if plan.wanted is None else plan.wanted(number)
        yield _tiles(values, valid, plan, counts, advanced, wanted)


def _normalised(
    chunks: Iterable[Chunk], plan: LabelPlan
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Network input (band, row, col) and valid mask (row, col) of a few rows at a time."""
    for values, valid in chunks:
        for top in range(0, len(valid), _ROWS_AT_ONCE):
            rows = slice(top, top + _ROWS_AT_ONCE)
            known = valid[rows]
            yield (
                normalise(
                    values[:, rows], known, scale=plan.scale, mean=plan.mean, std=plan.std
                ),
                known,
            )  # fmt: skip


def _tiles(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    plan: LabelPlan,
    counts: LabelCounts,
    advanced: Callable[[int], None],
    wanted: NDArray[np.bool_] | None,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(index, network input) of the tiles of one row that are wanted and have enough to see."""
    cols = plan.cells[1]
    width = min(cols.tile_px, cols.length_px)
    sums = np.append(0, np.cumsum(valid.sum(axis=0, dtype=np.int64)))
    # A share of 0 still asks for one pixel: of nothing there is nothing to say.
    least = max(1.0, plan.min_valid * width * len(valid))
    for index, start in enumerate(cols.starts):
        if wanted is not None and not wanted[index]:
            continue
        if sums[start + width] - sums[start] < least:
            counts.skipped += 1
            advanced(1)
            continue
        tile = values[:, :, start : start + width]
        yield index, mirrored(tile, plan.tile_shape)

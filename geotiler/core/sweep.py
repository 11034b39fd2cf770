"""One pass over a scene from top to bottom: rows in, finished rows of probability out.

Pure: pixels come from an iterator, probabilities from a callable, so that laws can be tested with
a network that is a formula. Holds one row of tiles at a time, whatever the scene's height.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.arrays import HOST, Array, Arrays
from geotiler.core.blend import StripBlender
from geotiler.core.grid import Grid
from geotiler.core.radiometry import finite_float32
from geotiler.core.resample import Axis, resampled
from geotiler.core.row_buffer import RowBuffer
from geotiler.core.seams import SeamMeter, seam_index, tile_lines
from geotiler.core.tiles import Pieces, joined
from geotiler.specs import Scale

Chunk = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values (band, row, col) and valid mask (row, col) of consecutive rows."""

Network = Callable[[Array], Array]
"""(N, C, H, W) → probabilities (N, K, H, W), both of float32 and made by the sweep's `Arrays`; the
next call's tiles lie in the same memory."""

Mapped = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""As the built-in `map`: results in the order of the items, but perhaps worked out ahead."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Which part of one axis of a scene a sweep deals with, each as [first, last).

    Every window that touches what is answered is among `starts`, so that the answers of a part are
    those of the whole, whatever is left out before and behind it.
    """

    read: tuple[int, int]
    """Scene pixels that are read."""
    network: tuple[int, int]
    """Network pixels that the windows cover."""
    answered: tuple[int, int]
    """Scene pixels that come out."""
    starts: tuple[int, ...]
    """First network pixel of each window."""


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """Everything that decides the numbers of one sweep."""

    axes: tuple[Axis, Axis]
    """(rows, columns) of the whole scene: scene pixels to network pixels."""
    rows: Span
    columns: Span
    tile_shape: tuple[int, int]
    classes: int
    scale: Scale
    mean: Sequence[float]
    std: Sequence[float]
    batch: int = 1
    counted: tuple[float, float] = (0.0, math.inf)
    """Network rows [first, last) that counted rows of windows begin in: the others are computed
    here, too, and belong to another sweep."""
    wanted: NDArray[np.bool_] | None = None
    """(rows, columns) of windows: True where one is to be computed; None: everywhere. Rows and
    columns of pixels that no wanted window touches need not be true."""

    @property
    def is_resampled(self) -> bool:
        """True if the network's pixels are not the scene's."""
        return any(axis.ratio != 1.0 for axis in self.axes)

    @property
    def is_one_window(self) -> bool:
        """True if a tile covers the whole scene, which has no seams then."""
        sides = zip(self.axes, self.tile_shape, strict=True)
        return all(axis.target_px <= side for axis, side in sides)


@dataclass
class SweepCounts:
    """What one or several sweeps of a scene did; filled while they run."""

    computed: int = 0
    """Windows given to the network."""
    skipped: int = 0
    """Windows without a valid pixel, or not wanted."""
    seam_sums: Array = field(default_factory=HOST.zero_sums)
    """See `SeamMeter`; where the sweep's arrays live."""

    def taken(self) -> SweepCounts:
        """What was counted since this was asked before."""
        counted = replace(self, seam_sums=self.seam_sums + 0)
        self.computed = self.skipped = 0
        self.seam_sums[:] = 0
        return counted

    @property
    def seam_index(self) -> float | None:
        """Mean |Δp| across tile lines over elsewhere; None where there is nothing to compare."""
        return seam_index(self.seam_sums)


@dataclass(frozen=True, kw_only=True)
class FinishedRows:
    """Rows of the scene whose probabilities are final."""

    row: int
    probabilities: Array
    """(class, row, col) float32, a view that holds until the next rows are asked for."""
    valid: NDArray[np.bool_]
    """(row, col)."""


def sweep(
    chunks: Iterable[Chunk],
    network: Network,
    plan: SweepPlan,
    counts: SweepCounts,
    advanced: Callable[[int], None] = lambda windows: None,
    mapped: Mapped = map,
    arrays: Arrays = HOST,
) -> Iterator[FinishedRows]:
    """Probabilities of the swept columns, on the scene's own grid, rows in order.

    Args:
        chunks: consecutive rows of the scene, those that `plan.rows` and `plan.columns` read.
        network: answers probabilities; fewer tiles than `plan.batch` may be given.
        plan: windows and radiometry.
        counts: filled as the sweep goes on.
        advanced: hears how many windows are dealt with.
        mapped: how the network is called; one that works ahead keeps it busy while answers are
            blended and tiles are cut. It must call from one thread at a time.
        arrays: where the network's inputs and answers live, until rows are finished: elsewhere
            than on the host only where nothing is resampled.
    """
    scene_valid = RowBuffer(plan.rows.read[0])
    first, last = plan.columns.answered
    answered = slice(first - plan.columns.read[0], last - plan.columns.read[0])

    def watched() -> Iterator[Chunk]:
        for values, valid in chunks:
            known = joined([valid])
            scene_valid.append(known[:, answered])
            yield values, known

    pixels: Iterable[Chunk] = watched()
    if plan.is_resampled:
        pixels = at_network_gsd(pixels, plan.axes, plan.rows, plan.columns)
    finished = _blended_rows(pixels, network, plan, counts, advanced, mapped, arrays)
    if plan.is_resampled:
        finished = _at_scene_gsd(finished, plan)
        inside = slice(None)
    else:
        inside = answered
    for row, probabilities, _ in finished:
        stop = row + probabilities.shape[1]
        (valid,) = scene_valid.rows(row, stop)
        scene_valid.drop(stop)
        yield FinishedRows(row=row, probabilities=probabilities[:, :, inside], valid=valid)


Strip = tuple[int, Array, NDArray[np.bool_]]


def at_network_gsd(
    chunks: Iterable[Chunk], axes: tuple[Axis, Axis], rows: Span, columns: Span
) -> Iterator[Chunk]:
    """Chunks on the network's grid, as soon as the rows they are made of are there.

    Args:
        chunks: consecutive rows of the scene, those that are read.
        axes: (rows, columns) of the whole scene: scene pixels to network pixels.
        rows: which rows are read, and which come out.
        columns: which columns.
    """
    by_row, by_col = axes
    source = RowBuffer(rows.read[0])
    col_first, col_matrix = by_col.matrix(*columns.network)
    left = col_first - columns.read[0]
    taken = slice(left, left + col_matrix.shape[1])
    step = _rows_at_once(by_row, *col_matrix.shape)
    done, end = rows.network
    for values, valid in chunks:
        source.append(values, valid)
        is_all = source.stop >= rows.read[1]
        ready = end if is_all else min(end, by_row.ready(source.stop))
        while done < ready:
            stop = min(ready, done + step)
            row_first, row_matrix = by_row.matrix(done, stop)
            raw, known = source.rows(row_first, row_first + row_matrix.shape[1], taken)
            yield resampled(finite_float32(raw), known, row_matrix, col_matrix)
            done = stop
        if done < end:
            source.drop(by_row.needed(done, done + 1)[0])


def _rows_at_once(by_row: Axis, target_cols: int, source_cols: int) -> int:
    """Target rows of one resampling, so that neither side of it has more than 4 Mpx."""
    per_row = max(target_cols, source_cols / by_row.ratio)
    return max(1, int(4_000_000 // per_row))


def _at_scene_gsd(strips: Iterable[Strip], plan: SweepPlan) -> Iterator[Strip]:
    """Strips of probability on the scene's grid; invalid network pixels carry no weight."""
    by_row, by_col = (axis.reversed for axis in plan.axes)
    low, high = by_row.needed(*plan.rows.answered)
    source = RowBuffer(low)
    col_first, col_matrix = by_col.matrix(*plan.columns.answered)
    left = col_first - plan.columns.network[0]
    columns = slice(left, left + col_matrix.shape[1])
    step = _rows_at_once(by_row, *col_matrix.shape)
    done, end = plan.rows.answered
    for _, probabilities, valid in strips:
        source.append(probabilities.copy(), valid)  # the blender uses its memory again
        ready = end if source.stop >= high else min(end, by_row.ready(source.stop))
        while done < ready:
            stop = min(ready, done + step)
            first, row_matrix = by_row.matrix(done, stop)
            values, known = source.rows(first, first + row_matrix.shape[1], columns)
            out, reached = resampled(values, known, row_matrix, col_matrix)
            yield done, out, reached
            done = stop
        if done < end:
            source.drop(by_row.needed(done, done + 1)[0])


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A batch of windows, or the end of a row of windows."""

    columns: Sequence[int] = ()
    """First column of each window."""
    tiles: Sequence[Pieces] = ()
    row: int = 0
    """First row of the row of windows that ends."""
    valid: NDArray[np.bool_] | None = None
    """Of that row of windows, (row, col)."""
    skipped: int = 0
    """Windows of that row that are not computed."""
    is_counted: bool = True
    """The row of windows is not another sweep's."""


def _blended_rows(
    chunks: Iterable[Chunk],
    network: Network,
    plan: SweepPlan,
    counts: SweepCounts,
    advanced: Callable[[int], None],
    mapped: Mapped,
    arrays: Arrays,
) -> Iterator[Strip]:
    """Finished strips on the network's grid with their valid masks.

    Rows that no answered row is made of are left out: windows above and below are missing there.
    """
    rows, columns = plan.rows, plan.columns
    top, left = rows.network[0], columns.network[0]
    shape = (rows.network[1] - top, columns.network[1] - left)
    low, high = plan.axes[0].reversed.needed(*rows.answered)
    starts = [start - left for start in columns.starts]
    tile_height, tile_width = plan.tile_shape
    seams = SeamMeter(
        tile_lines(rows.starts, tile_height, rows.network[1]),
        tile_lines(starts, tile_width, shape[1]),
        counts.seam_sums,
        arrays,
    )
    blender = StripBlender(
        classes=plan.classes,
        shape=shape,
        tile_shape=plan.tile_shape,
        rows=[start - top for start in rows.starts],
        arrays=arrays,
    )

    inputs: Array | None = None

    def answered(asked: _Asked) -> tuple[_Asked, Array | None]:
        if not asked.tiles:
            return asked, None
        # Normalised only now, one batch at a time in the same memory: those that wait are views
        # of what was read, which is free as soon as it is answered.
        nonlocal inputs
        inputs = arrays.inputs(
            asked.tiles, plan.tile_shape, scale=plan.scale, mean=plan.mean, std=plan.std, out=inputs
        )
        return replace(asked, tiles=()), network(inputs)

    for asked, answers in mapped(answered, _asked(chunks, plan)):
        if answers is not None:
            for number, col in enumerate(asked.columns):
                blender.add(col, answers[number])
            del answers  # or it would stay until the next one is there
            counts.computed += len(asked.columns) if asked.is_counted else 0
            advanced(len(asked.columns))
        if asked.valid is None:
            continue
        counts.skipped += asked.skipped if asked.is_counted else 0
        if asked.skipped:
            advanced(asked.skipped)
        offset, probabilities = blender.finish_row()
        row, emitted = asked.row, top + offset + probabilities.shape[1]
        first, last = max(row, low), min(emitted, high)
        if first < last:
            known = asked.valid[first - row : last - row]
            final = probabilities[:, first - row : last - row]
            if not plan.is_one_window:
                seams.add(first, final, known)
            yield first, final, known


def _asked(chunks: Iterable[Chunk], plan: SweepPlan) -> Iterator[_Asked]:
    """What the network is asked for, row of windows by row of windows, each with its end."""
    rows, left = plan.rows, plan.columns.network[0]
    starts = [start - left for start in plan.columns.starts]
    held = RowBuffer(rows.network[0])
    source = iter(chunks)
    for number, row in enumerate(rows.starts):
        held.drop(row)
        stop = min(row + plan.tile_shape[0], rows.network[1])
        while held.stop < stop:
            held.append(*next(source))
        wanted = None if plan.wanted is None else plan.wanted[number]
        computed, is_counted = 0, plan.counted[0] <= row < plan.counted[1]
        tiles = _tiles(held, (row, stop), starts, wanted, plan)
        while batch := list(islice(tiles, plan.batch)):
            computed += len(batch)
            yield _Asked(
                columns=[col for col, _ in batch],
                tiles=[pieces for _, pieces in batch],
                is_counted=is_counted,
            )
        valid = joined([known for _, known in held.pieces(row, stop)])
        skipped = len(starts) - computed
        yield _Asked(row=row, valid=valid, skipped=skipped, is_counted=is_counted)


def _tiles(
    held: RowBuffer,
    rows: tuple[int, int],
    starts: Sequence[int],
    wanted: NDArray[np.bool_] | None,
    plan: SweepPlan,
) -> Iterator[tuple[int, Pieces]]:
    """(first column, raw values) of each wanted window of a row that has a valid pixel."""
    width = plan.columns.network[1] - plan.columns.network[0]
    for number, col in enumerate(starts):
        if wanted is not None and not wanted[number]:
            continue
        pieces = held.pieces(*rows, slice(col, min(col + plan.tile_shape[1], width)))
        if any(known.any() for _, known in pieces):
            yield col, [(raw, known) for raw, known in pieces]


def spanned(starts: Sequence[int], tile_px: int, axis: Axis, answered: tuple[int, int]) -> Span:
    """What a sweep deals with to answer for a part of one axis.

    Args:
        starts: first pixels of all windows along it, on the network's grid.
        tile_px: side of a window.
        axis: the scene's pixels to the network's.
        answered: scene pixels [first, last) that are asked for.
    """
    low, high = axis.reversed.needed(*answered)
    touching = tuple(start for start in starts if start < high and start + tile_px > low)
    network = (touching[0], min(axis.target_px, touching[-1] + tile_px))
    return Span(read=axis.needed(*network), network=network, answered=answered, starts=touching)


def swept_columns(
    grid: Grid, axis: Axis, panel_px: int, answered: tuple[int, int] | None = None
) -> list[Span]:
    """Column ranges that a scene is swept in; one, unless it is wider than `panel_px`.

    Each panel computes every window that touches its columns, so its pixels are those of a single
    sweep; only windows on a boundary are computed twice.

    Args:
        grid: windows on the network's grid.
        axis: the scene's columns to the network's.
        panel_px: about how many columns, of the scene and of the network, a panel answers for.
        answered: scene columns [first, last) to answer for; None: all.
    """
    low, high = answered or (0, axis.source_px)
    network_px = (high - low) * max(1.0, axis.ratio)
    count = -(-int(network_px) // panel_px)
    step = -(-(high - low) // count)
    if count > 1:
        # Boundaries on the blocks of the output, unless blocks are wider than panels.
        block = max(1, min(512, int(panel_px / max(1.0, axis.ratio))))
        step = -(-step // block) * block
    cols = grid.cols
    return [
        spanned(cols, grid.tile_shape[1], axis, (first, min(first + step, high)))
        for first in range(low, high, step)
    ]

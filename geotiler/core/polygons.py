"""Polygons of a class raster that is read from top to bottom, a few rows at a time.

Nothing is cut at the edge of a strip, hence nothing has to be glued: what is carried on are the
segments of components that reach the last row (see `geotiler.core.tracing`), the vertical sides
that still go down, and that row itself. What comes out does not depend on the height of the
strips, order included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from geotiler.core.outlines import Outlines, joined_outlines
from geotiler.core.tracing import (
    Bools,
    Ints,
    Rings,
    Segments,
    Sides,
    connected,
    connected_labels,
    pair_sides,
    runs,
    segments_of,
    walk,
)

BLOCK_PX = 2**20
"""Pixels traced at once: bounds the memory that noise needs, and fits the cache."""


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """What one block of rows adds to one component, or to many (then with an owner each)."""

    segments: Segments
    part: Ints
    """(segment): 4-connected part, by number; a part may bear several numbers."""
    links: Ints
    """(m, 2): the head of one segment leads to the tail of the other."""
    same_part: Ints
    """(k, 2): numbers that turned out to mean one part."""

    def select(self, segments: Ints, links: Ints, same_part: Ints) -> _Piece:
        """The rows of the three tables at the given positions."""
        return _Piece(
            segments=self.segments.take(segments),
            part=self.part[segments],
            links=self.links[links],
            same_part=self.same_part[same_part],
        )


class PolygonStream:
    """Outlines of a class raster given from top to bottom in strips of any height.

    `add_strip` yields the features that became complete, `finish` the rest, ordered by their
    last row, then by where their bottom side begins in it. Memory grows with the features that
    are still open, not with the raster.

    Laws: rasterizing the outlines gives the raster back exactly; the sequence of features is
    the same for strips of any height.
    """

    def __init__(self, width: int, *, eight_connected: bool = False, row: int = 0) -> None:
        """Begin above the first row.

        Args:
            width: of the raster.
            row: number of the first row, whose pixels come out as if nothing were above them.
            eight_connected: pixels that touch at a corner only belong to one feature, whose
                parts touch there (a MultiPolygon: one ring through the corner would be invalid).
        """
        self._width = width
        self._eight = eight_connected
        self._row = row
        self._segment_count = 0
        self._part_count = 0
        self._last_row = np.zeros(width, np.uint8)
        self._run_component: Ints = np.empty(0, np.int64)
        self._run_part: Ints = np.empty(0, np.int64)
        self._sides = Sides.none()
        self._open: list[list[_Piece]] = []
        self._open_bounds: Ints = np.empty((0, 4), np.int64)

    def add_strip(self, classes: npt.NDArray[np.uint8]) -> Iterator[Outlines]:
        """Features completed by the next rows; 0 is background, any other value a class.

        Args:
            classes: (row, col) of the raster's width, the rows below those given before.
        """
        if classes.ndim != 2 or classes.shape[1] != self._width:
            raise ValueError(f"expected rows of {self._width} pixels, got {classes.shape}")
        rows = max(1, BLOCK_PX // max(self._width, 1))
        for row in range(0, len(classes), rows):
            yield self._add_block(classes[row : row + rows])

    def finish(self) -> Iterator[Outlines]:
        """Features that touch the bottom of the raster."""
        yield self._add_block(np.zeros((1, self._width), np.uint8))

    @property
    def row(self) -> int:
        """Rows that were given so far; features beyond them are not known."""
        return self._row

    def open_bounds(self) -> Ints:
        """(n, 4): left, top, right, bottom that each feature still open has so far."""
        bounds = self._open_bounds.copy()
        bounds[:, 3] = self._row
        return bounds

    @property
    def open_area_px(self) -> Ints:
        """(n): pixels so far of each feature that is not complete."""
        pieces = [piece.segments for each in self._open for piece in each]
        owner = [np.full(len(p.part), i) for i, each in enumerate(self._open) for p in each]
        area = np.zeros(len(self._open), np.int64)
        if pieces:
            segments = Segments.concatenate(pieces)
            # Rows below each top side, less those below each bottom side: the shoelace formula.
            width = segments.head.astype(np.int64) - segments.tail
            np.add.at(area, np.concatenate(owner), width * (self._row - segments.y))
        return area

    def _add_block(self, rows: npt.NDArray[np.uint8]) -> Outlines:
        """Closes the pixel corners above each of `rows`; returns what became complete."""
        grid = np.zeros((len(rows) + 1, self._width + 1), np.uint8)
        grid[0, :-1] = self._last_row
        grid[1:, :-1] = rows
        run_starts = runs(grid.ravel())[0]
        last = int(np.searchsorted(run_starts, grid.size - grid.shape[1]))

        found = segments_of(grid, run_starts, self._row, self._segment_count)
        links, link_run, self._sides = pair_sides(self._sides, found.sides)
        component, carried = self._components(grid, run_starts)
        part, same_part = self._parts(grid, run_starts)
        piece = _Piece(
            segments=found.segments, part=part[found.run], links=links, same_part=same_part
        )
        owners = component[found.run], component[link_run], component[: len(same_part)]
        is_open = np.zeros(int(component.max(initial=-1)) + 1, bool)
        is_open[component[last:]] = True
        complete = self._split(piece, owners, carried, is_open)

        self._run_component = (np.cumsum(is_open) - 1)[component[last:]]
        self._run_part = part[last:]
        self._last_row = grid[-1, :-1].copy()
        self._row += len(rows)
        self._segment_count += len(found.run)
        return complete

    def _components(self, grid: npt.NDArray[np.uint8], run_starts: Ints) -> tuple[Ints, Ints]:
        """Component of each run of the block, and of each component that was still open."""
        pairs = [connected(grid, run_starts)]
        if self._eight:
            pairs.append(connected(grid, run_starts, corners=True))
        count, carried = len(run_starts), len(self._open)
        row0 = np.arange(len(self._run_component))
        pairs.append(np.stack([row0, count + self._run_component], axis=1))
        label = connected_labels(count + carried, np.concatenate(pairs))
        return label[:count], label[count:]

    def _parts(self, grid: npt.NDArray[np.uint8], run_starts: Ints) -> tuple[Ints, Ints]:
        """Number of each run's 4-connected part, and pairs of numbers that mean the same."""
        if not self._eight:
            return np.zeros(len(run_starts), np.int64), np.empty((0, 2), np.int64)
        label = connected_labels(len(run_starts), connected(grid, run_starts))
        part = label + self._part_count
        self._part_count += len(run_starts)
        return part, np.stack([self._run_part, part[: len(self._run_part)]], axis=1)

    def _split(
        self, piece: _Piece, owners: tuple[Ints, Ints, Ints], carried: Ints, is_open: Bools
    ) -> Outlines:
        """Keeps what belongs to open components and outlines the others.

        Args:
            piece: what the block shows.
            owners: component of each segment, link and pair of part numbers in `piece`.
            carried: component, as of now, of each component that was open before.
            is_open: (component).
        """
        done = piece.select(*(np.flatnonzero(~is_open[owner]) for owner in owners))
        pieces, owner = [done], [owners[0][~is_open[owners[0]]]]
        still: list[list[_Piece]] = [[] for _ in range(int(is_open.sum()))]
        index = np.cumsum(is_open) - 1
        for component, old in zip(carried.tolist(), self._open, strict=True):
            if is_open[component]:
                still[index[component]] += old
            else:
                pieces += old
                owner += [np.full(len(each.part), component) for each in old]
        groups = [_grouped(index, is_open, each) for each in owners]
        for target, *positions in zip(still, *groups, strict=True):
            if any(map(len, positions)):
                target.append(piece.select(*positions))
        self._open = still
        self._open_bounds = self._bounds_of(piece, index, carried, is_open, owners[0])
        return _outlines(pieces, np.concatenate(owner), self._eight)

    def _bounds_of(
        self, piece: _Piece, index: Ints, carried: Ints, is_open: Bools, owner: Ints
    ) -> Ints:
        """(n, 4): left, top, right, bottom of the open components after a block."""
        count = int(is_open.sum())
        low = np.full((count, 2), np.iinfo(np.int64).max)
        high = np.full((count, 2), np.iinfo(np.int64).min)
        known = is_open[carried]
        np.minimum.at(low, index[carried[known]], self._open_bounds[known, :2])
        np.maximum.at(high, index[carried[known]], self._open_bounds[known, 2:])
        mine = is_open[owner]
        group = index[owner[mine]]
        tail, head, y = (
            each[mine] for each in (piece.segments.tail, piece.segments.head, piece.segments.y)
        )
        np.minimum.at(low, group, np.stack([np.minimum(tail, head), y], axis=1).astype(np.int64))
        np.maximum.at(high, group, np.stack([np.maximum(tail, head), y], axis=1).astype(np.int64))
        return np.hstack([low, high])


def object_outlines(
    objects: npt.NDArray[np.int32], class_id: int, corner: tuple[int, int]
) -> Outlines:
    """Outlines of objects that may touch, in the order of a `PolygonStream`.

    Args:
        objects: (row, col): from 1, each connected along sides; 0 is background.
        class_id: of all of them.
        corner: row and column of the raster that the first pixel is.

    Raises:
        ValueError: more than 255 classes are needed to tell neighbours apart: not of areas in a
            plane, as far as anybody has seen.
    """
    stream = PolygonStream(objects.shape[1])
    coloured = _colours(objects)[objects]
    found = joined_outlines([*stream.add_strip(coloured), *stream.finish()])
    moved = found.xy + np.array(corner[::-1], np.int32)
    return replace(found, xy=moved, class_id=np.full(len(found), class_id, np.uint8))


def _colours(objects: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """(object number): classes from 1 on so that neighbours differ; 0 for background."""
    pairs = [(objects[:, :-1], objects[:, 1:]), (objects[:-1], objects[1:])]
    touching = np.concatenate(
        [
            np.unique(np.stack([one[meet], other[meet]]), axis=1)
            for one, other in pairs
            for meet in [(one != other) & (one > 0) & (other > 0)]
        ],
        axis=1,
    )
    neighbours: dict[int, set[int]] = {}
    for one, other in touching.T.tolist():
        neighbours.setdefault(one, set()).add(other)
        neighbours.setdefault(other, set()).add(one)
    colours = np.zeros(int(objects.max()) + 1, np.int64)
    for number in range(1, len(colours)):
        taken = {int(colours[other]) for other in neighbours.get(number, ())}
        colours[number] = next(colour for colour in range(1, len(taken) + 2) if colour not in taken)
    if colours.max() > np.iinfo(np.uint8).max:
        raise ValueError(f"{int(colours.max())} classes to tell neighbours apart")
    return colours.astype(np.uint8)


def _grouped(index: Ints, is_open: Bools, owner: Ints) -> list[Ints]:
    """Positions in `owner` of each open component, one array per component."""
    positions = np.flatnonzero(is_open[owner])
    group = index[owner[positions]]
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(int(is_open.sum()) + 1))
    positions = positions[order]
    return [positions[a:b] for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]


def _outlines(pieces: Sequence[_Piece], owner: Ints, eight_connected: bool) -> Outlines:
    """The features whose segments, all of them, are in `pieces`.

    Args:
        pieces: of whole components.
        owner: component of each segment of the pieces, in their order.
        eight_connected: components have several parts.
    """
    segments = Segments.concatenate([piece.segments for piece in pieces])
    owner = _rank(owner, segments)
    part = owner
    if eight_connected:
        number = np.concatenate([piece.part for piece in pieces])
        same = np.concatenate([piece.same_part for piece in pieces])
        part = _rank(_merged(number, same), segments, within=owner)
    links = np.concatenate([piece.links for piece in pieces])
    rings: Rings = walk(segments, links, part)
    parts = np.unique(part, return_index=True)[1]
    features, of_part = np.unique(owner[parts], return_inverse=True)
    class_id = np.zeros(len(features), np.uint8)
    class_id[of_part] = segments.class_id[parts]
    return Outlines(
        xy=rings.xy,
        ring_starts=rings.starts,
        ring_area_px=rings.area_px,
        ring_part=rings.part,
        part_feature=of_part.astype(np.int64),
        class_id=class_id,
    )


def _rank(label: Ints, segments: Segments, within: Ints | None = None) -> Ints:
    """`label` renumbered from 0 by last row, then by column there (inside `within`, if given)."""
    values, label = np.unique(label, return_inverse=True)
    low = np.full(len(values), -1, np.int64)
    np.maximum.at(low, label, segments.y)
    left = np.full(len(values), np.iinfo(np.int64).max)
    bottom = segments.y == low[label]
    np.minimum.at(left, label[bottom], np.minimum(segments.tail, segments.head)[bottom])
    outer = np.zeros(len(values), np.int64)
    if within is not None:
        outer[label] = within
    rank = np.empty(len(values), np.int64)
    rank[np.lexsort([left, low, outer])] = np.arange(len(values))
    return rank[label]


def _merged(number: Ints, same: Ints) -> Ints:
    """One label per element of `number`, equal where pairs in `same` tie the numbers."""
    values, inverse = np.unique(np.concatenate([number, same.ravel()]), return_inverse=True)
    ties = inverse[len(number) :].reshape(-1, 2)
    return connected_labels(len(values), ties)[inverse[: len(number)]]

"""Splits without leaks: blocks that no chip leaves, and which split each of them goes to.

An axis is cut into blocks, each block is covered by chips of its own, and a block goes to one split
as a whole. Chips overlap inside a block and never across its edge, so no pixel is in two splits,
and no pixel is lost either.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from geotiler.core.grid import starts
from geotiler.specs import Window

LARGEST_BLOCK_CHIPS = 8
"""Most chips along the side of a block that is chosen automatically."""

_BLOCKS_PER_SMALLEST_SHARE = 1.5
"""How many blocks the smallest split should get at least, on average."""


@dataclass(frozen=True, kw_only=True)
class ChipAxis:
    """One axis of a scene, cut into blocks, each covered by chips."""

    length_px: int
    tile_px: int
    overlap_px: int
    block_px: int | None = None
    """Length of a block; the last one is up to a tile longer or shorter. None: one block."""

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """[start, stop) of each block; they lie side by side and cover the axis."""
        if self.block_px is None or self.length_px < self.block_px + self.tile_px:
            return [(0, self.length_px)]
        edges = [*range(0, self.length_px, self.block_px), self.length_px]
        if edges[-1] - edges[-2] < self.tile_px:  # no chip fits: the block before takes it
            del edges[-2]
        return list(itertools.pairwise(edges))

    @property
    def chips(self) -> list[tuple[int, int]]:
        """(start, index of its block) of each chip; a chip lies inside its block."""
        stride = self.tile_px - self.overlap_px
        return [
            (first + offset, index)
            for index, (first, stop) in enumerate(self.blocks)
            for offset in starts(stop - first, self.tile_px, stride)
        ]


@dataclass(frozen=True, kw_only=True)
class ChipGrid:
    """The chips of one scene, row by row."""

    rows: ChipAxis
    cols: ChipAxis

    @property
    def shape(self) -> tuple[int, int]:
        """Scene (height, width) in pixels of the chips."""
        return self.rows.length_px, self.cols.length_px

    @property
    def chip_shape(self) -> tuple[int, int]:
        """(height, width) of a chip; smaller than a tile where the scene is."""
        return (
            min(self.rows.tile_px, self.rows.length_px),
            min(self.cols.tile_px, self.cols.length_px),
        )

    def __len__(self) -> int:
        return len(self.rows.chips) * len(self.cols.chips)

    @property
    def blocks(self) -> dict[tuple[int, int], Window]:
        """(block row, block column) → the pixels of that block."""
        return {
            (row, col): Window(row=top, col=left, height=bottom - top, width=right - left)
            for row, (top, bottom) in enumerate(self.rows.blocks)
            for col, (left, right) in enumerate(self.cols.blocks)
        }

    def __iter__(self) -> Iterator[tuple[Window, tuple[int, int]]]:
        height, width = self.chip_shape
        for row, block_row in self.rows.chips:
            for col, block_col in self.cols.chips:
                yield (
                    Window(row=row, col=col, height=height, width=width),
                    (block_row, block_col),
                )


def chip_grid(
    shape: tuple[int, int],
    tile_px: tuple[int, int],
    overlap_px: int,
    block_px: tuple[int, int] | None,
) -> ChipGrid:
    """The chips of a scene.

    Args:
        shape: scene (height, width).
        tile_px: (height, width) of a chip.
        overlap_px: pixels shared by neighbours of one block.
        block_px: (height, width) of a block; None: the scene is one block.
    """
    rows, cols = (
        ChipAxis(
            length_px=length,
            tile_px=tile,
            overlap_px=overlap_px,
            block_px=None if block_px is None else block_px[axis],
        )
        for axis, (length, tile) in enumerate(zip(shape, tile_px, strict=True))
    )
    return ChipGrid(rows=rows, cols=cols)


def fitted_block(
    shapes: Sequence[tuple[int, int]],
    tile_px: tuple[int, int],
    overlap_px: int,
    shares: Sequence[float],
) -> tuple[int, int]:
    """(height, width) of the largest blocks that leave enough of them to make the shares.

    Large blocks are more independent of each other and cut fewer overlaps; too few of them cannot
    be shared out. Whole chips fit a block exactly.

    Args:
        shapes: (height, width) of each scene.
        tile_px: (height, width) of a chip.
        overlap_px: pixels shared by neighbours.
        shares: of the splits.
    """
    smallest = min(share for share in shares if share > 0)
    wanted = _BLOCKS_PER_SMALLEST_SHARE / smallest
    block_px = tile_px
    for chips in range(LARGEST_BLOCK_CHIPS, 0, -1):
        height, width = (tile + (chips - 1) * (tile - overlap_px) for tile in tile_px)
        block_px = (height, width)
        grids = (chip_grid(shape, tile_px, overlap_px, block_px) for shape in shapes)
        if sum(len(grid.rows.blocks) * len(grid.cols.blocks) for grid in grids) >= wanted:
            break
    return block_px


def priority(seed: int, name: str) -> bytes:
    """A number that looks random, depends on seed and name only, and never changes."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `count` items the smallest item that it is linked to, directly or by others."""
    root = list(range(count))

    def find(item: int) -> int:
        while root[item] != item:
            root[item] = root[root[item]]
            item = root[item]
        return item

    for one, other in pairs:
        low, high = sorted((find(one), find(other)))
        root[high] = low
    return [find(item) for item in range(count)]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What a split cannot divide: a block, a scene, or several that share ground."""

    name: str
    chips: int
    """Number of chips, at least 1."""
    objects: float
    """Share of labelled pixels that belong to a class."""


def assigned(units: Sequence[Unit], shares: Sequence[float], seed: int) -> list[int]:
    """For each unit the index of its split.

    Units are ordered by how much of them is objects, shuffled within strata, and dealt to the
    split that is furthest behind its share, so that every split sees sparse and dense places.
    Every split with a share gets a unit if there are enough; units and seed alone decide.

    Args:
        units: any order; names are unique.
        shares: of the splits; they add up to 1.
        seed: another one gives another split.
    """
    stratum = max(1, round(1 / min(share for share in shares if share > 0)))
    dense_first = sorted(range(len(units)), key=lambda i: (-units[i].objects, units[i].name))
    order: list[int] = []
    for first in range(0, len(units), stratum):
        group = dense_first[first : first + stratum]
        order += sorted(group, key=lambda i: priority(seed, units[i].name))
    given = [0] * len(shares)
    result = [0] * len(units)
    dealt = 0
    for position, index in enumerate(order):
        chips = units[index].chips
        dealt += chips
        waiting = [s for s, share in enumerate(shares) if share > 0 and not given[s]]
        must_fill = len(order) - position <= len(waiting)
        candidates = waiting if must_fill else [s for s, share in enumerate(shares) if share > 0]
        split = max(candidates, key=lambda s: (shares[s] * dealt - given[s], -s))
        given[split] += chips
        result[index] = split
    return result


def kept_empty(names: Sequence[str], most: int, seed: int) -> set[str]:
    """At most `most` of the names, the same for the same names and seed."""
    return set(sorted(names, key=lambda name: (priority(seed, name), name))[:most])

"""Small patches of a class raster given to what is around them, as it comes from top to bottom.

Rows are kept as runs of equal pixels until it is known what becomes of them: a patch is decided
when it is large enough or ends, and what takes its place when all patches around it are decided.
Borders between patches are counted by pair, so that memory does not depend on how many classes
there are.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geotiler.core.tracing import connected, connected_labels, runs
from geotiler.specs import MASK_NODATA

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

BLOCK_PX = 2**18
"""Pixels looked at together: bounds the memory that noise needs."""

_SWAP = np.arange(256, dtype=np.uint8)
_SWAP[[0, MASK_NODATA]] = MASK_NODATA, 0  # what is followed must not be 0; its own inverse


@dataclass
class _Rows:
    """Rows that wait to be decided."""

    height: int
    starts: npt.NDArray[np.int32]
    """(run): first pixel, counted over the rows, each a pixel wider than the raster."""
    lengths: npt.NDArray[np.int32]
    local: npt.NDArray[np.int32]
    """(run): index into `patch`."""
    patch: Ints
    """(n): number of each patch that has a run here, as of now."""

    def drawn(self, width: int, height: int, value: Bytes) -> Bytes:
        """The first `height` rows as classes. Args: value: (patch)."""
        count = int(np.searchsorted(self.starts, height * (width + 1)))
        starts, lengths = self.starts[:count].astype(np.int64), self.lengths[:count]
        flat = np.zeros(height * (width + 1), np.uint8)
        flat[_spread(starts, lengths)] = np.repeat(value[self.patch[self.local[:count]]], lengths)
        return np.ascontiguousarray(_SWAP[flat].reshape(height, width + 1)[:, :-1])

    def drop(self, width: int, height: int) -> None:
        """Forget the first `height` rows."""
        count = int(np.searchsorted(self.starts, height * (width + 1)))
        self.starts = self.starts[count:] - np.int32(height * (width + 1))
        self.lengths = self.lengths[count:]
        used, local = np.unique(self.local[count:], return_inverse=True)
        self.local, self.patch = local.astype(np.int32), self.patch[used]
        self.height -= height


class Sieve:
    """A class raster without patches of fewer than `size_px` pixels, in strips of any height.

    A patch takes the class that has the largest share of its border among the larger patches,
    the lowest of equal ones; background counts as a class. Unknown pixels stay, and a patch with
    nothing but unknown or small ones around it stays too.

    Laws: a row comes out when 2 x `size_px` rows below it are known, most often far sooner; the
    result is the same for strips of any height. Memory grows with the rows that wait.
    """

    def __init__(self, width: int, size_px: int, *, eight_connected: bool = False) -> None:
        """Begin above the first row.

        Args:
            width: of the raster.
            size_px: patches of fewer pixels go.
            eight_connected: pixels that touch at a corner only belong together.
        """
        self.replaced = 0
        """Patches that went to what is around them, so far."""
        self._width = width
        self._size_px = size_px
        self._eight = eight_connected
        self._last_row = np.zeros(width + 1, np.uint8)
        self._last_patch: Ints = np.empty(0, np.int64)
        """(run of the last row): its patch."""
        self._size: Ints = np.empty(0, np.int64)
        """(patch): pixels so far."""
        self._class: Bytes = np.empty(0, np.uint8)
        """(patch): as in the grid, with 0 and 255 exchanged."""
        self._new: Bytes = np.empty(0, np.uint8)
        """(patch): what it becomes, once that is known."""
        self._known: Bools = np.empty(0, bool)
        """(patch): whether it is."""
        self._pairs: Ints = np.empty((0, 2), np.int64)
        """(n, 2): patches that touch, as far as that still matters."""
        self._sides: Ints = np.empty(0, np.int64)
        """(n): pixel sides that they have in common."""
        self._waiting: deque[_Rows] = deque()

    @property
    def waiting_rows(self) -> int:
        """Rows that were given and did not come out yet."""
        return sum(rows.height for rows in self._waiting)

    def add_rows(self, classes: Bytes) -> Bytes:
        """(row, col): the rows that are decided by the next ones; often others than these.

        Args:
            classes: (row, col) class ids of the raster's width, 0 background, 255 unknown.
        """
        step = max(1, BLOCK_PX // max(1, self._width))
        done = [self._add(classes[row : row + step]) for row in range(0, len(classes), step)]
        return np.concatenate(done) if done else classes[:0]

    def finish(self) -> Bytes:
        """(row, col): the rows that are left."""
        self._last_patch = self._last_patch[:0]
        return self._decided()

    def _add(self, rows: Bytes) -> Bytes:
        grid = np.zeros((len(rows) + 1, self._width + 1), np.uint8)
        grid[0] = self._last_row
        grid[1:, :-1] = _SWAP[rows]
        flat = grid.ravel()
        starts, stops = runs(flat)
        label = self._numbered(grid, starts)
        patch, earlier = label[: len(starts)], label[len(starts) :]
        above = len(self._last_patch)
        self._merge(flat, starts, stops, patch, earlier, above)
        self._count_borders(flat, starts, stops, patch, earlier)
        used, local = np.unique(patch[above:], return_inverse=True)
        self._waiting.append(
            _Rows(
                height=len(rows),
                starts=(starts[above:] - grid.shape[1]).astype(np.int32),
                lengths=(stops - starts)[above:].astype(np.int32),
                local=local.astype(np.int32),
                patch=used,
            )
        )
        self._last_row = grid[-1].copy()
        self._last_patch = patch[np.searchsorted(starts, grid.size - grid.shape[1]) :]
        return self._decided()

    def _numbered(self, grid: Bytes, starts: Ints) -> Ints:
        """Patch of each run of the grid, then of each patch that there was."""
        pairs = [connected(grid, starts)]
        if self._eight:
            pairs.append(connected(grid, starts, corners=True))
        row0 = np.arange(len(self._last_patch))
        pairs.append(np.stack([row0, len(starts) + self._last_patch], axis=1))
        return connected_labels(len(starts) + len(self._size), np.concatenate(pairs))

    def _merge(
        self, flat: Bytes, starts: Ints, stops: Ints, patch: Ints, earlier: Ints, above: int
    ) -> None:
        """Take over sizes and classes into the new numbers."""
        count = int(max(patch.max(initial=-1), earlier.max(initial=-1))) + 1
        size = np.zeros(count, np.int64)
        np.add.at(size, earlier, self._size)
        np.add.at(size, patch[above:], (stops - starts)[above:])
        kind, new, known = (
            np.zeros(count, np.uint8),
            np.zeros(count, np.uint8),
            np.zeros(count, bool),
        )
        kind[earlier], kind[patch] = self._class, flat[starts]
        new[earlier], known[earlier] = self._new, self._known
        self._size, self._class, self._new, self._known = size, kind, new, known
        self._pairs = np.sort(earlier[self._pairs], axis=1)
        for rows in self._waiting:
            rows.patch = earlier[rows.patch]

    def _count_borders(
        self, flat: Bytes, starts: Ints, stops: Ints, patch: Ints, earlier: Ints
    ) -> None:
        """Add the sides between pixels of the grid, except those within its first row."""
        stride = self._width + 1
        of = np.full(flat.size, -1, np.int32)
        of[_spread(starts, stops - starts)] = np.repeat(patch, stops - starts)
        found = []
        for step, first in ((1, stride), (stride, 0)):
            one, other = of[first:-step], of[first + step :]
            border = np.flatnonzero((one != other) & (one >= 0) & (other >= 0))
            found.append(np.stack([one[border], other[border]], axis=1).astype(np.int64))
        fresh = np.sort(np.concatenate(found), axis=1)
        pairs = np.concatenate([self._pairs, fresh])
        sides = np.concatenate([self._sides, np.ones(len(fresh), np.int64)])
        count = max(1, len(self._size))
        key, group = np.unique(pairs[:, 0] * count + pairs[:, 1], return_inverse=True)
        self._sides = np.bincount(group, sides, len(key)).astype(np.int64)
        self._pairs = np.stack([key // count, key % count], axis=1)

    def _decided(self) -> Bytes:
        """Find out what became of patches; the rows in which that is known of all, at the top."""
        is_open = np.zeros(len(self._size), bool)
        is_open[self._last_patch] = True
        large = self._size >= self._size_px
        small = ~large & ~is_open
        self._known[large], self._new[large] = True, self._class[large]
        one, other = self._pairs.T
        unsure = ~(large | small)
        ready = small & ~self._known
        ready[one[unsure[other]]] = False
        ready[other[unsure[one]]] = False
        self._replace(ready, large)
        # A side matters as long as one of the two may still take the other's class.
        ask = ~self._known
        matters = (ask[one] & ~small[other]) | (ask[other] & ~small[one])
        self._pairs, self._sides = self._pairs[matters], self._sides[matters]
        done = self._rows_out()
        self._forget()
        return done

    def _replace(self, ready: Bools, large: Bools) -> None:
        """Give the patches that are ready the class of the larger ones around them."""
        both = np.concatenate([self._pairs, self._pairs[:, ::-1]])
        sides = np.concatenate([self._sides, self._sides])
        chosen = ready[both[:, 0]] & large[both[:, 1]]
        key = both[chosen, 0] * 256 + _SWAP[self._class[both[chosen, 1]]]
        key, group = np.unique(key, return_inverse=True)
        shared = np.bincount(group, sides[chosen], len(key))
        order = np.lexsort([key, -shared, key // 256])
        patch, first = np.unique((key // 256)[order], return_index=True)
        self._new[ready] = self._class[ready]
        self._new[patch] = _SWAP[(key % 256)[order][first]]
        self.replaced += len(patch)
        self._known |= ready

    def _rows_out(self) -> Bytes:
        """The waiting rows from the top down to the first one with a patch that is not known."""
        done = [np.empty((0, self._width), np.uint8)]
        while self._waiting:
            rows = self._waiting[0]
            unknown = np.flatnonzero(~self._known[rows.patch][rows.local])
            height = rows.height
            if unknown.size:
                height = int(rows.starts[unknown[0]]) // (self._width + 1)
            if height:
                done.append(rows.drawn(self._width, height, self._new))
            if height < rows.height:
                if height:
                    rows.drop(self._width, height)
                break
            self._waiting.popleft()
        return np.concatenate(done)

    def _forget(self) -> None:
        """Number the patches that are still needed from 0."""
        needed = [self._last_patch, self._pairs.ravel(), *(rows.patch for rows in self._waiting)]
        used = np.unique(np.concatenate(needed))
        number = np.full(len(self._size), -1, np.int64)
        number[used] = np.arange(len(used))
        self._size, self._class = self._size[used], self._class[used]
        self._new, self._known = self._new[used], self._known[used]
        self._pairs, self._last_patch = number[self._pairs], number[self._last_patch]
        for rows in self._waiting:
            rows.patch = number[rows.patch]


def _spread(starts: Ints, lengths: npt.NDArray[np.integer]) -> Ints:
    """Every position of some stretches, one stretch after the other."""
    sizes = lengths.astype(np.int64)
    spread: Ints = np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    return spread

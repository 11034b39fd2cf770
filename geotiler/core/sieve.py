"""Small patches of a class raster given to what is around them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geotiler.core.tracing import connected, connected_labels, runs
from geotiler.specs import MASK_NODATA

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

HALO = 2
"""Rows beyond those wanted, times the size: a patch that reaches out of them, and the patches
next to it, show whether they are small."""


def sieved(classes: Bytes, size_px: int, *, eight_connected: bool = False) -> Bytes:
    """The classes with patches of fewer than `size_px` pixels replaced.

    A patch takes the class that has the largest share of its border among the larger patches,
    the lowest of equal ones; background counts as a class. Unknown pixels stay, and a patch with
    nothing but unknown or small ones around it stays too.

    Law: what becomes of a row depends on no more than HALO x `size_px` rows above and below it.

    Args:
        classes: (row, col) class ids, 0 background, 255 unknown.
        size_px: patches of fewer pixels go.
        eight_connected: pixels that touch at a corner only belong together.
    """
    swap = np.arange(256, dtype=np.uint8)
    swap[[0, MASK_NODATA]] = MASK_NODATA, 0  # what is followed must not be 0
    grid = np.zeros((classes.shape[0] + 1, classes.shape[1] + 1), np.uint8)
    grid[:-1, :-1] = swap[classes]
    flat = grid.ravel()
    starts, stops = runs(flat)
    pairs = [connected(grid, starts)]
    if eight_connected:
        pairs.append(connected(grid, starts, corners=True))
    of_run = connected_labels(len(starts), np.concatenate(pairs))
    count = int(of_run.max(initial=-1)) + 1
    size = np.bincount(of_run, stops - starts, count)
    small = size < size_px
    if not small.any():
        return classes
    patch = np.full(flat.size, -1, np.int32)
    lengths = stops - starts
    inside = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    patch[inside] = np.repeat(of_run, lengths)
    border_px = np.zeros(count * 256)
    stride = grid.shape[1]
    for step in (1, stride):
        one, other = patch[:-step], patch[step:]
        for mine, theirs, value in ((one, other, flat[step:]), (other, one, flat[:-step])):
            border = np.flatnonzero((mine != theirs) & (mine >= 0) & (theirs >= 0))
            border = border[small[mine[border]] & ~small[theirs[border]]]
            place = mine[border].astype(np.int64) * 256 + swap[value[border]]
            border_px += np.bincount(place, minlength=count * 256)
    shares = border_px.reshape(count, 256)
    new = shares.argmax(axis=1).astype(np.uint8)
    moved = small & (shares.max(axis=1) > 0)
    result = swap[flat]
    pixels = inside[np.repeat(moved[of_run], lengths)]
    result[pixels] = new[patch[pixels]]
    return np.ascontiguousarray(result.reshape(grid.shape)[:-1, :-1])

"""Network inputs cut from rows of a scene that are held as they were read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.radiometry import normalise
from geotiler.specs import Scale

Pieces = Sequence[tuple[NDArray[Any], NDArray[np.bool_]]]
"""A tile from top to bottom in stretches of rows: raw values (band, row, col), valid (row, col).

They are views of what was read: a tile that waits takes no memory of its own.
"""


def network_inputs(
    tiles: Sequence[Pieces],
    tile_shape: tuple[int, int],
    *,
    scale: Scale,
    mean: Sequence[float],
    std: Sequence[float],
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """A batch (tile, band, row, col), normalised; tiles that end early are mirrored there.

    Args:
        tiles: what was read of each.
        tile_shape: (height, width) of the network's input.
        scale, mean, std: see `normalise`.
        out: an earlier batch that is not needed any more, whose memory is taken if it fits.
    """
    shape = (len(tiles), len(tiles[0][0][0]), *tile_shape)
    if out is None or out.shape != shape:
        out = np.empty(shape, np.float32)
    for inputs, pieces in zip(out, tiles, strict=True):
        row = 0
        for raw, valid in pieces:
            height, width = valid.shape
            part = inputs[:, row : row + height, :width]
            normalise(raw, valid, scale=scale, mean=mean, std=std, out=part)
            row += height
        _mirror(inputs, row, width)
    return out


def is_all_valid(mask: NDArray[np.bool_]) -> bool:
    """Whether all of a mask is True; at once where it is a part of what `joined` made so."""
    return bool(mask[0, 0] if mask.strides == (0, 0) else mask.all())


def put_raw(pieces: Pieces, values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> None:
    """Copy a tile as it was read to where it is sent from, mirrored where it ends early.

    Args:
        pieces: what was read.
        values: (band, row, col) of the network's input, in the dtype that was read; overwritten.
        valid: (row, col), overwritten with the valid mask; None where all of it is valid.
    """
    row = 0
    for raw, known in pieces:
        height, width = known.shape
        values[:, row : row + height, :width] = raw
        if valid is not None:
            valid[row : row + height, :width] = known
        row += height
    _mirror(values, row, width)
    if valid is not None:
        _mirror(valid[None], row, width)


def joined(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Masks of stretches of rows as one; to be read, not written.

    Takes no memory where everything is True, as it is nearly everywhere.
    """
    if all(mask.all() for mask in masks):
        shape = (sum(len(mask) for mask in masks), masks[0].shape[1])
        return np.broadcast_to(np.True_, shape)
    return np.concatenate(masks)


def mirrored(tile: NDArray[np.float32], tile_shape: tuple[int, int]) -> NDArray[np.float32]:
    """A tile (band, row, col), mirrored at its right and lower edge where it ends early."""
    bands, height, width = tile.shape
    if (height, width) == tile_shape:
        return tile
    out = np.empty((bands, *tile_shape), np.float32)
    out[:, :height, :width] = tile
    _mirror(out, height, width)
    return out


def _mirror(tile: NDArray[Any], height: int, width: int) -> None:
    """Fill what lies below and right of the first `height` rows and `width` columns."""
    if height < tile.shape[1]:
        tile[:, height:, :width] = tile[:, _reflected(height, tile.shape[1]), :width]
    if width < tile.shape[2]:
        tile[:, :, width:] = tile[:, :, _reflected(width, tile.shape[2])]


def _reflected(inside: int, length: int) -> NDArray[np.intp]:
    """Which of the first positions is seen at each position from `inside` to `length`."""
    return np.pad(np.arange(inside), (0, length - inside), mode="symmetric")[inside:]

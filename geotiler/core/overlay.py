"""Pictures for looking at: display contrast, coloured masks and outlines over a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from geotiler.core.palette import Colour

Image = NDArray[np.uint8]
"""(row, col, 3), red-green-blue."""

# Told apart by people with red-green blindness too.
FOUND: Final[Colour] = (64, 190, 255)
MISSED: Final[Colour] = (255, 40, 170)
FALSE_ALARM: Final[Colour] = (255, 222, 0)
NODATA: Final[Colour] = (232, 232, 232)

_PERCENTILES = (2.0, 98.0)
_FILL = 0.45  # share of the colour inside an area; its outline is drawn in full


def displayable(bands: NDArray[np.generic], valid: NDArray[np.bool_]) -> Image:
    """The first three bands as an 8-bit picture, nodata in light grey.

    Args:
        bands: (band, row, col) of any dtype; one or two bands give a grey picture.
        valid: (row, col), True where the scene has data.

    Returns:
        8-bit input as it is; anything else stretched from the 2nd to the 98th percentile of the
        valid pixels of each band.
    """
    chosen = bands[:3] if len(bands) >= 3 else bands[[0, 0, 0]]
    if chosen.dtype == np.uint8:
        image = np.moveaxis(chosen, 0, -1).astype(np.uint8)
    else:
        image = np.stack([_stretched(band, valid) for band in chosen], axis=-1)
    image[~valid] = NODATA
    return image


def _stretched(band: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    values = band.astype(np.float32)
    known = values[valid & np.isfinite(values)]
    if known.size == 0:
        return np.zeros(band.shape, np.uint8)
    low, high = np.percentile(known, _PERCENTILES)
    scaled = (np.nan_to_num(values) - low) / max(float(high - low), 1e-12)
    return np.asarray(np.clip(scaled * 255.0, 0.0, 255.0)).astype(np.uint8)


def painted(image: Image, area: NDArray[np.bool_], colour: Colour) -> Image:
    """The picture with an area tinted and its inner outline drawn in full colour."""
    result = image.copy()
    tint = np.asarray(colour, np.float32)
    result[area] = (image[area] * (1 - _FILL) + tint * _FILL).astype(np.uint8)
    solid = area.astype(np.uint8)
    # Outside the picture counts as inside, so that an area cut by the border gets no line there.
    inner = cv2.erode(solid, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    result[area & (inner == 0)] = colour
    return result


def outlined(
    image: Image, rings: Sequence[NDArray[np.float64]], colour: Colour, width_px: int = 1
) -> Image:
    """The picture with closed lines.

    Args:
        image: what to draw on; stays as it is.
        rings: (n, 2) points (x, y) in pixels of the picture, the corner of the first one at 0.
        colour: of the lines.
        width_px: of the lines.
    """
    result = image.copy()
    # Fixed-point coordinates with three binary places; pixel centres lie at whole numbers.
    points = [np.rint((ring - 0.5) * 8).astype(np.int32) for ring in rings if len(ring) > 1]
    cv2.polylines(result, points, True, colour, width_px, cv2.LINE_AA, shift=3)
    return result


def compared(
    image: Image, found: NDArray[np.bool_] | None, truth: NDArray[np.bool_] | None
) -> Image:
    """The picture with hits, misses and false alarms; with one of the two, just that one."""
    if found is None:
        return image if truth is None else painted(image, truth, FOUND)
    if truth is None:
        return painted(image, found, FOUND)
    result = painted(image, found & truth, FOUND)
    result = painted(result, truth & ~found, MISSED)
    return painted(result, found & ~truth, FALSE_ALARM)


def busiest(area: NDArray[np.bool_], side_px: int) -> tuple[int, int]:
    """(row, col) of the first square with the most of an area; the middle one for no area."""
    height, width = area.shape
    side_row, side_col = min(side_px, height), min(side_px, width)
    if not area.any():
        return (height - side_row) // 2, (width - side_col) // 2
    total = cv2.integral(area.astype(np.uint8))
    inside = (
        total[side_row:, side_col:]
        - total[:-side_row, side_col:]
        - total[side_row:, :-side_col]
        + total[:-side_row, :-side_col]
    )
    row, col = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return int(row), int(col)


def beside(left: Image, right: Image, gap_px: int = 8) -> Image:
    """Two pictures next to each other, the second one scaled to the height of the first."""
    height = left.shape[0]
    width = max(1, round(right.shape[1] * height / right.shape[0]))
    nearest = cv2.INTER_NEAREST if height >= right.shape[0] else cv2.INTER_AREA
    scaled = cv2.resize(right, (width, height), interpolation=nearest)
    gap = np.full((height, gap_px, 3), 255, np.uint8)
    return np.concatenate([left, gap, scaled.astype(np.uint8)], axis=1)

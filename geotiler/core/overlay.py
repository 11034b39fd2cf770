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

GAP_PX: Final = 8
"""Between two pictures."""

_PERCENTILES = (2.0, 98.0)
_FILL = 0.45  # share of the colour inside an area; its outline is drawn in full


Range = tuple[float, float]
"""What is drawn black and what is drawn white."""


def brightness(bands: NDArray[np.generic], valid: NDArray[np.bool_]) -> list[Range]:
    """The range of each of the first three bands that a picture shows.

    Args:
        bands: (band, row, col) of any dtype.
        valid: (row, col), True where the scene has data.

    Returns:
        All of 8-bit input; otherwise the 2nd to the 98th percentile of the valid pixels.
    """
    if bands.dtype == np.uint8:
        return [(0.0, 255.0)] * min(3, len(bands))
    return [_range(band.astype(np.float32)[valid]) for band in bands[:3]]


def _range(values: NDArray[np.float32]) -> Range:
    known = values[np.isfinite(values)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(known, _PERCENTILES)
    return float(low), float(high if high > low else low + 1)


def displayable(
    bands: NDArray[np.generic], valid: NDArray[np.bool_], ranges: Sequence[Range] | None = None
) -> Image:
    """The first three bands as an 8-bit picture, nodata in light grey.

    Args:
        bands: (band, row, col) of any dtype; one or two bands give a grey picture.
        valid: (row, col), True where the scene has data.
        ranges: what is black and white in each band; None: as `brightness` finds them.
    """
    ranges = brightness(bands, valid) if ranges is None else ranges
    planes = [_stretched(band, limits) for band, limits in zip(bands[:3], ranges, strict=True)]
    image = np.stack(planes if len(planes) == 3 else [planes[0]] * 3, axis=-1)
    image[~valid] = NODATA
    return image


def _stretched(band: NDArray[np.generic], limits: Range) -> NDArray[np.uint8]:
    if band.dtype == np.uint8 and limits == (0.0, 255.0):
        return band.astype(np.uint8)
    scaled = (np.nan_to_num(band.astype(np.float32)) - limits[0]) / (limits[1] - limits[0])
    return np.asarray(np.clip(scaled * 255.0, 0.0, 255.0)).astype(np.uint8)


def painted(image: Image, area: NDArray[np.bool_], colour: Colour, width_px: int = 1) -> Image:
    """The picture with an area tinted and its inner outline, of that width, in full colour."""
    result = image.copy()
    tint = np.asarray(colour, np.float32)
    result[area] = (image[area] * (1 - _FILL) + tint * _FILL).astype(np.uint8)
    solid = area.astype(np.uint8)
    # Outside the picture counts as inside, so that an area cut by the border gets no line there.
    inner = cv2.erode(
        solid, np.ones((3, 3), np.uint8), iterations=width_px, borderType=cv2.BORDER_REPLICATE
    )
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


def framed(
    image: Image, row: float, col: float, height: float, width: float, *, least_px: int = 12
) -> Image:
    """The picture with a rectangle around a part of it: white within black, seen on any ground.

    Args:
        image: what to draw on; stays as it is.
        row: of the part's upper edge, in pixels of the picture.
        col: of its left edge.
        height: of the part.
        width: of the part.
        least_px: side of the rectangle around a part that would be too small to be seen.
    """
    result = image.copy()
    line = max(1, round(max(image.shape[:2]) / 1000))
    corners = []
    for start, length, most in ((col, width, image.shape[1]), (row, height, image.shape[0])):
        side = min(max(length, least_px) + 8 * line, most)  # the lines lie outside, if they can
        first = min(max(0.0, start + (length - side) / 2), most - side)
        corners.append((round(first), max(round(first), round(first + side) - 1)))
    (left, right), (top, bottom) = corners
    for inset, grey in enumerate(line * (0,) + 2 * line * (255,) + line * (0,)):
        if right - left > 2 * inset and bottom - top > 2 * inset:
            corner, opposite = (left + inset, top + inset), (right - inset, bottom - inset)
            cv2.rectangle(result, corner, opposite, (grey, grey, grey))
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


def beside(left: Image, right: Image, gap_px: int = GAP_PX) -> Image:
    """Two pictures next to each other, the second one scaled to the height of the first."""
    height = left.shape[0]
    width = max(1, round(right.shape[1] * height / right.shape[0]))
    nearest = cv2.INTER_NEAREST if height >= right.shape[0] else cv2.INTER_AREA
    scaled = cv2.resize(right, (width, height), interpolation=nearest)
    gap = np.full((height, gap_px, 3), 255, np.uint8)
    return np.concatenate([left, gap, scaled.astype(np.uint8)], axis=1)

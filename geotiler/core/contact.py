"""A page of small pictures: chips side by side under headings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geotiler.core.caption import captioned
from geotiler.core.overlay import NODATA, Image, displayable, painted
from geotiler.core.palette import Colour
from geotiler.specs import MASK_NODATA

COLOURS: tuple[Colour, ...] = (
    (255, 183, 3), (64, 190, 255), (255, 40, 170), (120, 220, 80), (170, 120, 255), (255, 110, 60),
)  # fmt: skip
"""Of classes 1, 2, ...; they repeat."""

IGNORED: Colour = (110, 110, 110)
_GAP_PX = 6
_HEADING_PX = 26


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A small chip."""

    bands: NDArray[np.generic]
    """(band, row, col)"""
    valid: NDArray[np.bool_]
    labels: NDArray[np.uint8] | None


def class_colour(class_id: int) -> Colour:
    """The colour of a class."""
    return COLOURS[(class_id - 1) % len(COLOURS)]


def contact_sheet(
    sections: Mapping[str, Sequence[Thumbnail]],
    classes: Mapping[int, str],
    *,
    side_px: int,
    columns: int,
) -> Image:
    """The page (row, col, 3): thumbnails by section, labels painted over them, and a legend.

    Contrast is stretched over all thumbnails together, so that they compare.

    Args:
        sections: heading → its thumbnails, each at most `side_px` on a side.
        classes: id → name.
        side_px: side of a cell.
        columns: cells of a row.
    """
    every = [item for items in sections.values() for item in items]
    pictures = iter(_pictures(every, side_px, classes))
    width = columns * (side_px + _GAP_PX) + _GAP_PX
    rows: list[Image] = []
    ignored = any(
        item.labels is not None and ((item.labels == MASK_NODATA) & item.valid).any()
        for item in every
    )
    for heading, items in sections.items():
        rows.append(_heading(heading, width))
        for first in range(0, len(items), columns):
            row = np.full((side_px + _GAP_PX, width, 3), 255, np.uint8)
            for place in range(min(columns, len(items) - first)):
                left = _GAP_PX + place * (side_px + _GAP_PX)
                row[:side_px, left : left + side_px] = next(pictures)
            rows.append(row)
    legend = [(class_colour(key), name) for key, name in sorted(classes.items())]
    legend += [(IGNORED, "not labelled")] if ignored else []
    legend += [(NODATA, "nodata")] if any(not item.valid.all() for item in every) else []
    return captioned(np.concatenate(rows, axis=0), legend)


def _pictures(items: Sequence[Thumbnail], side_px: int, classes: Mapping[int, str]) -> list[Image]:
    """Square pictures, stretched together."""
    count = len(items[0].bands)
    wide = np.zeros((count, side_px, side_px * len(items)), items[0].bands.dtype)
    valid = np.zeros(wide.shape[1:], bool)
    labels = np.zeros(wide.shape[1:], np.uint8)
    inside = np.zeros(wide.shape[1:], bool)
    for index, item in enumerate(items):
        height, width = item.valid.shape
        left = index * side_px
        place = slice(0, height), slice(left, left + width)
        wide[:, *place] = item.bands
        valid[place], inside[place] = item.valid, True
        if item.labels is not None:
            labels[place] = item.labels
    image = displayable(wide, valid)
    image = painted(image, (labels == MASK_NODATA) & valid, IGNORED)
    for key in sorted(classes):
        image = painted(image, labels == key, class_colour(key))
    image[~inside] = 255
    return [image[:, i * side_px : (i + 1) * side_px] for i in range(len(items))]


def _heading(text: str, width: int) -> Image:
    strip = np.full((_HEADING_PX, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (_GAP_PX, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1,
                cv2.LINE_AA)  # fmt: skip
    return strip

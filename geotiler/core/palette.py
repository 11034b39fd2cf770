"""Colours of classes; loads nothing, so that writing a style loads no library for pictures."""

from __future__ import annotations

import colorsys
from typing import Final

Colour = tuple[int, int, int]
"""(red, green, blue), 0 to 255."""

PALETTE: Final[tuple[Colour, ...]] = (
    (228, 87, 46), (23, 118, 182), (117, 181, 60), (255, 188, 66), (131, 56, 160),
    (0, 158, 155), (160, 108, 60), (230, 130, 190), (90, 90, 90), (190, 190, 30),
)  # fmt: skip
"""For classes that bring no colour of their own."""

_GOLDEN = 0.6180339887498949
"""Steps of this share of the circle never come back to a hue."""


def class_colour(class_id: int) -> Colour:
    """The colour of a class that brings none: the same in every picture and style.

    The first ten, from 1 on, are `PALETTE`; those beyond it are hues between, no two alike.
    """
    if 0 < class_id <= len(PALETTE):
        return PALETTE[class_id - 1]
    hue, value = class_id * _GOLDEN % 1.0, 0.9 if class_id % 2 else 0.65
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def hex_colour(colour: Colour) -> str:
    """A colour as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)

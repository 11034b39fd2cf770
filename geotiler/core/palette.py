"""Colours of classes; loads nothing, so that writing a style loads no library for pictures."""

from __future__ import annotations

from typing import Final

Colour = tuple[int, int, int]
"""(red, green, blue), 0 to 255."""

PALETTE: Final[tuple[Colour, ...]] = (
    (228, 87, 46), (23, 118, 182), (117, 181, 60), (255, 188, 66), (131, 56, 160),
    (0, 158, 155), (160, 108, 60), (230, 130, 190), (90, 90, 90), (190, 190, 30),
)  # fmt: skip
"""For classes that bring no colour of their own."""

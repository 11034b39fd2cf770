"""The strip below a picture: what its colours mean, how long a metre is, whose imagery it is."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from geotiler.core.overlay import Image
from geotiler.core.palette import Colour

_LINE_PX = 34
"""Height of a line, in a picture of up to about `_USUAL_PX`; larger ones have larger letters."""

_USUAL_PX = 1600
_FONT, _SIZE, _INK = cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40)
_LONGEST_BAR = 0.25
"""Of the picture's width."""


@dataclass(frozen=True, kw_only=True)
class ScaleBar:
    """A length that is easy to remember, drawn at the picture's scale."""

    length_px: int
    """In pixels of the picture."""
    label: str


def scale_bar(pixel: float, width_px: int, unit: str = "m") -> ScaleBar:
    """The longest bar of 1, 2 or 5 times a power of ten that takes a quarter of the width.

    Args:
        pixel: size of a pixel of the picture, in the unit.
        width_px: of the picture.
        unit: "m" or "px"; thousands of metres become kilometres.
    """
    most = max(pixel, pixel * width_px * _LONGEST_BAR)
    power = 10.0 ** math.floor(math.log10(most))
    length = max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))
    label = f"{length / 1000:g} km" if unit == "m" and length >= 1000 else f"{length:g} {unit}"
    return ScaleBar(length_px=max(1, round(length / pixel)), label=label)


def captioned(
    image: Image,
    entries: Sequence[tuple[Colour, str]] = (),
    bars: Sequence[tuple[ScaleBar, int]] = (),
    attribution: str | None = None,
) -> Image:
    """The picture with a strip below it: legend and scale bars, then the attribution.

    The strip has as many lines as it needs; a picture with nothing to say stays as it is.

    Args:
        image: (row, col, 3).
        entries: colour and name of each class.
        bars: how long is what, each up to the column where what it is true of ends, from the left.
        attribution: whose picture it is.
    """
    lines: list[Image] = []
    line = _Line(image.shape[1])
    begin = 0
    for bar, end in bars:
        line.add_bar(bar, begin, end)
        begin = end
    for colour, label in entries:
        if not line.add_entry(colour, label):
            lines.append(line.pixels)
            line = _Line(image.shape[1])
            line.add_entry(colour, label)
    if entries or bars:
        lines.append(line.pixels)
    if attribution:
        line = _Line(image.shape[1])
        line.add_text(attribution)
        lines.append(line.pixels)
    return np.concatenate([image, *lines], axis=0)


class _Line:
    """One line of the strip, filled from the left."""

    def __init__(self, width_px: int) -> None:
        self._times = max(1, round(width_px / _USUAL_PX))
        self.pixels: Image = np.full((_LINE_PX * self._times, width_px, 3), 255, np.uint8)
        self._col, self._stop = 10 * self._times, width_px - 10 * self._times
        self._is_empty = True

    def add_entry(self, colour: Colour, label: str) -> bool:
        """A square of colour and its name; False if the line is full."""
        text, times = drawable(label), self._times
        needed = 22 * times + self._width(text)
        if self._col + needed > self._stop and not self._is_empty:
            return False
        corner = self._col, 10 * times
        opposite = self._col + 14 * times, 24 * times
        cv2.rectangle(self.pixels, corner, opposite, colour, thickness=-1)
        self._put(text, self._col + 22 * times)
        self._col += needed + 24 * times
        self._is_empty = False
        return True

    def add_bar(self, bar: ScaleBar, begin: int, end: int) -> None:
        """A bar that stops short of a column, its label before it, both right of another one."""
        times = self._times
        left = end - 10 * times - bar.length_px
        text = drawable(bar.label)
        start = left - 8 * times - self._width(text)
        if start < begin + 10 * times:  # no room
            return
        cv2.line(self.pixels, (left, 20 * times), (left + bar.length_px, 20 * times), _INK, 2)
        for col in (left, left + bar.length_px):
            cv2.line(self.pixels, (col, 15 * times), (col, 24 * times), _INK, 2)
        self._put(text, start)
        self._stop = min(self._stop, start - 10 * times)

    def add_text(self, text: str) -> None:
        """Words, cut where the line ends."""
        self._put(drawable(text), self._col)

    def _put(self, text: str, col: int) -> None:
        place, size = (col, 22 * self._times), _SIZE * self._times
        cv2.putText(self.pixels, text, place, _FONT, size, _INK, self._times, cv2.LINE_AA)

    def _width(self, text: str) -> int:
        (width, _), _ = cv2.getTextSize(text, _FONT, _SIZE * self._times, self._times)
        return int(width)


def drawable(text: str) -> str:
    """The text in the characters that OpenCV's built-in font has."""
    plain = text.replace("©", "(c)").replace("–", "-").replace("ß", "ss").replace("²", "2")
    letters = unicodedata.normalize("NFKD", plain)
    kept = (letter for letter in letters if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in kept)

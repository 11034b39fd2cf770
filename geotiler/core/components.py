"""Sums over the connected areas of a class raster that is read from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(eq=False)
class _Area:
    """One area, or several that turned out to be one."""

    first: tuple[int, int]
    """(row, col) of its first cell, row-major."""
    cells: int
    sums: NDArray[np.float64]
    merged_into: _Area | None = None


class ComponentSums:
    """Cells and sums of values of 4-connected areas of one class, kept until they are asked for.

    An area is known by its first cell in row-major order: the upper left corner of its outline,
    smallest y first. Memory grows with the areas that were not taken yet, not with the raster.
    """

    def __init__(self) -> None:
        """Begin above the first row."""
        self._row = 0
        self._above: list[tuple[int, int, int, _Area]] = []
        """(start, stop, class, area) of the runs of the last row."""
        self._done: dict[tuple[int, int], _Area] = {}

    def add_rows(self, classes: NDArray[np.uint8], values: NDArray[np.floating]) -> None:
        """Take up the next rows.

        Args:
            classes: (row, col); 0 belongs to no area.
            values: (value, row, col), summed over each area.
        """
        for row, line in enumerate(classes):
            self._add_row(line, values[:, row])

    def take(self, row: int, col: int) -> tuple[int, NDArray[np.float64]]:
        """Cells of the area whose first cell is (row, col), and the sums of its values.

        The area must be complete; it is forgotten.
        """
        area = self._done.pop((row, col))
        return area.cells, area.sums

    def _add_row(self, line: NDArray[np.uint8], values: NDArray[np.floating]) -> None:
        breaks = np.flatnonzero(np.diff(line)) + 1
        bounds = np.concatenate([[0], breaks, [len(line)]])
        totals = np.add.reduceat(values.astype(np.float64), bounds[:-1], axis=1)
        here: list[tuple[int, int, int, _Area]] = []
        above = 0
        for index, (start, stop) in enumerate(pairwise(bounds)):
            class_id = int(line[start])
            while above < len(self._above) and self._above[above][1] <= start:
                above += 1
            if class_id == 0:
                continue
            area = _Area((self._row, int(start)), int(stop - start), totals[:, index])
            self._done[area.first] = area
            touching = above
            while touching < len(self._above) and self._above[touching][0] < stop:
                other = self._above[touching]
                if other[2] == class_id:
                    area = self._merged(_whole(other[3]), area)
                touching += 1
            here.append((int(start), int(stop), class_id, area))
        self._above = [(start, stop, kind, _whole(area)) for start, stop, kind, area in here]
        self._row += 1

    def _merged(self, one: _Area, other: _Area) -> _Area:
        """Both as one area, known by the earlier first cell."""
        if one is other:
            return one
        if other.first < one.first:
            one, other = other, one
        one.cells += other.cells
        one.sums = one.sums + other.sums
        del self._done[other.first]
        other.merged_into = one
        return one


def _whole(area: _Area) -> _Area:
    """The area that this one is now a part of."""
    while area.merged_into is not None:
        area = area.merged_into
    return area

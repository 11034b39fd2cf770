"""How sizes are spread: counts in bins that a person reads at a glance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class SizeBin:
    """How many sizes are in [start, stop)."""

    start: float
    stop: float
    count: int


def size_histogram(sizes: NDArray[np.float64]) -> list[SizeBin]:
    """Counts in bins that end at 1, 2 and 5 times powers of ten, without empty ends.

    Sizes that are not positive numbers are left out.
    """
    known = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not known.size:
        return []
    first, last = (math.floor(math.log10(value)) for value in (known.min(), known.max()))
    edges = np.array([
        step * 10.0**power for power in range(first - 1, last + 2) for step in (1, 2, 5)
    ])  # fmt: skip
    counts, _ = np.histogram(known, edges)
    filled = np.flatnonzero(counts)
    return [
        SizeBin(start=float(edges[index]), stop=float(edges[index + 1]), count=int(counts[index]))
        for index in range(filled[0], filled[-1] + 1)
    ]

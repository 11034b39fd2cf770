"""Words that several specifications share: windows, ranges, backends, and what masks store."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from geotiler.errors import SpecError

MASK_NODATA = 255
"""Pixel value of "unknown" in masks, in label rasters and in uint8 probabilities."""

PROBABILITY_STEPS = 254
"""A uint8 probability raster stores round(254 p)."""

SMALLEST_M2 = 10.0
"""Smaller objects are left out, unless asked for (square pixels without a CRS)."""

SMALLEST_HOLE_M2 = 2.0
"""Smaller holes of objects are filled, unless asked for."""


class Backend(enum.StrEnum):
    """What runs the network."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


class Precision(enum.StrEnum):
    """Numbers that a network computes with; its probabilities are float32 in any case."""

    AUTO = "auto"
    """float32 on a CPU, where results are kept; a half precision on a GPU."""
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Engine(enum.StrEnum):
    """How work is spread."""

    LOCAL = "local"
    DASK = "dask"


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A pixel rectangle of a scene; no data."""

    row: int
    """First row, 0-based from the top."""
    col: int
    """First column, 0-based from the left."""
    height: int
    width: int

    @property
    def row_stop(self) -> int:
        """One past the last row."""
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        """One past the last column."""
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices into an array that covers the scene."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)

    def intersection(self, other: Window) -> Window | None:
        """The pixels that both have, or None."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row_stop, other.row_stop) - row
        width = min(self.col_stop, other.col_stop) - col
        if height <= 0 or width <= 0:
            return None
        return Window(row=row, col=col, height=height, width=width)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Linear map of raw values to the range of an 8-bit model: minimum → 0, maximum → 255."""

    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        """Raises: SpecError: the range is empty or not finite."""
        if not (math.isfinite(self.minimum) and math.isfinite(self.maximum)):
            raise SpecError("`scale` limits must be finite", hint="try --scale 0,10000")
        if not self.minimum < self.maximum:
            raise SpecError(
                f"`scale` minimum must be below its maximum, got {self.minimum:g},{self.maximum:g}",
                hint="try --scale 0,10000",
            )

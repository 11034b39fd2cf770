"""What `vectorize` is asked to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from geotiler.errors import SpecError
from geotiler.specs.checks import at_least
from geotiler.specs.values import SMALLEST_HOLE_M2, SMALLEST_M2


class Regularize(enum.StrEnum):
    """How outlines are drawn."""

    NONE = "none"
    """Simplified only."""
    RIGHT_ANGLES = "right-angles"
    """Walls along a building's own direction, square to it, and at 45° where they really are."""
    ANY_ANGLE = "any-angle"
    """Besides, walls of any other direction."""
    AUTO = "auto"
    """Right angles, else circles, else any angle: what fits."""


class OutlinesFrom(enum.StrEnum):
    """What outlines are taken from."""

    AUTO = "auto"
    """Probabilities, if the raster is known to hold some or a raster of them is given."""
    MASK = "mask"
    """Pixel sides."""
    PROBABILITY = "probability"
    """Where the probability crosses the threshold, between the pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorizeSpec:
    """One mask, or one raster of probabilities, to one set of polygons."""

    mask: str
    """Mask of class ids, or probabilities of one class or several."""
    output: str
    """Target; the suffix chooses the format, "-" is GeoJSON on standard output."""
    classes: tuple[str, ...] | None = None
    """Class names or ids to polygonize; None: all but 0 (background) and nodata."""
    min_area_m2: float = SMALLEST_M2
    """Smaller polygons are dropped (square pixels where the mask has no CRS)."""
    min_hole_m2: float = SMALLEST_HOLE_M2
    """Smaller holes are filled."""
    sieve_px: int = 0
    """Patches of fewer pixels take the class that most of their border has, beforehand."""
    simplify_m: float | None = None
    """Tolerance of outlines that are not regularized; None: one pixel's ground distance.
    0 keeps every vertex."""
    regularize: Regularize = Regularize.AUTO
    """How outlines are drawn. AUTO leaves masks of several classes to coverage simplification."""
    max_deviation_px: float = 0.75
    """Regular outlines further from the mask's, on average, are refused."""
    outlines_from: OutlinesFrom = OutlinesFrom.AUTO
    probability: str | None = None
    """Probabilities on the mask's grid: for outlines between pixels, and mean_probability."""
    threshold: float | None = None
    """Where `mask` holds probabilities of one class; None: as its tags say, else 0.5."""
    separate: bool = False
    """Part patches of several objects where the probability drops between them."""
    snap_neighbours: bool = False
    """Walls of neighbours less than two pixels apart become one."""
    eight_connected: bool = False
    """Join pixels that touch at a corner only."""
    layer: str | None = None
    """Name of the layer in formats that have some; None: the file's name."""
    append: bool = False
    """Add to an existing file (GeoPackage, GeoJSONSeq)."""
    workers: int = 1
    """Processes that draw; the result is the same for any number."""
    overwrite: bool = False
    restart: bool = False
    """Drop what an earlier run has left unfinished instead of going on from there."""
    hash_content: bool = False
    """Tell the rasters by their bytes instead of by path and time of change."""

    def __post_init__(self) -> None:
        """Raises: SpecError: a value is out of range, or two contradict each other."""
        at_least("min_area_m2", self.min_area_m2, 0, "try --min-area 10")
        at_least("min_hole_m2", self.min_hole_m2, 0, "try --min-hole 2")
        at_least("sieve_px", self.sieve_px, 0, "try --sieve 20")
        at_least("workers", self.workers, 1, "try --workers 2")
        at_least("simplify_m", self.simplify_m, 0, "try --simplify 0.5")
        at_least("max_deviation_px", self.max_deviation_px, 0, "try --max-deviation 0.75")
        if self.threshold is not None and not 0.0 < self.threshold < 1.0:
            raise SpecError(
                f"`threshold` must lie between 0 and 1, got {self.threshold:g}",
                hint="try --threshold 0.5",
            )
        if self.separate and self.eight_connected:
            raise SpecError(
                "--separate parts what --eight-connected joins", hint="leave one of them out"
            )
        if self.append and self.overwrite:
            raise SpecError("--append and --overwrite exclude each other", hint="leave one out")
        if self.append and self.output == "-":
            raise SpecError("standard output cannot be appended to", hint="leave --append out")

"""What `evaluate` is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import SpecError
from geotiler.specs.checks import at_least
from geotiler.specs.values import SMALLEST_M2


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSpec:
    """Masks or polygons against the truth."""

    predictions: tuple[str, ...]
    """Masks of class ids, or polygons in any CRS; a folder stands for the files in it."""
    truths: tuple[str, ...]
    """Rasters or polygons in any CRS, or a folder; one is for all predictions, of several each
    prediction takes that of its name, else the one that overlaps it."""
    classes: tuple[str, ...] | None = None
    """Class names or ids to score; None: all classes."""
    attribute: str = "class"
    """Attribute of polygons that holds a class's name or id."""
    grid: str | None = None
    """Raster whose pixels are counted where prediction and truth are both polygons."""
    boundary_px: int = 3
    """How far from an outline pixels count for the boundary IoU."""
    objects: bool = True
    """Compare objects too, not pixels only."""
    least_area_m2: float = SMALLEST_M2
    """Smaller objects are left out on both sides (square pixels without a CRS)."""
    probabilities: tuple[str, ...] = ()
    """Probability rasters of the predictions, or a folder, for a sweep over thresholds."""
    plot: Path | None = None
    """PNG of that sweep."""
    csv: Path | None = None
    """Table of all scores."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises: SpecError: nothing to compare, or a value is out of range."""
        if not self.predictions or not self.truths:
            raise SpecError(
                "evaluate compares predictions with a truth, and one of them is missing",
                hint="geotiler evaluate mask.tif --truth footprints.geojson",
            )
        at_least("boundary_px", self.boundary_px, 1, "try --boundary 3")
        at_least("least_area_m2", self.least_area_m2, 0, "try --min-area 10")
        if self.plot is not None and not self.probabilities:
            raise SpecError(
                "--plot draws a sweep over thresholds, which needs probabilities",
                hint="--probability p.tif, from geotiler segment --probability p.tif",
            )

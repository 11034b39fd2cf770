"""What `preview` is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import SpecError
from geotiler.specs.checks import at_least, check_bounds


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewSpec:
    """One scene and what was found in it, as a picture or a page to look at."""

    scene: str
    output: Path
    """Picture (.png) or self-contained page (.html) to write."""
    layers: tuple[str, ...] = ()
    """Masks of class ids and vector files, drawn in this order."""
    truth: str | None = None
    """What is truly there, raster or vectors; colours hits, misses and false alarms."""
    width_px: int | None = None
    """Width of the picture; None: 1600 (2048 in a page). Smaller scenes keep theirs."""
    detail_px: int = 0
    """Side of a square of scene pixels shown beside the picture; 0 shows none."""
    bounds: tuple[float, float, float, float] | None = None
    """(left, bottom, right, top) in the scene's CRS: only what they touch; None shows all."""
    bounds_crs: str | None = None
    """CRS of `bounds`, as EPSG:4326; None: the scene's."""
    attribution: str | None = None
    """Whose imagery it is; None: as the scene's tags say."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises: SpecError: a picture too small to show anything, or an unknown format."""
        if self.output.suffix.lower() not in (".png", ".html"):
            # Not named: it may be an address, and hold a password.
            raise SpecError(
                "the output is neither a .png nor a .html, as a preview is", hint="-o preview.png"
            )
        at_least("width_px", self.width_px, 64, "try --width 1600")
        at_least("detail_px", self.detail_px, 0, "try --detail 512")
        check_bounds(self.bounds, self.bounds_crs)

"""What `render` and `data` are asked to make: an example scene, a data set to train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import SpecError
from geotiler.specs.checks import at_least


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderSpec:
    """A rendered example scene with its true footprints."""

    output: Path
    """GeoTIFF to write."""
    truth: Path | None = None
    """GeoJSON of the footprints; None writes none."""
    height: int = 4573
    width: int = 4418
    gsd_m: float = 0.5
    seed: int = 7
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises: SpecError: an empty scene or a senseless ground sample distance."""
        at_least("height", self.height, 1, "try --height 4573")
        at_least("width", self.width, 1, "try --width 4418")
        if not 0.05 <= self.gsd_m <= 5.0:
            raise SpecError(
                f"`gsd_m` must be 0.05 to 5 metres, got {self.gsd_m:g}", "try --gsd 0.5"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EurosatSpec:
    """The EuroSAT tiles as a folder to train on."""

    output: Path
    """Folder to write."""
    source: Path | None = None
    """Zip or folder of the data set; None downloads it."""
    lists: Path | None = None
    """Folder of the spatial split's lists; None looks beside and in the source."""
    limit: int | None = None
    """Only so many tiles of each class and part; None: all."""
    subset: bool = False
    """Accept a source that is not complete."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises: SpecError: a limit that leaves nothing."""
        at_least("limit", self.limit, 1, "try --limit 100")

"""What `classify` is asked to do, for scenes and for single images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import SpecError
from geotiler.specs.checks import at_least, check_area, check_bands, check_gsd, check_min_valid
from geotiler.specs.values import Backend, Precision, Scale


@dataclass(frozen=True, kw_only=True, slots=True)
class RadiometrySpec:
    """How stored values become what a classifier was trained on."""

    bands: tuple[int, ...] | None = None
    """Bands counted from 1, in the order the model wants them; None: by name, else in order."""
    scale: Scale | None = None
    """Raw range; None: as the card says."""
    auto_scale: bool = False
    """Measure the scene-wide 2-98 % range instead."""
    dn_offset: float | None = None
    """Added to stored values first; None: as the metadata say."""

    def __post_init__(self) -> None:
        """Raises: SpecError: a band below 1, or an offset that is no number."""
        check_bands(self.bands)
        if self.dn_offset is not None and not math.isfinite(self.dn_offset):
            raise SpecError("the offset must be finite", hint="try --dn-offset -1000")
        if self.scale is not None and self.auto_scale:
            raise SpecError("a fixed scale and an automatic one exclude each other", "--scale once")


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendSpec:
    """What runs a network, and on what."""

    backend: Backend = Backend.AUTO
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Precision = Precision.AUTO
    batch: int = 16
    """Tiles per forward pass. It can change the last digits of an answer, so it never depends on
    how much there is to do."""
    threads: int | None = None
    """Threads of the network; None: all cores."""

    def __post_init__(self) -> None:
        """Raises: SpecError: nothing at a time, or no thread."""
        at_least("batch", self.batch, 1, "try --batch 16")
        at_least("threads", self.threads, 1, "try --threads 2")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyImagesSpec:
    """Images, each of which is one thing."""

    images: tuple[str, ...]
    """Paths or GDAL names; each is resized to the model's tile."""
    model: str = "landuse"
    """Name of a shipped model, a model folder or its address, or an ONNX file beside its card."""
    topk: int = 3
    """How many of the likeliest classes are listed."""
    drivers: tuple[str, ...] | None = None
    """GDAL drivers that may open the images; None: all."""
    radiometry: RadiometrySpec = RadiometrySpec()
    run: BackendSpec = BackendSpec()

    def __post_init__(self) -> None:
        """Raises: SpecError: no image, or a list of no classes."""
        if not self.images:
            raise SpecError("no image to classify", hint="geotiler classify tile.jpg")
        at_least("topk", self.topk, 1, "try --topk 3")


VECTOR_SUFFIXES = (
    ".geojson", ".json", ".geojsonl", ".geojsons", ".ndjson", ".gpkg", ".fgb", ".parquet",
)  # fmt: skip
"""Targets that hold polygons."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifySpec:
    """One scene to a map of classes."""

    scene: tuple[str, ...]
    """Path or GDAL name of the raster, or of one file for each band."""
    output: str
    """Map to write: polygons (.geojson, .gpkg, .fgb, .parquet, "-" is GeoJSON on standard output)
    or a raster of classes (.tif, .png)."""
    model: str = "landuse"
    """Name of a shipped model, a model folder or its address, or an ONNX file beside its card."""
    stride_px: int | None = None
    """Distance of neighbouring tiles, and side of a cell, in model pixels; None: one tile."""
    dissolve: bool = False
    """Merge neighbouring cells of one class into one polygon."""
    confidence: Path | None = None
    """Also write the probability of the class of each cell here."""
    radiometry: RadiometrySpec = RadiometrySpec()
    gsd_m: tuple[float, float] | None = None
    """Ground sample distance (x, y) of the scene; None computes it from transform and CRS."""
    aoi: str | None = None
    """Vector file of polygons: only cells that they touch are labelled; None: all."""
    bounds: tuple[float, float, float, float] | None = None
    """The same for a rectangle: (left, bottom, right, top)."""
    bounds_crs: str | None = None
    """CRS of `bounds`, as EPSG:4326; None: the scene's."""
    min_valid: float = 0.5
    """Least share of valid pixels of a tile; 0 asks for one pixel."""
    insist: bool = False
    """Go on with a scene that is smaller than a tile or far coarser than the model."""
    run: BackendSpec = BackendSpec()
    overwrite: bool = False
    restart: bool = False
    """Drop what an earlier run has left unfinished instead of going on from there."""
    hash_content: bool = False
    """Tell the scene by its bytes instead of by path and time of change."""

    def __post_init__(self) -> None:
        """Raises: SpecError: a value is out of range, or two contradict each other."""
        if not self.scene:
            raise SpecError("no scene to classify", hint="geotiler classify scene.tif -o map.tif")
        at_least("stride_px", self.stride_px, 1, "try --stride 32")
        check_gsd(self.gsd_m)
        check_min_valid(self.min_valid)
        check_area(self.aoi, self.bounds, self.bounds_crs)
        if self.dissolve and not self.is_vector:
            raise SpecError(
                f"--dissolve merges polygons, and {self.output} is a raster",
                hint="-o landuse.geojson",
            )

    @property
    def is_vector(self) -> bool:
        """True if the map is made of polygons."""
        return self.output == "-" or self.output.lower().endswith(VECTOR_SUFFIXES)

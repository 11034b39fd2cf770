"""What `segment` is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import SpecError
from geotiler.specs.checks import at_least, check_area, check_bands, check_gsd, check_overlap
from geotiler.specs.values import Backend, Engine, Precision, Scale


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentSpec:
    """One scene to one mask."""

    scene: str
    """Path or GDAL name of the raster."""
    output: Path
    """Mask to write: .tif (Cloud-Optimized GeoTIFF) or .png."""
    drivers: tuple[str, ...] | None = None
    """GDAL drivers that may open the scene; None: all."""
    model: str = "buildings"
    """Name of a shipped model, a model folder or its address, or an ONNX file beside its card."""
    tile_px: tuple[int, int] | None = None
    """(height, width) of a tile in model pixels; None fits one to the scene."""
    overlap_px: int | None = None
    """Pixels shared by neighbouring tiles; None: the card's, at most a quarter of `tile_px`."""
    batch: int | None = None
    """Tiles per forward pass; None lets the backend decide."""
    threshold: float | None = None
    """Probability from which a pixel belongs to the class (one-class models); None: the card's."""
    bands: tuple[int, ...] | None = None
    """Bands of the scene, counted from 1, in the order the model wants them."""
    gsd_m: tuple[float, float] | None = None
    """Ground sample distance (x, y) of the scene; None computes it from transform and CRS."""
    scale: Scale | None = None
    """Raw range of the scene; None: as the card says."""
    auto_scale: bool = False
    """Measure the scene-wide 2-98 % range instead, and read it as that of a photograph."""
    backend: Backend = Backend.AUTO
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Precision = Precision.AUTO
    tta: int = 1
    """Mirror images whose answers are averaged (test-time augmentation): 1, 2 or 4."""
    probability: Path | None = None
    """Also write the probability of each class here."""
    probability_dtype: str = "uint8"
    """uint8 (round(254 p), nodata 255) or float32 (nodata NaN)."""
    aoi: str | None = None
    """Vector file of the polygons that are asked for; elsewhere is nodata."""
    bounds: tuple[float, float, float, float] | None = None
    """(left, bottom, right, top) of what is asked for."""
    bounds_crs: str | None = None
    """CRS of `bounds`, as EPSG:4326; None: the scene's."""
    overwrite: bool = False
    restart: bool = False
    """Drop what an earlier run has left unfinished instead of going on from there."""
    mosaic: tuple[str, ...] = ()
    """Neighbouring rasters to take for one scene, in the place of `scene`."""
    engine: Engine = Engine.LOCAL
    scheduler: str | None = None
    """Address of a dask scheduler; None starts workers on this machine."""
    workers: int | None = None
    """Processes that --engine dask starts on this machine; None: one for each core."""
    asset: str | None = None
    """Which asset, where the scene is a STAC item; None: its only raster."""
    allow_remote: bool = False
    """A local virtual raster may be read from other machines."""
    hash_content: bool = False
    """Tell the scene by its bytes instead of by path and time of change."""
    threads: int | None = None
    """Threads of the network; None: all cores. Does not change the result on CPU backends
    whose answer is independent of it."""

    def __post_init__(self) -> None:
        """Raises: SpecError: a value is out of range."""
        if self.tile_px is not None:
            for side in self.tile_px:
                if side < 32 or side % 32:
                    raise SpecError(
                        f"`tile_px` must be a multiple of 32 and at least 32, got {side}",
                        hint="try --tile 512",
                    )
        if self.overlap_px is not None:
            check_overlap(self.overlap_px, None if self.tile_px is None else min(self.tile_px))
        at_least("batch", self.batch, 1, "try --batch 4")
        at_least("threads", self.threads, 1, "try --threads 2")
        if self.tta not in (1, 2, 4):
            raise SpecError(f"`tta` must be 1, 2 or 4, got {self.tta}", hint="try --tta 2")
        at_least("workers", self.workers, 1, "try --workers 2")
        if self.engine is Engine.LOCAL and (self.scheduler or self.workers):
            raise SpecError(
                "`scheduler` and `workers` are for the engine dask", hint="add --engine dask"
            )
        if self.threshold is not None and not 0.0 < self.threshold < 1.0:
            raise SpecError(
                f"`threshold` must lie between 0 and 1, got {self.threshold:g}",
                hint="try --threshold 0.5",
            )
        check_bands(self.bands)
        check_gsd(self.gsd_m)
        if self.probability_dtype not in ("uint8", "float32"):
            raise SpecError(
                f"`probability_dtype` must be uint8 or float32, got {self.probability_dtype!r}",
                hint="--probability-dtype uint8 is the small one",
            )
        check_area(self.aoi, self.bounds, self.bounds_crs)
        if self.scale is not None and self.auto_scale:
            raise SpecError("a fixed scale and an automatic one exclude each other", "--scale once")

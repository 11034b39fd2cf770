"""What a task is asked to do: frozen, keyword-only, validated before any file is opened.

Only the standard library is imported here, so that the command line can build and refuse a
specification without loading numpy. Units are part of the names; `None` means "decide from the
model card or the scene".
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from pathlib import Path

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


def _at_least(name: str, value: float | None, minimum: float, hint: str) -> None:
    if value is not None and not (math.isfinite(value) and value >= minimum):
        raise SpecError(f"{name} must be at least {minimum:g}, got {value:g}", hint=hint)


def check_gsd(gsd_m: tuple[float, float] | None) -> None:
    """Raises: SpecError: a ground sample distance that is no length."""
    for value in gsd_m or ():
        if not (math.isfinite(value) and value > 0):
            raise SpecError(
                f"gsd must be positive metres per pixel, got {value:g}",
                hint="try --scene-gsd 0.3",
            )


def check_bounds(bounds: tuple[float, float, float, float] | None, bounds_crs: str | None) -> None:
    """Raises: SpecError: bounds that enclose no area, or a CRS of none."""
    if bounds is not None:
        left, bottom, right, top = bounds
        if not all(map(math.isfinite, bounds)) or left == right or bottom == top:
            raise SpecError(
                f"bounds must enclose an area, got {','.join(f'{v:g}' for v in bounds)}",
                hint="--bounds LEFT,BOTTOM,RIGHT,TOP in the scene's CRS, or --bounds-crs",
            )
    elif bounds_crs is not None:
        raise SpecError(
            f"--bounds-crs {bounds_crs} says nothing without bounds",
            hint="--bounds LEFT,BOTTOM,RIGHT,TOP",
        )


def check_bands(bands: tuple[int, ...] | None) -> None:
    """Raises: SpecError: no band, or one below 1."""
    if bands is None:
        return
    if not bands:
        raise SpecError("at least one band must be chosen", hint="try --bands 1,2,3")
    if min(bands) < 1:
        raise SpecError(f"bands are counted from 1, got {min(bands)}", hint="try --bands 1,2,3")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Linear map of raw values to the range of an 8-bit model: minimum → 0, maximum → 255."""

    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        """Raises: SpecError: the range is empty or not finite."""
        if not (math.isfinite(self.minimum) and math.isfinite(self.maximum)):
            raise SpecError("scale limits must be finite", hint="try --scale 0,10000")
        if not self.minimum < self.maximum:
            raise SpecError(
                f"scale minimum must be below its maximum, got {self.minimum:g},{self.maximum:g}",
                hint="try --scale 0,10000",
            )


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
    """Name of a shipped model, a model folder, or an ONNX file beside its card.json."""
    tile_px: tuple[int, int] | None = None
    """(height, width) of a tile in model pixels; None fits one to the scene."""
    overlap_px: int | None = None
    """Pixels shared by neighbouring tiles; None takes the card's."""
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
    """Measure the scene-wide 2-98 % range instead."""
    backend: Backend = Backend.AUTO
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Precision = Precision.AUTO
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
                        f"tile_px must be a multiple of 32 and at least 32, got {side}",
                        hint="try --tile 512",
                    )
        if self.overlap_px is not None:
            if self.tile_px is not None and not 0 <= self.overlap_px < min(self.tile_px):
                raise SpecError(
                    f"overlap_px must be in [0, {min(self.tile_px)}), got {self.overlap_px}",
                    hint="try --overlap 64",
                )
            _at_least("overlap_px", self.overlap_px, 0, "try --overlap 64")
        _at_least("batch", self.batch, 1, "try --batch 4")
        _at_least("threads", self.threads, 1, "try --threads 2")
        _at_least("workers", self.workers, 1, "try --workers 2")
        if self.engine is Engine.LOCAL and (self.scheduler or self.workers):
            raise SpecError(
                "a scheduler and workers belong to another engine", hint="add --engine dask"
            )
        if self.threshold is not None and not 0.0 < self.threshold < 1.0:
            raise SpecError(
                f"threshold must lie between 0 and 1, got {self.threshold:g}",
                hint="try --threshold 0.5",
            )
        check_bands(self.bands)
        check_gsd(self.gsd_m)
        if self.probability_dtype not in ("uint8", "float32"):
            raise SpecError(
                f"probability dtype must be uint8 or float32, got {self.probability_dtype!r}",
                hint="--probability-dtype uint8 is the small one",
            )
        if self.aoi is not None and self.bounds is not None:
            raise SpecError("--aoi and --bounds exclude each other", hint="give one of them")
        check_bounds(self.bounds, self.bounds_crs)
        if self.scale is not None and self.auto_scale:
            raise SpecError("a fixed scale and an automatic one exclude each other", "--scale once")


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
        _at_least("batch", self.batch, 1, "try --batch 16")
        _at_least("threads", self.threads, 1, "try --threads 2")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyImagesSpec:
    """Images, each of which is one thing."""

    images: tuple[str, ...]
    """Paths or GDAL names; each is resized to the model's tile."""
    model: str = "landuse"
    """Name of a shipped model, a model folder, or an ONNX file beside its card.json."""
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
        _at_least("topk", self.topk, 1, "try --topk 3")


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
    """Name of a shipped model, a model folder, or an ONNX file beside its card.json."""
    stride_px: int | None = None
    """Distance of neighbouring tiles, and side of a cell, in model pixels; None: one tile."""
    dissolve: bool = False
    """Merge neighbouring cells of one class into one polygon."""
    confidence: Path | None = None
    """Also write the probability of the class of each cell here."""
    radiometry: RadiometrySpec = RadiometrySpec()
    gsd_m: tuple[float, float] | None = None
    """Ground sample distance (x, y) of the scene; None computes it from transform and CRS."""
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
        _at_least("stride_px", self.stride_px, 1, "try --stride 32")
        check_gsd(self.gsd_m)
        if not 0.0 <= self.min_valid <= 1.0:
            raise SpecError(
                f"min_valid must lie in 0 to 1, got {self.min_valid:g}", hint="try --min-valid 0.5"
            )
        if self.dissolve and not self.is_vector:
            raise SpecError(
                f"--dissolve merges polygons, and {self.output} is a raster",
                hint="-o landuse.geojson",
            )

    @property
    def is_vector(self) -> bool:
        """True if the map is made of polygons."""
        return self.output == "-" or self.output.lower().endswith(VECTOR_SUFFIXES)


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
        _at_least("min_area_m2", self.min_area_m2, 0, "try --min-area 10")
        _at_least("min_hole_m2", self.min_hole_m2, 0, "try --min-hole 2")
        _at_least("sieve_px", self.sieve_px, 0, "try --sieve 20")
        _at_least("workers", self.workers, 1, "try --workers 2")
        _at_least("simplify_m", self.simplify_m, 0, "try --simplify 0.5")
        _at_least("max_deviation_px", self.max_deviation_px, 0, "try --max-deviation 0.75")
        if self.threshold is not None and not 0.0 < self.threshold < 1.0:
            raise SpecError(
                f"threshold must lie between 0 and 1, got {self.threshold:g}",
                hint="try --threshold 0.5",
            )
        if self.append and self.overwrite:
            raise SpecError("--append and --overwrite exclude each other", hint="leave one out")
        if self.append and self.output == "-":
            raise SpecError("standard output cannot be appended to", hint="leave --append out")


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
        _at_least("boundary_px", self.boundary_px, 1, "try --boundary 3")
        _at_least("least_area_m2", self.least_area_m2, 0, "try --min-area 10")
        if self.plot is not None and not self.probabilities:
            raise SpecError(
                "--plot draws a sweep over thresholds, which needs probabilities",
                hint="--probability p.tif, from geotiler segment --probability p.tif",
            )


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
        _at_least("height", self.height, 1, "try --height 4573")
        _at_least("width", self.width, 1, "try --width 4418")
        if not 0.05 <= self.gsd_m <= 5.0:
            raise SpecError(f"gsd must be 0.05 to 5 metres, got {self.gsd_m:g}", "try --gsd 0.5")


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
        _at_least("limit", self.limit, 1, "try --limit 100")


class ExportTarget(enum.StrEnum):
    """What a model is exported to."""

    ONNX = "onnx"
    MLFLOW = "mlflow"
    STAC = "stac"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSpec:
    """A model for other programs."""

    model: str
    """Name of a shipped model, or a model folder."""
    output: Path
    """What to write: an .onnx file, the folder of an MLflow model, or the .json of a STAC item."""
    target: ExportTarget = ExportTarget.ONNX
    check: tuple[str, ...] = ()
    """Images whose tiles graph and network must answer alike; none: a rendered scene."""
    tolerance: float = 1e-3
    """Largest allowed difference of a probability; a quarter of a step of an 8-bit one."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises: SpecError: a target of another format, or a tolerance that is none."""
        suffix = self.output.suffix.lower()
        # The output is not named: it may be an address, and hold a password.
        if self.target is ExportTarget.ONNX and suffix != ".onnx":
            raise SpecError(
                "the output is no .onnx file",
                hint="try -o model.onnx; --to mlflow writes a folder, --to stac a .json",
            )
        if self.target is ExportTarget.STAC and suffix != ".json":
            raise SpecError("the output is no .json file, as a STAC item is", "try -o item.json")
        if self.target is ExportTarget.STAC and self.check:
            raise SpecError(
                "a STAC item describes files that are there already, nothing is checked on images",
                hint="leave out --check",
            )
        if self.target is ExportTarget.MLFLOW and suffix in (".onnx", ".json"):
            raise SpecError(f"an MLflow model is a folder, got a {suffix}", "try -o mlflow/")
        if not 0 < self.tolerance < 1:
            raise SpecError(
                f"tolerance must lie between 0 and 1, got {self.tolerance:g}",
                hint="try --tolerance 1e-3",
            )


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
        _at_least("width_px", self.width_px, 64, "try --width 1600")
        _at_least("detail_px", self.detail_px, 0, "try --detail 512")
        check_bounds(self.bounds, self.bounds_crs)


class SplitBy(enum.StrEnum):
    """What a split keeps together."""

    BLOCK = "block"
    SCENE = "scene"


SPLITS = ("train", "val", "test")
"""Names of the shares of `TileSpec.split`, in order."""

LARGEST_CLASS = 253
"""255 is "unknown" in masks, and training calls seen but unlabelled pixels 254."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRule:
    """A class of a data set and the attribute values that mean it."""

    id: int
    """1 to 253; 0 is background, 255 is "unknown: leave out"."""
    name: str
    values: tuple[str, ...]
    """Values of the label attribute, compared without regard to case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileSpec:
    """Scenes, and labels if there are any, to one data set of chips."""

    scenes: tuple[str, ...]
    """Paths or GDAL names of rasters."""
    output: Path
    """Folder of the data set."""
    labels: tuple[str, ...] = ()
    """Vector files or rasters of class ids, matched to scenes by name, else by overlap."""
    attribute: str | None = None
    """Attribute of vector labels that tells the class; None: every polygon is class 1."""
    classes: tuple[ClassRule, ...] = ()
    """What values of the attribute mean; empty: each value is a class, in alphabetical order."""
    label_extent: str | None = None
    """Polygons within which labels are complete; outside, masks say 255."""
    tile_px: tuple[int, int] = (512, 512)
    """(height, width) of a chip."""
    overlap_px: int = 64
    """Pixels shared by neighbouring chips of one block."""
    gsd_m: tuple[float, float] | None = None
    """Ground sample distance (x, y) to resample to; None keeps the scene's pixels."""
    scene_gsd_m: tuple[float, float] | None = None
    """Ground sample distance (x, y) of the scenes; None computes it from transform and CRS."""
    bands: tuple[int, ...] | None = None
    """Bands counted from 1; None: all but alpha."""
    min_valid: float = 0.0
    """Least share of valid pixels of a chip; 0 asks for one pixel."""
    empty_ratio: float | None = None
    """Most chips without objects for each chip with some; None keeps all."""
    split: tuple[float, ...] | None = None
    """Shares of train, val and test; None: no split."""
    is_split_asked: bool = True
    """The split was asked for; where it cannot be made, False puts everything into train."""
    split_by: SplitBy = SplitBy.BLOCK
    block_px: int | None = None
    """Side of a block; None: whole chips, as many as leave enough blocks for the split."""
    seed: int = 0
    """Chooses blocks and empty chips."""
    scene_splits: tuple[str, ...] = ()
    """Split of each scene, where lists say it; `split` is not asked then."""
    black_border: bool = False
    """Black bands along the edges of 8-bit scenes are nodata that nobody declared."""
    skip_bad: bool = False
    """Leave out, and count, what would be an error: scenes, features, unreadable rows."""
    overwrite: bool = False
    restart: bool = False
    """Drop what an earlier run has left unfinished instead of going on from there."""

    def __post_init__(self) -> None:
        """Raises: SpecError: a value is out of range, or two contradict each other."""
        if not self.scenes:
            raise SpecError("no scene to tile", hint="geotiler tile scene.tif")
        if self.scene_splits and (
            len(self.scene_splits) != len(self.scenes) or set(self.scene_splits) - set(SPLITS)
        ):
            raise SpecError("scene_splits takes train, val or test for each scene")
        for side in self.tile_px:
            if side < 16:
                raise SpecError(f"tile_px must be at least 16, got {side}", hint="try --tile 512")
        if not 0 <= self.overlap_px < min(self.tile_px):
            raise SpecError(
                f"overlap_px must be in [0, {min(self.tile_px)}), got {self.overlap_px}",
                hint="try --overlap 64",
            )
        for flag, pair in (("--gsd", self.gsd_m), ("--scene-gsd", self.scene_gsd_m)):
            for value in pair or ():
                if not (math.isfinite(value) and value > 0):
                    raise SpecError(
                        f"{flag} takes positive metres per pixel, got {value:g}",
                        hint=f"try {flag} 0.3",
                    )
        check_bands(self.bands)
        if not 0.0 <= self.min_valid <= 1.0:
            raise SpecError(
                f"min_valid must lie in 0 to 1, got {self.min_valid:g}", hint="try --min-valid 0.5"
            )
        _at_least("empty_ratio", self.empty_ratio, 0, "try --empty-ratio 0.5")
        if self.block_px is not None and self.block_px < max(self.tile_px):
            raise SpecError(
                f"block_px must be at least the tile, {max(self.tile_px)}, got {self.block_px}",
                hint="leave --block out to have one chosen",
            )
        _check_split(self.split)
        _check_classes(self.classes)
        self._check_labels()

    def _check_labels(self) -> None:
        if self.labels:
            return
        for flag, value in (
            ("--attribute", self.attribute),
            ("--classes", self.classes or None),
            ("--label-extent", self.label_extent),
            ("--empty-ratio", self.empty_ratio),
        ):
            if value is not None:
                raise SpecError(f"{flag} says something about labels, and there are none",
                                hint="--labels buildings.geojson")  # fmt: skip


def _check_split(split: tuple[float, ...] | None) -> None:
    if split is None:
        return
    good = 2 <= len(split) <= len(SPLITS) and all(math.isfinite(v) and v >= 0 for v in split)
    if not good or abs(sum(split) - 1.0) > 1e-6:
        raise SpecError(
            f"split takes shares of train, val and test that add up to 1, got "
            f"{','.join(f'{value:g}' for value in split)}",
            hint="try --split 0.7,0.15,0.15",
        )


def _check_classes(classes: tuple[ClassRule, ...]) -> None:
    names: dict[str, int] = {}
    ids: dict[int, str] = {}
    for rule in classes:
        if not 0 <= rule.id <= LARGEST_CLASS and rule.id != MASK_NODATA:
            raise SpecError(
                f"class {rule.name!r} has the id {rule.id}, expected 1 to {LARGEST_CLASS}, "
                f"0 (background) or {MASK_NODATA} (unknown)",
                hint="--classes building=1,road=2",
            )
        for value in rule.values:
            if value.casefold() in names:
                raise SpecError(
                    f"class names collide: {value!r} is given twice",
                    hint="--classes takes each name once, in upper or lower case",
                )
            names[value.casefold()] = rule.id
        other = ids.get(rule.id)
        if other is not None:
            raise SpecError(
                f"class names collide: {other!r} and {rule.name!r} have the same id, {rule.id}",
                hint=f"to merge them: --classes '{other}|{rule.name}={rule.id}'",
            )
        ids[rule.id] = rule.name

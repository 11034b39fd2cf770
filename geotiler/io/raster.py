"""Reading rasters: opened once with everything that the rest needs to know, read by windows."""

from __future__ import annotations

import json
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
import rasterio.windows
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.env import set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from geotiler.core.geodesy import ground_gsd_m
from geotiler.core.radiometry import spectral_name
from geotiler.errors import InputError, SpecError
from geotiler.specs import Window

CACHE_BYTES = 32 * 2**20
"""GDAL's block cache; its own default is a share of the machine's memory."""

STRIP_PX = 4_000_000
"""About how many pixels a strip of `Scene.strips` has."""

TALLEST_BLOCK_PX = 2048
"""Taller blocks are not read whole: memory must not grow with a scene that is one block."""

CLASSES_TAG = "GEOTILER_CLASSES"

_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)

_WARNINGS_LOCK = threading.RLock()


@contextmanager
def quiet_about_georeferencing() -> Iterator[None]:
    """Without rasterio's warning of a raster that has no place: the task says it in its own words.

    Photographs and the parts of an output never have one.
    """
    # Filters belong to the whole process: two threads that set and restore them would mix them up.
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _is_local(path: str) -> bool:
    if path.startswith("<"):  # a virtual raster, spelled out
        return False
    return "://" not in path and not path.startswith("/vsi") and ":" not in path[2:]


class Scene:
    """An open raster. Not for sharing between threads: each thread opens its own."""

    def __init__(self, path: str, dataset: rasterio.DatasetReader) -> None:
        """Use `open_scene`."""
        self.path = path
        self._dataset = dataset
        self.height: int = dataset.height
        self.width: int = dataset.width
        self.count: int = dataset.count
        self.dtypes: tuple[str, ...] = dataset.dtypes
        self.transform: Affine = dataset.transform
        self.crs: CRS | None = dataset.crs if dataset.crs else None
        self.nodata: float | None = dataset.nodata
        self.driver: str = dataset.driver
        self.block_shape: tuple[int, int] = dataset.block_shapes[0]
        self.descriptions: tuple[str | None, ...] = dataset.descriptions
        self.offsets: tuple[float, ...] = dataset.offsets
        """Physical value of each band = offset + scale · stored value."""
        self.scales: tuple[float, ...] = dataset.scales
        self.tags: dict[str, str] = dataset.tags()
        self.files: tuple[str, ...] = tuple(dataset.files)
        """Everything it is read from: a virtual raster names its sources."""
        self._flags = dataset.mask_flag_enums
        self._is_alpha = tuple(
            colour == ColorInterp.alpha and (not text or "alpha" in text.lower())
            for colour, text in zip(dataset.colorinterp, self.descriptions, strict=True)
        )
        """GDAL makes the fourth band of eight bits an alpha unasked; a name knows better."""

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def is_georeferenced(self) -> bool:
        """True if pixels have a place in some CRS."""
        return self.crs is not None

    @property
    def gsd_m(self) -> tuple[float, float] | None:
        """Ground sample distance (x, y) at the centre, metres per pixel; None without a CRS."""
        return ground_gsd_m(tuple(self.transform)[:6], self.crs, self.shape)

    @property
    def overviews(self) -> tuple[int, ...]:
        """By how much each overview of the first band is coarser, finest first."""
        return tuple(int(factor) for factor in self._dataset.overviews(1))

    def band_tags(self, band: int) -> dict[str, str]:
        """What is written down about one band."""
        return dict(self._dataset.tags(band))

    @property
    def band_names(self) -> tuple[str | None, ...]:
        """Lower-case name of each band, from its description or its colour; None if it has none."""
        names: list[str | None] = []
        colours = self._dataset.colorinterp
        bands = zip(self.descriptions, colours, self._is_alpha, strict=True)
        for description, colour, is_alpha in bands:
            if is_alpha:
                names.append("alpha")
            elif self.driver == "SENTINEL2" and colour in _COLOURS:
                names.append(colour.name)  # its descriptions are sentences
            elif description:
                names.append(spectral_name(description))
            elif colour in _COLOURS:
                names.append(colour.name)
            else:
                names.append(None)
        return tuple(names)

    @property
    def compression(self) -> str | None:
        """Name of the compression, as deflate or jpeg; None where pixels are stored plainly."""
        name = self._dataset.compression
        return None if name is None else str(name.value).lower()

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in the units of the CRS."""
        return tuple(self._dataset.bounds)

    def has_palette(self, band: int) -> bool:
        """True if a band holds indices into a table of colours."""
        return bool(self._dataset.colorinterp[band - 1] == ColorInterp.palette)

    @property
    def class_names(self) -> dict[int, str]:
        """Names of class ids, from geotiler's tag; empty if there is none."""
        try:
            names = json.loads(self.tags.get(CLASSES_TAG, "{}"))
            return {int(key): str(value) for key, value in names.items()}
        except (ValueError, AttributeError):
            return {}

    @property
    def class_colours(self) -> dict[int, tuple[int, int, int]]:
        """Colours of class ids, from the first band's colour table; empty if there is none."""
        try:
            table = self._dataset.colormap(1)
        except ValueError:  # rasterio's way to say so
            return {}
        return {key: colour[:3] for key, colour in table.items() if colour[3] and any(colour[:3])}

    def check_bands(self, bands: Sequence[int]) -> None:
        """Raises: SpecError: a band is not in the file."""
        for band in bands:
            if not 1 <= band <= self.count:
                raise SpecError(
                    f"band {band} is not in {self.path}, which has {self.count}",
                    hint=f"--bands takes 1 to {self.count}",
                )

    def read(self, window: Window, bands: Sequence[int] | None = None) -> NDArray[Any]:
        """Stored values (band, row, col) of a window inside the scene.

        Raises:
            InputError: the file is truncated or damaged there.
        """
        try:
            values: NDArray[Any] = self._dataset.read(
                list(bands) if bands is not None else None, window=_rasterio_window(window)
            )
        except (RasterioError, OSError) as error:
            raise self._damaged(window, error) from error
        return values

    def read_with_valid(
        self, window: Window, bands: Sequence[int] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Stored values (band, row, col) and valid mask (row, col) of a window.

        A pixel is valid when every chosen band is finite, differs from its nodata value, and is
        not masked by an internal mask or an alpha of 0.

        Raises:
            InputError: the file is truncated or damaged there.
        """
        chosen = list(bands) if bands is not None else list(range(1, self.count + 1))
        values = self.read(window, chosen)
        return values, self._valid(window, chosen, values)

    def valid_mask(self, window: Window, bands: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """Valid mask (row, col) of a window, True = valid; see `read_with_valid`."""
        return self.read_with_valid(window, bands)[1]

    def coarse(self, bands: Sequence[int], side_px: int) -> NDArray[Any]:
        """Stored values (band, row, col) of the whole scene at no more than `side_px` per side.

        Nearest pixels, of overviews where there are any; otherwise the whole file is read.

        Raises:
            InputError: the file is truncated or damaged.
        """
        shape = tuple(min(length, side_px) for length in self.shape)
        try:
            values: NDArray[Any] = self._dataset.read(list(bands), out_shape=(len(bands), *shape))
        except (RasterioError, OSError) as error:
            whole = Window(row=0, col=0, height=self.height, width=self.width)
            raise self._damaged(whole, error) from error
        return values

    def coarse_valid(self, bands: Sequence[int], side_px: int = 1024) -> NDArray[np.bool_]:
        """Valid mask of the whole scene at no more than `side_px` per side, for estimates.

        Read from overviews where there are any. Values that are not finite are not looked at.

        Raises:
            InputError: the file is truncated or damaged.
        """
        shape = tuple(min(length, side_px) for length in self.shape)
        try:
            masks = self._dataset.read_masks(list(bands), out_shape=(len(bands), *shape))
        except (RasterioError, OSError) as error:
            whole = Window(row=0, col=0, height=self.height, width=self.width)
            raise self._damaged(whole, error) from error
        return np.asarray((masks > 0).all(axis=0))

    def sampled_valid(self, bands: Sequence[int], side: int = 8) -> float:
        """Share of valid pixels in a lattice of `side` × `side` blocks of 64 px.

        For scenes without overviews, where a coarse view would read every pixel.

        Raises:
            InputError: the file is truncated or damaged there.
        """
        height, width = min(64, self.height), min(64, self.width)
        found = [
            self.valid_mask(
                Window(row=int(row), col=int(col), height=height, width=width), bands
            ).mean()
            for row in np.linspace(0, self.height - height, side)
            for col in np.linspace(0, self.width - width, side)
        ]
        return float(np.mean(found))

    def _valid(
        self, window: Window, bands: Sequence[int], values: NDArray[Any]
    ) -> NDArray[np.bool_]:
        valid = np.ones(window.shape, bool)
        shared: int | None = None
        has_alpha = any(self._is_alpha)
        for band, plane in zip(bands, values, strict=True):
            flags = self._flags[band - 1]
            nodata = self._dataset.nodatavals[band - 1]
            if np.issubdtype(plane.dtype, np.floating):
                valid &= np.isfinite(plane)
            if nodata is not None and not math.isnan(nodata):
                valid &= plane != nodata
            if MaskFlags.per_dataset in flags and (MaskFlags.alpha not in flags or has_alpha):
                shared = band
            elif not flags:  # a mask of this band's own
                valid &= self._stored_mask(window, band)
        if shared is not None:
            valid &= self._stored_mask(window, shared)
        elif has_alpha:  # GDAL forgets alpha where there is a nodata value
            valid &= self.read(window, [self._is_alpha.index(True) + 1])[0] > 0
        return valid

    def _stored_mask(self, window: Window, band: int) -> NDArray[np.bool_]:
        try:
            mask = self._dataset.read_masks(band, window=_rasterio_window(window))
        except (RasterioError, OSError) as error:
            raise self._damaged(window, error) from error
        stored: NDArray[np.bool_] = mask > 0
        return stored

    def _damaged(self, window: Window, error: Exception) -> InputError:
        reason = " ".join(str(error.__cause__ or error).split())[:160]
        return InputError(
            f"{self.path} cannot be read at rows {window.row} to {window.row_stop}: {reason}",
            hint="the file may be truncated or damaged",
        )

    def strips(self, height_px: int | None = None) -> Iterator[Window]:
        """Full-width windows from top to bottom, of whole block rows, about 4 Mpx each."""
        step = height_px or self.strip_rows(self.width)
        for row in range(0, self.height, step):
            height = min(step, self.height - row)
            yield Window(row=row, col=0, height=height, width=self.width)

    def strip_rows(self, width_px: int) -> int:
        """Rows of a strip of that width: whole block rows, about 4 Mpx."""
        return self.block_rows(STRIP_PX // max(1, width_px))

    def block_rows(self, about_px: int) -> int:
        """About that many rows: whole block rows, at least one unless blocks are very tall."""
        block = min(self.block_shape[0], self.height)
        if block > TALLEST_BLOCK_PX:
            return max(1, about_px)
        return block * max(1, about_px // block)


class SceneReader:
    """Reads windows of one scene from any thread; each thread holds its own handle."""

    def __init__(
        self,
        path: str,
        bands: Sequence[int],
        *,
        name: str | None = None,
        overview: int | None = None,
        drivers: Sequence[str] | None = None,
    ) -> None:
        """Args: path and the rest: as `open_scene`. bands: what to read, counted from 1."""
        self._path = path
        self._name = name
        self._overview = overview
        self._drivers = drivers
        self._bands = tuple(bands)
        self._local = threading.local()
        self._opened: list[Scene] = []

    def __call__(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (band, row, col) and valid mask (row, col); see `Scene.read_with_valid`."""
        scene: Scene | None = getattr(self._local, "scene", None)
        if scene is None:
            scene = open_scene(
                self._path, name=self._name, overview=self._overview, drivers=self._drivers
            )
            self._local.scene = scene
            self._opened.append(scene)
        return scene.read_with_valid(window, self._bands)

    def close(self) -> None:
        """Close every handle; the threads that read must have ended."""
        while self._opened:
            self._opened.pop().close()


def _rasterio_window(window: Window) -> rasterio.windows.Window:
    return rasterio.windows.Window(window.col, window.row, window.width, window.height)


def opened_by(path: str, drivers: Sequence[str] | None, **options: Any) -> rasterio.DatasetReader:
    """A dataset opened by the first of some GDAL drivers that knows it; None: by any.

    Raises:
        RasterioIOError: none of them can open it; what is told is why the one that knows it cannot.
    """
    if drivers is None:
        return rasterio.open(path, **options)
    failures: list[RasterioIOError] = []
    for driver in drivers:
        try:
            return rasterio.open(path, driver=driver, **options)
        except RasterioIOError as error:
            # Without its traceback, which would hold this frame, and everything it is called for.
            failures.append(error.with_traceback(None))
    raise next((e for e in failures if "not recognized" not in str(e)), failures[0])


def open_scene(
    path: str,
    *,
    name: str | None = None,
    overview: int | None = None,
    drivers: Sequence[str] | None = None,
) -> Scene:
    """A raster that GDAL can open, by path or GDAL name.

    Args:
        path: path, GDAL name, or the XML of a virtual raster.
        name: what messages call it; None: the path.
        overview: open this overview, counted from 0, in place of the full resolution.
        drivers: GDAL drivers that may open it; None: all. Files of strangers should not be given
            to drivers that follow references to other files, as VRT does.

    Raises:
        InputError: it is missing, not a raster, damaged, or a container whose rasters have names
            of their own; these are listed.
    """
    path = str(path)
    name = name or path
    options = {} if overview is None else {"OVERVIEW_LEVEL": overview}
    try:
        if _is_local(path) and not Path(path).exists():
            raise InputError(f"no such file: {path}")
        if _is_local(path) and Path(path).is_dir() and not list(Path(path).iterdir()):
            raise InputError(f"{path} is an empty folder, expected a raster")
    except OSError as error:  # a name too long, a folder that may not be entered
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path[:80]} cannot be opened: {error.strerror}") from error
    try:
        with quiet_about_georeferencing():
            dataset = opened_by(path, drivers, **options)
        set_gdal_config("GDAL_CACHEMAX", CACHE_BYTES)  # in bytes; of the whole process
    except (RasterioIOError, RasterioError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{name} cannot be opened as a raster: {reason}",
            hint="expected a file that GDAL reads with one of its drivers: "
            + (
                "GTiff, JP2OpenJPEG, VRT, PNG, JPEG, ..." if drivers is None else ", ".join(drivers)
            ),
        ) from error
    if dataset.count == 0 or not dataset.dtypes:
        names = dataset.subdatasets
        dataset.close()
        listing = "; ".join(names[:12]) or "none"
        raise InputError(
            f"{name} is a container without bands of its own; its rasters: {listing}",
            hint="name one of them as the scene",
        )
    if dataset.transform.determinant == 0:
        dataset.close()
        raise InputError(f"{name} has pixels without extent: its geotransform is degenerate")
    if any(dtype.startswith("complex") for dtype in dataset.dtypes):
        dataset.close()
        raise InputError(f"{name} holds complex numbers ({dataset.dtypes[0]}), expected real ones")
    try:
        return Scene(name, dataset)
    except (CPLE_BaseError, RasterioError) as error:  # its header points beyond its end
        dataset.close()
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{name} cannot be read: {reason}", hint="the file may be truncated or damaged"
        ) from error

"""Reading rasters: opened once with everything that the rest needs to know, read by windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import rasterio
import rasterio.windows
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags

from geotiler.core.geodesy import ground_gsd_m
from geotiler.core.radiometry import spectral_name
from geotiler.errors import InputError, SpecError
from geotiler.io.cache import bounded_cache
from geotiler.io.opening import (
    REFUSALS,
    check_kind,
    check_there,
    check_whole,
    opened_by,
    quiet_about_georeferencing,
    refused,
)
from geotiler.io.remote import check_sources, gdal_name, is_remote, patient, redacted, shown
from geotiler.io.scene_tags import grain_px, stated_gsd_m, told_classes, told_settings
from geotiler.specs import Window

STRIP_PX = 4_000_000
"""About how many pixels a strip of `Scene.strips` has."""

TALLEST_BLOCK_PX = 2048
"""Taller blocks are not read whole: memory must not grow with a scene that is one block."""

_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


class Scene:
    """An open raster. Not for sharing between threads: each thread opens its own."""

    def __init__(self, path: str, dataset: rasterio.DatasetReader, name: str | None = None) -> None:
        """Use `open_scene`."""
        self._source = path
        self.path = name or shown(path)
        """For messages: without what is secret in an address."""
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
        self._remote = is_remote(path) or any(is_remote(name) for name in self.files)
        self._flags = dataset.mask_flag_enums
        self._nodatas = dataset.nodatavals
        self._colours = dataset.colorinterp
        self._has_overviews = bool(dataset.overviews(1))
        self._is_alpha = tuple(
            colour == ColorInterp.alpha and (not text or "alpha" in text.lower())
            for colour, text in zip(self._colours, self.descriptions, strict=True)
        )
        """GDAL makes the fourth band of eight bits an alpha unasked; a name knows better."""
        self._cache = ExitStack()
        self._cache.enter_context(bounded_cache())

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()
        self._cache.close()

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

    def transform_of(self, window: Window) -> Affine:
        """Pixels of a window to coordinates."""
        return self.transform @ Affine.translation(window.col, window.row)

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
        bands = zip(self.descriptions, self._colours, self._is_alpha, strict=True)
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
    def colours(self) -> tuple[str, ...]:
        """What GDAL takes each band for: red, green, blue, alpha, gray, undefined, ..."""
        return tuple(colour.name for colour in self._colours)

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
        return bool(self._colours[band - 1] == ColorInterp.palette)

    @property
    def class_names(self) -> dict[int, str]:
        """Names of class ids, from geotiler's tag; empty if there is none."""
        return told_classes(self.tags)

    @property
    def class_colours(self) -> dict[int, tuple[int, int, int]]:
        """Colours of class ids, from the first band's colour table; empty if there is none."""
        try:
            table = self._dataset.colormap(1)
        except ValueError:  # rasterio's way to say so
            return {}
        return {key: colour[:3] for key, colour in table.items() if colour[3] and any(colour[:3])}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that geotiler made the raster with; empty if it did not."""
        return told_settings(self.tags)

    @property
    def stated_gsd_m(self) -> tuple[float, float] | None:
        """Ground sample distance (x, y) that was stated when geotiler made the raster.

        A single number in the tag is the model's own, taken for want of a better one.
        """
        return stated_gsd_m(self.settings)

    @property
    def grain_px(self) -> float:
        """Side of a pixel of the network that geotiler made the raster with, at least 1.

        Where that was trained at coarser pixels than the scene's, nothing finer is in the raster.
        """
        return grain_px(self.settings, self.shape)

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
            with patient(self._remote):
                values: NDArray[Any] = self._dataset.read(
                    list(bands) if bands is not None else None, window=_rasterio_window(window)
                )
        except REFUSALS as error:
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
            with patient(self._remote):
                values: NDArray[Any] = self._dataset.read(
                    list(bands), out_shape=(len(bands), *shape)
                )
        except REFUSALS as error:
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
            with patient(self._remote):
                masks = self._dataset.read_masks(list(bands), out_shape=(len(bands), *shape))
        except REFUSALS as error:
            whole = Window(row=0, col=0, height=self.height, width=self.width)
            raise self._damaged(whole, error) from error
        return np.asarray((masks > 0).all(axis=0))

    @property
    def is_cheap_to_overlook(self) -> bool:
        """True if `coarse_valid` reads little: the scene is small, or has overviews."""
        return self._has_overviews or self.height * self.width <= STRIP_PX

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
            nodata = self._nodatas[band - 1]
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
            with patient(self._remote):
                mask = self._dataset.read_masks(band, window=_rasterio_window(window))
        except REFUSALS as error:
            raise self._damaged(window, error) from error
        stored: NDArray[np.bool_] = mask > 0
        return stored

    def _damaged(self, window: Window, error: Exception) -> InputError:
        reason = redacted(" ".join(str(error.__cause__ or error).split()), self._source)[:160]
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


def _rasterio_window(window: Window) -> rasterio.windows.Window:
    return rasterio.windows.Window(window.col, window.row, window.width, window.height)


def open_scene(
    path: str,
    *,
    name: str | None = None,
    overview: int | None = None,
    drivers: Sequence[str] | None = None,
    allow_remote: bool = False,
) -> Scene:
    """A raster that GDAL can open, by path, address or GDAL name.

    Args:
        path: file, https://, s3://, gs:// or az:// address, /vsi path, driver:name, or the XML of
            a virtual raster.
        name: what messages call it; None: the path.
        overview: open this overview, counted from 0, in place of the full resolution.
        drivers: GDAL drivers that may open it; None: all. Files of strangers should not be given
            to drivers that follow references to other files, as VRT does.
        allow_remote: a local virtual raster may be read from other machines.

    Raises:
        InputError: it is missing, not a raster, damaged, or a container whose rasters have names
            of their own; these are listed. Or a virtual raster that points to other machines.
    """
    path = str(path)
    name = name or shown(path)
    check_there(path, name)
    if drivers is None and not allow_remote:
        check_sources(path)
    options = {} if overview is None else {"OVERVIEW_LEVEL": overview}
    dataset = None
    try:
        with patient(is_remote(path) or allow_remote), quiet_about_georeferencing():
            dataset = opened_by(gdal_name(path), drivers, **options)
            check_kind(name, dataset)
            check_whole(name, path, dataset.driver)
            return Scene(path, dataset, name)
    except REFUSALS as error:
        if dataset is not None:
            dataset.close()
        if isinstance(error, InputError):
            raise
        raise refused(name, path, error, drivers) from error

"""Datasets of GDAL: which drivers may open them, and which of them are no scenes."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError  # which reading lets through as it is
from rasterio.drivers import raster_driver_extensions
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from geotiler.errors import InputError
from geotiler.io.remote import redacted
from geotiler.io.vector_formats import DRIVERS

REFUSALS = (CPLE_BaseError, RasterioError, OSError, ValueError, OverflowError)
"""What opening and reading raise for files that are damaged, or that lie."""

_LISTS = (".txt", ".lst")

_WARNINGS_LOCK = threading.RLock()

_MOST_CHUNKS = 1_000_000
"""Of a PNG that are looked at: 8 GB as most programs cut them, or seconds where they are empty."""


@contextmanager
def quiet_about_georeferencing() -> Iterator[None]:
    """Without rasterio's warning of a raster that has no place: the task says it in its own words.

    Photographs and the parts of an output never have one.
    """
    # Filters belong to the whole process: two threads that set and restore them would mix them up.
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def check_there(path: str, name: str) -> None:
    """Raises: InputError: a local file that is not there, or that may not be looked at."""
    try:
        if _is_local(path) and not Path(path).exists():
            raise InputError(f"no such file: {name}")
        if _is_local(path) and Path(path).is_dir() and not list(Path(path).iterdir()):
            raise InputError(f"{name} is an empty folder, expected a raster")
    except (OSError, ValueError) as error:  # a name too long, a folder that may not be entered
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name[:80]} cannot be opened: {reason}") from error


def _is_local(path: str) -> bool:
    return (
        not path.lstrip().startswith("<")
        and "://" not in path
        and not path.startswith("/vsi")
        and ":" not in path[2:]
    )


def opened_by(path: str, drivers: Sequence[str] | None, **options: Any) -> rasterio.DatasetReader:
    """A dataset opened by the first of some GDAL drivers that knows it; None: by any.

    Raises:
        RasterioIOError: none of them can open it; what is told is why the one that knows it cannot.
    """
    if drivers is None:
        return rasterio.open(path, **options)
    failures: list[RasterioIOError] = []
    likely = _suffixes().get(Path(path).suffix.lower().removeprefix("."))
    for driver in sorted(drivers, key=lambda driver: driver != likely):
        try:
            return rasterio.open(path, driver=driver, **options)
        except RasterioIOError as error:
            # Without its traceback, which would hold this frame, and everything it is called for.
            failures.append(error.with_traceback(None))
    raise next((e for e in failures if "not recognized" not in str(e)), failures[0])


@cache
def _suffixes() -> dict[str, str]:
    """Suffix of a file → the driver that writes such, and is the first to be asked."""
    return dict(raster_driver_extensions())


def check_kind(name: str, dataset: rasterio.DatasetReader) -> None:
    """Raises: InputError: a raster without bands, without extent, or of complex numbers."""
    if dataset.count == 0 or not dataset.dtypes:
        names = dataset.subdatasets
        listing = "; ".join(names[:12]) or "none"
        raise InputError(
            f"{name} is a container without bands of its own; its rasters: {listing}",
            hint="name one of them as the scene",
        )
    if dataset.transform.determinant == 0:
        raise InputError(f"{name} has pixels without extent: its geotransform is degenerate")
    if any(dtype.startswith("complex") for dtype in dataset.dtypes):
        raise InputError(f"{name} holds complex numbers ({dataset.dtypes[0]}), expected real ones")


def check_whole(name: str, path: str, driver: str) -> None:
    """Raises: InputError: a PNG file that breaks off: GDAL answers zeros, and no error, there."""
    if driver != "PNG" or not _is_local(path):
        return
    with Path(path).open("rb", buffering=0) as file:  # eight bytes of each chunk are all
        size = file.seek(0, os.SEEK_END)
        end = file.seek(8)
        for _ in range(_MOST_CHUNKS):  # length, kind, content and check sum of each
            head = file.read(8)
            end = file.seek(end + 12 + int.from_bytes(head[:4], "big"))
            if len(head) < 8 or end > size:
                raise InputError(f"{name} is a PNG that breaks off after {size:,} bytes")
            if head[4:] == b"IEND":
                return


def refused(name: str, path: str, error: Exception, drivers: Sequence[str] | None) -> InputError:
    """Why a file is no raster, in words.

    Args:
        name: what messages call it.
        path: what GDAL was given.
        error: what it answered.
        drivers: that may have opened it; None: all.
    """
    if Path(name).suffix.lower() in DRIVERS:
        return InputError(
            f"{name} is a vector file, expected a raster",
            hint="polygons go to preview, evaluate, --truth, --aoi or --labels",
        )
    if Path(name).suffix.lower() in _LISTS:
        return InputError(
            f"{name} is no raster but a text, a list of scenes perhaps",
            hint=f"geotiler segment --scenes {name} reads one",
        )
    if Path(path).is_dir():
        return InputError(
            f"{name} is a folder, expected a raster",
            hint=f"name its files, as '{Path(name) / '*.tif'}'",
        )
    reason = redacted(" ".join(str(error).split()), path).replace(f"'{name}' ", "")[:160]
    if "Range downloading not supported" in reason:
        return InputError(
            f"{name} cannot be read in parts: its server sends whole files only",
            hint="download it, and name the file",
        )
    known = "GTiff, JP2OpenJPEG, VRT, PNG, JPEG, ..." if drivers is None else ", ".join(drivers)
    return InputError(
        f"{name} cannot be opened as a raster: {reason}",
        hint=f"expected a file that GDAL reads with one of its drivers: {known}",
    )

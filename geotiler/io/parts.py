"""Finished strips on disk, and the one file they become.

Strips go to `<output>.parts/` as they are finished, each under its name only when it is on the
disk. At the end a virtual mosaic over them is copied into the target's format under a temporary
name, and one rename makes it visible: the target is absent or whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # which copying lets through as it is
from rasterio.errors import RasterioError

from geotiler.errors import InputError, OutputError
from geotiler.io.cache import bounded_cache
from geotiler.io.journal import JOURNAL
from geotiler.io.opening import quiet_about_georeferencing
from geotiler.io.outputs import replacing
from geotiler.io.part_layout import (
    Part,
    RasterLayout,
    in_memory,
    mosaic_text,
    raster_driver,
    style_text,
)
from geotiler.io.raster import open_scene
from geotiler.io.scene_tags import SETTINGS_TAG, told_settings
from geotiler.io.styles import save_style
from geotiler.io.work_folder import WorkFolder

_MOSAIC = "mosaic.vrt"
_OWN_NAMES = re.compile(
    rf"(r\d+-c\d+\.tif|a\d+\.npz)(\..*)?|{re.escape(JOURNAL)}(\.new)?|{re.escape(_MOSAIC)}"
)
_DIGEST_BYTES = 2**20
_CHECK_PX = 4_000_000
_RowsOf = Callable[[tuple[int, int]], NDArray[np.generic]]
"""Rows [first, last) → their values (band, row, col)."""
_SOMEWHERE = Affine(1, 0, 1, 0, -1, 1)
"""A place that says nothing, so that nobody warns of a part without one."""


def parts_folder(output: Path) -> Path:
    """Where the parts of an output lie while it is unfinished."""
    return output.with_name(f"{output.name}.parts")


def hold_parts(output: Path) -> WorkFolder:
    """The folder of an output's parts, made if need be, for this process alone.

    Raises:
        OutputError: another run holds it, it cannot be made, or it holds something else.
    """
    work = WorkFolder(parts_folder(output), output)
    for entry in work.entries():
        if not _OWN_NAMES.fullmatch(entry.name):
            work.leave()
            raise OutputError(
                f"folder {work.path} is needed for unfinished work, but holds {entry.name}",
                hint="move it away, or choose another -o",
            )
    return work


def _agree(found: Mapping[str, str], layout: RasterLayout) -> bool:
    """Whether a raster's tags say what a layout's do, but for settings that it may lack."""
    for key, text in layout.tags.items():
        if key == SETTINGS_TAG:
            there, wanted = told_settings(found), told_settings(layout.tags)
            told = {k: v for k, v in wanted.items() if k in there or k not in layout.untold}
            if there != told:
                return False
        elif found.get(key) != text:
            return False
    return True


class Parts:
    """The strips of one raster on their way to becoming it. May be sent to another process."""

    def __init__(self, output: Path, layout: RasterLayout) -> None:
        """Args: output: the target, which the folder is named after. layout: what it will be."""
        self.output = output
        self.folder = parts_folder(output)
        self._layout = layout

    def write(self, row: int, col: int, values: NDArray[np.generic]) -> Part:
        """The stored part of a finished rectangle (band, row, col) whose first pixel is (row, col).

        Raises:
            OutputError: the disk refuses.
        """
        bands, height, width = values.shape
        name = Part(row=row, col=col, height=height, width=width, bytes=0, sha256="").name
        # Two processes may compute the same part; each writes a file of its own.
        temporary = self.folder / f"{name}.{uuid.uuid4().hex[:8]}"
        try:
            with rasterio.Env(), rasterio.open(
                temporary, "w", driver="GTiff", count=bands, height=height, width=width,
                dtype=self._layout.dtype, nodata=self._layout.nodata, compress="deflate", zlevel=1,
                transform=_SOMEWHERE,
                # Narrow blocks: the finished file's blocks are read from few of them.
                bigtiff="if_safer", tiled=True, blockxsize=512, blockysize=64,
            ) as part:  # fmt: skip
                part.write(values)
            _check_stored(temporary, lambda rows: values[:, slice(*rows)])
            size, digest = on_the_disk(temporary)
            temporary.replace(self.folder / name)
        except (CPLE_BaseError, RasterioError, OSError) as error:
            temporary.unlink(missing_ok=True)
            reason = " ".join(str(error.__cause__ or error).split())[:160]
            raise OutputError(
                f"{self.folder / name} cannot be written: {reason}",
                hint="make room and run the same command again",
            ) from error
        return Part(row=row, col=col, height=height, width=width, bytes=size, sha256=digest)

    def holds(self, part: Part) -> bool:
        """Whether a part's file is there as it was written."""
        return is_stored(self.folder / part.name, part.bytes, part.sha256)

    def kept(self, parts: Sequence[Part]) -> set[Part]:
        """Those of some parts whose files are there as they were written."""
        return {part for part in parts if self.holds(part)}

    def is_there(self) -> bool:
        """Whether the target is there, of whatever making."""
        return self.output.exists()

    def read(self, part: Part) -> NDArray[Any]:
        """The values (band, row, col) of a stored part.

        Raises:
            OutputError: it is not there any more, or damaged.
        """
        path = self.folder / part.name
        try:
            with _opened(path) as stored:
                values: NDArray[Any] = stored.read()
        except (CPLE_BaseError, RasterioError, OSError) as error:
            raise OutputError(f"{path} cannot be read: {error}", hint="--restart") from error
        return values

    def is_finished(self) -> bool:
        """Whether the target is there already, as these parts would make it but for its pixels."""
        try:
            with open_scene(str(self.output)) as found:
                return (
                    found.shape == self._layout.shape
                    and found.count == len(self._layout.bands)
                    and set(found.dtypes) == {self._layout.dtype}
                    and found.crs == self._layout.crs
                    and found.transform.almost_equals(self._layout.transform)
                    and _agree(found.tags, self._layout)
                )
        except InputError:
            return False

    def _check_placed(self, placed: Sequence[Part]) -> None:
        """Raises: OutputError: a part is not as it was written."""
        height, width = self._layout.shape
        if sum(part.height * part.width for part in placed) != height * width:
            raise ValueError(f"the parts do not cover {self.output}")
        for part in placed:
            if not self.holds(part):  # perhaps by a worker of an earlier run that was not told
                raise OutputError(
                    f"{self.folder / part.name} was changed since it was written",
                    hint="nothing else may write there; run the same command again",
                )

    def assemble(
        self,
        placed: Sequence[Part],
        overwrite: bool,
        ready: Callable[[Path], None] | None = None,
    ) -> None:
        """Turn the parts into the target.

        Args:
            placed: the parts, which cover the raster and share no pixel.
            overwrite: an existing target may be replaced.
            ready: is given the finished file, under another name, before the target appears.

        Raises:
            OutputError: the disk refuses, or the target appeared meanwhile.
        """
        self._check_placed(placed)
        options = _FORMATS[raster_driver(self.output)](self._layout)
        try:
            with (
                rasterio.Env(COG_TMP_COMPRESSION="DEFLATE"),  # of overviews, until they are copied
                bounded_cache(),
                self._mosaic(placed) as (mosaic, wanted),
                replacing(self.output, overwrite) as temporary,
            ):
                rasterio.shutil.copy(mosaic, temporary, strict=False, **options)
                _check_stored(temporary, wanted)
                save_style(style_text(self._layout), "raster", self.output, temporary)
                if ready is not None:
                    ready(temporary)
        except (CPLE_BaseError, RasterioError, OSError) as error:
            if isinstance(error, OutputError):
                raise
            reason = " ".join(str(error).split())[:160]
            raise OutputError(
                f"output {self.output} cannot be written: {reason}",
                hint="make room and run the same command again",
            ) from error

    @contextmanager
    def _mosaic(self, placed: Sequence[Part]) -> Iterator[tuple[Any, _RowsOf]]:
        """What is copied into the target, a path or a raster that is open, and what reads its rows,
        while the block lasts.
        """
        mosaic = self.folder / _MOSAIC
        mosaic.write_text(mosaic_text(self._layout, placed), encoding="utf-8")
        with _opened(mosaic) as whole:
            yield mosaic, lambda rows: whole.read(window=_across(whole, rows))


class PartsInMemory(Parts):
    """The strips of one raster that is made so quickly that no run would go on from them.

    They are lost with the process. The journal and the hold lie where those of `Parts` do.
    """

    def __init__(self, output: Path, layout: RasterLayout) -> None:
        """As `Parts`."""
        super().__init__(output, layout)
        self._values: dict[Part, NDArray[np.generic]] = {}

    def write(self, row: int, col: int, values: NDArray[np.generic]) -> Part:
        """As `Parts.write`, but for the disk."""
        _, height, width = values.shape
        part = Part(row=row, col=col, height=height, width=width, bytes=0, sha256="")
        self._values[part] = values.copy()
        return part

    def holds(self, part: Part) -> bool:
        """Whether it was written, here."""
        return part in self._values

    @contextmanager
    def _mosaic(self, placed: Sequence[Part]) -> Iterator[tuple[Any, _RowsOf]]:
        top, left = self._layout.origin
        whole = np.zeros((len(self._layout.bands), *self._layout.shape), self._layout.dtype)
        for part in placed:
            row, col = part.row - top, part.col - left
            whole[:, row : row + part.height, col : col + part.width] = self._values[part]
        with in_memory(self._layout, whole) as raster:
            yield raster, lambda rows: whole[:, slice(*rows)]


def _cog(layout: RasterLayout) -> dict[str, str]:
    """How a Cloud-Optimized GeoTIFF is written."""
    return {
        "driver": "COG",
        "COMPRESS": "DEFLATE", "LEVEL": "6", "BLOCKSIZE": "512", "BIGTIFF": "IF_SAFER",
        "OVERVIEW_RESAMPLING": "MODE" if layout.categorical else "AVERAGE",
        "NUM_THREADS": "ALL_CPUS",
        "PREDICTOR": "YES" if layout.dtype == "float32" else "NO",
    }  # fmt: skip


def _png(_: RasterLayout) -> dict[str, str]:
    """How a PNG is written: masks are small anyway, and level 6 takes twice the time of level 3."""
    return {"driver": "PNG", "ZLEVEL": "3"}


_FORMATS = {"COG": _cog, "PNG": _png}


def _check_stored(path: Path, wanted: _RowsOf) -> None:
    """Raises: an error of reading, or OSError: a raster does not hold the wanted rows.

    On a full disk GDAL may tell of nothing, neither when writing nor when closing, and leave a
    file that is too short.
    """
    with _opened(path) as stored:
        levels = len(stored.overviews(1))
        step = max(1, _CHECK_PX // stored.width)
        for row in range(0, stored.height, step):
            rows = row, min(row + step, stored.height)
            found = stored.read(window=_across(stored, rows))
            if not np.array_equal(found, wanted(rows), equal_nan=found.dtype.kind == "f"):
                raise OSError(errno.EIO, "the disk has not kept what was written")
    for level in range(levels):
        with _opened(path, overview_level=level) as smaller:
            for row in range(0, smaller.height, step):
                smaller.read(window=_across(smaller, (row, min(row + step, smaller.height))))


def _opened(path: Path | str, **options: int) -> Any:
    """A raster, with a place or without; filters of warnings are held for this moment only."""
    with quiet_about_georeferencing():
        return rasterio.open(path, **options)


def _across(raster: Any, rows: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The window of some rows [first, last) of a raster, all columns."""
    return rows, (0, raster.width)


def is_stored(path: Path, size_bytes: int, digest: str) -> bool:
    """Whether a file is there and has that size and SHA-256."""
    try:
        if path.stat().st_size != size_bytes:
            return False
        with path.open("rb") as file:
            return _sha256(file) == digest
    except OSError:
        return False


def told_files(files: Mapping[str, Path]) -> dict[str, list[Any]]:
    """Size and SHA-256 of some files, once they are on the disk, as JSON values."""
    return {name: list(on_the_disk(path)) for name, path in files.items()}


def are_stored(told: Any, files: Callable[[str], Path | None]) -> bool:
    """Whether all files of `told_files` are there unchanged, under what may be other names.

    Args:
        told: anything, as a journal gives it back.
        files: name → where that file is now; None: it has no place.
    """
    if not isinstance(told, dict) or not told:
        return False
    for name, each in told.items():
        path = files(name)
        if path is None or not isinstance(each, list) or len(each) != 2:
            return False
        if not is_stored(path, each[0], each[1]):
            return False
    return True


def on_the_disk(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file, once it is no longer only in memory."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        digest = _sha256(file)
        return file.tell(), digest


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(_DIGEST_BYTES):
        digest.update(block)
    return digest.hexdigest()

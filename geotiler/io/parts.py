"""Finished strips on disk, and the one file they become.

Strips go to `<output>.parts/` as they are finished. At the end a virtual mosaic over them is copied
into the target's format under a temporary name, and one rename makes it visible: the target is
absent or whole.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # which copying lets through as it is
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from geotiler.core.qgis_style import StyledClass, ramp_qml, raster_qml
from geotiler.errors import OutputError
from geotiler.io.outputs import replacing
from geotiler.io.raster import CLASSES_TAG, quiet_about_georeferencing
from geotiler.io.styles import save_style

_GDAL_TYPES = {"uint8": "Byte", "float32": "Float32"}
_PART_NAME = re.compile(r"r\d+-c\d+\.tif")
_OWN_FILES = {"journal.json", "journal.json.new", "mosaic.vrt"}
_DRIVERS = {".tif": "COG", ".tiff": "COG", ".png": "PNG"}


@dataclass(frozen=True, kw_only=True)
class RasterLayout:
    """What the finished raster is, apart from its pixels."""

    shape: tuple[int, int]
    """(height, width)."""
    dtype: str
    """uint8 or float32."""
    nodata: float
    transform: Affine
    crs: CRS | None = None
    bands: tuple[str, ...] = ("",)
    """Description of each band."""
    scale: float | None = None
    """Multiply stored values by this."""
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    """Colour table of a one-band uint8 raster."""
    tags: Mapping[str, str] = field(default_factory=dict)
    categorical: bool = True
    """Overviews take the most frequent value, not the mean."""


def raster_driver(path: Path) -> str:
    """GDAL driver of a target by its suffix.

    Raises:
        OutputError: no such format.
    """
    driver = _DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise OutputError(
            f"output {path} has no raster format that geotiler writes",
            hint="name it .tif (Cloud-Optimized GeoTIFF) or .png",
        )
    return driver


class Parts:
    """The strips of one raster on their way to becoming it."""

    def __init__(self, output: Path, layout: RasterLayout) -> None:
        """Args: output: the target, which the folder is named after. layout: what it will be.

        Raises:
            OutputError: the folder cannot be made, or there is one that holds something else.
        """
        self.folder = output.with_name(output.name + ".parts")
        self._output = output
        self._layout = layout
        self._placed: list[tuple[str, int, int, int, int]] = []
        try:
            if self.folder.is_dir():
                self._check_ours()
                shutil.rmtree(self.folder)
            self.folder.mkdir()
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{self.folder} cannot be made: {error.strerror}") from error

    def _check_ours(self) -> None:
        """Raises: OutputError: the folder holds what no run of geotiler has left there."""
        for entry in sorted(self.folder.iterdir()):
            if entry.name not in _OWN_FILES and not _PART_NAME.fullmatch(entry.name):
                raise OutputError(
                    f"folder {self.folder} is needed for unfinished work, but holds {entry.name}",
                    hint="move it away, or choose another -o",
                )

    def write(self, row: int, col: int, values: NDArray[np.generic]) -> None:
        """Store a finished rectangle (band, row, col) whose first pixel is at (row, col).

        Raises:
            OutputError: the disk refuses.
        """
        bands, height, width = values.shape
        name = f"r{row:09d}-c{col:09d}.tif"
        try:
            with quiet_about_georeferencing(), rasterio.open(
                self.folder / name, "w", driver="GTiff", count=bands, height=height, width=width,
                dtype=self._layout.dtype, nodata=self._layout.nodata, compress="deflate", zlevel=1,
                # Narrow blocks: the finished file's blocks are read from few of them.
                bigtiff="if_safer", tiled=True, blockxsize=512, blockysize=64,
            ) as part:  # fmt: skip
                part.write(values)
        except (RasterioError, OSError) as error:
            raise OutputError(f"{self.folder / name} cannot be written: {error}") from error
        self._placed.append((name, row, col, height, width))
        journal = {"parts": self._placed, "shape": self._layout.shape}
        temporary = self.folder / "journal.json.new"
        try:
            temporary.write_text(json.dumps(journal), encoding="utf-8")
            temporary.replace(self.folder / "journal.json")
        except OSError as error:
            raise OutputError(f"{temporary} cannot be written: {error.strerror}") from error

    def assemble(self, overwrite: bool) -> None:
        """Turn the parts into the target and remove them.

        Raises:
            OutputError: the disk refuses, or the target appeared meanwhile.
        """
        mosaic = self.folder / "mosaic.vrt"
        driver = raster_driver(self._output)
        options: dict[str, str] = {}
        if driver == "COG":
            options = {
                "COMPRESS": "DEFLATE", "LEVEL": "6", "BLOCKSIZE": "512", "BIGTIFF": "IF_SAFER",
                "OVERVIEW_RESAMPLING": "MODE" if self._layout.categorical else "AVERAGE",
                "NUM_THREADS": "ALL_CPUS",
            }  # fmt: skip
            options["PREDICTOR"] = "YES" if self._layout.dtype == "float32" else "NO"
        try:
            mosaic.write_text(_mosaic(self._layout, self._placed), encoding="utf-8")
            with quiet_about_georeferencing(), replacing(self._output, overwrite) as temporary:
                rasterio.shutil.copy(mosaic, temporary, driver=driver, strict=False, **options)
                save_style(_style(self._layout), "raster", self._output, temporary)
        except (CPLE_BaseError, RasterioError, OSError) as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"output {self._output} cannot be written: {error}") from error
        self.discard()

    def discard(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _style(layout: RasterLayout) -> str:
    """How QGIS draws it: named classes, or a ramp of probability."""
    if not layout.categorical:
        return ramp_qml(0.0, 1.0)
    names = json.loads(layout.tags.get(CLASSES_TAG, "{}"))
    return raster_qml(
        [
            StyledClass(
                value=value,
                name=names.get(str(value), str(value)),
                color="#{:02x}{:02x}{:02x}".format(*colour),
            )
            for value, colour in sorted(layout.colours.items())
        ]
    )


def _text(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, tag, attributes).text = text


def _mosaic(layout: RasterLayout, placed: Sequence[tuple[str, int, int, int, int]]) -> str:
    """GDAL virtual raster that lays the parts side by side."""
    height, width = layout.shape
    root = ElementTree.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if layout.crs is not None:
        _text(root, "SRS", layout.crs.to_wkt())  # without a mapping: x is east, y is north
    if layout.crs is not None or not layout.transform.almost_equals(Affine.identity()):
        numbers = ", ".join(repr(float(v)) for v in layout.transform.to_gdal())
        _text(root, "GeoTransform", numbers)
    metadata = ElementTree.SubElement(root, "Metadata")
    for key in sorted(layout.tags):
        _text(metadata, "MDI", layout.tags[key], key=key)
    for index, description in enumerate(layout.bands, start=1):
        band = ElementTree.SubElement(
            root, "VRTRasterBand", dataType=_GDAL_TYPES[layout.dtype], band=str(index)
        )
        if description:
            _text(band, "Description", description)
        _text(band, "NoDataValue", repr(layout.nodata))
        if layout.scale is not None:
            _text(band, "Scale", repr(layout.scale))
        if layout.colours:
            _text(band, "ColorInterp", "Palette")
            ElementTree.SubElement(band, "ColorTable")  # filled below
        for name, row, col, part_height, part_width in placed:
            source = ElementTree.SubElement(band, "SimpleSource")
            _text(source, "SourceFilename", name, relativeToVRT="1")
            _text(source, "SourceBand", str(index))
            size = {"xSize": str(part_width), "ySize": str(part_height)}
            ElementTree.SubElement(source, "SrcRect", xOff="0", yOff="0", **size)
            ElementTree.SubElement(source, "DstRect", xOff=str(col), yOff=str(row), **size)
    text = ElementTree.tostring(root, encoding="unicode")
    if layout.colours:
        table = _colour_table(tuple(sorted(layout.colours.items())))
        text = text.replace("<ColorTable />", f"<ColorTable>{table}</ColorTable>")
    return text


@functools.lru_cache(maxsize=16)
def _colour_table(colours: tuple[tuple[int, tuple[int, int, int]], ...]) -> str:
    """256 entries, the same for all masks of a model: half of the work on a small one."""
    known = dict(colours)
    entries = []
    for value in range(256):
        red, green, blue = known.get(value, (0, 0, 0))
        opaque = 255 if value in known else 0
        entries.append(f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="{opaque}" />')
    return "".join(entries)

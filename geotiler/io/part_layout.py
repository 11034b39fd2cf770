"""What a finished raster is, and the virtual raster that lays its parts side by side."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geotiler.core.qgis_style import StyledClass, ramp_qml, raster_qml
from geotiler.errors import SpecError
from geotiler.io.opening import quiet_about_georeferencing
from geotiler.io.outputs import check_is_local
from geotiler.io.scene_tags import CLASSES_TAG

_GDAL_TYPES = {"uint8": "Byte", "float32": "Float32"}
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
    origin: tuple[int, int] = (0, 0)
    """(row, col) of the first pixel, in the rows and columns that parts are written by."""
    crs: CRS | None = None
    bands: tuple[str, ...] = ("",)
    """Description of each band."""
    scale: float | None = None
    """Multiply stored values by this."""
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    """Colour table of a one-band uint8 raster."""
    tags: Mapping[str, str] = field(default_factory=dict)
    untold: tuple[str, ...] = ()
    """Settings that an output of an earlier version may lack in its tags, and is the same."""
    categorical: bool = True
    """Overviews take the most frequent value, not the mean."""

    @property
    def is_placed(self) -> bool:
        """Whether it lies anywhere: without a CRS the identity says nothing."""
        return self.crs is not None or not self.transform.almost_equals(Affine.identity())


def raster_driver(path: Path) -> str:
    """GDAL driver of a target by its suffix.

    Raises:
        SpecError: no such format.
        OutputError: an address.
    """
    check_is_local(path)
    driver = _DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise SpecError(
            f"output {path} has no raster format that geotiler writes",
            hint="name it .tif (Cloud-Optimized GeoTIFF) or .png",
        )
    return driver


@dataclass(frozen=True, kw_only=True)
class Part:
    """A finished rectangle of a raster, stored in a file."""

    row: int
    col: int
    height: int
    width: int
    bytes: int
    """Size of the file."""
    sha256: str
    """Of the file."""

    @classmethod
    def from_json(cls, values: Any) -> Part:
        """The part of `dataclasses.asdict`. Raises: ValueError: these are not the values of one."""
        try:
            part = cls(**values)
        except TypeError as error:
            raise ValueError("not a part") from error
        lengths = (part.row, part.col, part.height, part.width, part.bytes)
        if not all(type(value) is int and 0 <= value < 2**53 for value in lengths):
            raise ValueError("not lengths")
        if not (part.height and part.width):
            raise ValueError("not a rectangle")
        if not isinstance(part.sha256, str) or not re.fullmatch("[0-9a-f]{64}", part.sha256):
            raise ValueError("not a digest")
        return part

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"r{self.row:09d}-c{self.col:09d}.tif"


def style_text(layout: RasterLayout) -> str:
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


def mosaic_text(layout: RasterLayout, placed: Sequence[Part]) -> str:
    """GDAL virtual raster that lays the parts side by side."""
    height, width = layout.shape
    root = ElementTree.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if layout.crs is not None:
        _text(root, "SRS", layout.crs.to_wkt())  # without a mapping: x is east, y is north
    if layout.is_placed:
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
        for part in placed:
            source = ElementTree.SubElement(band, "SimpleSource")
            _text(source, "SourceFilename", part.name, relativeToVRT="1")
            _text(source, "SourceBand", str(index))
            size = {"xSize": str(part.width), "ySize": str(part.height)}
            ElementTree.SubElement(source, "SrcRect", xOff="0", yOff="0", **size)
            row, col = part.row - layout.origin[0], part.col - layout.origin[1]
            ElementTree.SubElement(source, "DstRect", xOff=str(col), yOff=str(row), **size)
    text = ElementTree.tostring(root, encoding="unicode")
    if layout.colours:
        table = _colour_table(tuple(sorted(layout.colours.items())))
        text = text.replace("<ColorTable />", f"<ColorTable>{table}</ColorTable>")
    return text


@contextmanager
def in_memory(layout: RasterLayout, values: NDArray[np.generic]) -> Iterator[Any]:
    """A raster of these values (band, row, col), open while the block lasts, on no disk.

    What is copied from it is what would be copied from the virtual raster of `mosaic_text`.
    """
    height, width = layout.shape
    with quiet_about_georeferencing():  # for this moment only: other threads wait for it
        raster = rasterio.open(
            "", "w", driver="MEM", height=height, width=width, count=len(layout.bands),
            dtype=layout.dtype, nodata=layout.nodata, crs=layout.crs,
            transform=layout.transform if layout.is_placed else None,
        )  # fmt: skip
    with raster:
        raster.write(values)
        raster.update_tags(**layout.tags)
        for index, description in enumerate(layout.bands, start=1):
            if description:
                raster.set_band_description(index, description)
        if layout.scale is not None:
            raster.scales = [layout.scale] * len(layout.bands)
        if layout.colours:
            raster.write_colormap(1, dict(enumerate(_entries(layout.colours))))
        yield raster


@functools.lru_cache(maxsize=16)
def _colour_table(colours: tuple[tuple[int, tuple[int, int, int]], ...]) -> str:
    """The entries as they are written, the same for all masks of a model."""
    return "".join(
        f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="{opaque}" />'
        for red, green, blue, opaque in _entries(dict(colours))
    )


def _entries(colours: Mapping[int, tuple[int, int, int]]) -> list[tuple[int, int, int, int]]:
    """(red, green, blue, alpha) of each of 256 values; those without a colour are clear black."""
    return [(*colours[value], 255) if value in colours else (0, 0, 0, 0) for value in range(256)]

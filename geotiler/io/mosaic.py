"""Neighbouring rasters as one scene: a virtual raster over them, as text, without a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from affine import Affine

from geotiler.errors import InputError
from geotiler.io.raster import Scene, open_scene
from geotiler.io.remote import gdal_name, is_remote

_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32",
    "int32": "Int32", "float32": "Float32", "float64": "Float64",
}  # fmt: skip

_OFF_GRID_PX = 0.05
"""Rasters may lie beside the first one's grid by this much; they are moved, not resampled."""


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A raster and where it lies on the common grid."""

    name: str
    row: int
    col: int
    height: int
    width: int


def mosaic_of(paths: Sequence[str], *, allow_remote: bool = False) -> str:
    """GDAL's description of rasters side by side; what none of them covers is not valid.

    Where they overlap, the later one is seen, but for its nodata.

    Args:
        paths: at least one, as `open_scene`.
        allow_remote: as `open_scene`.

    Raises:
        InputError: one cannot be read, or they differ in CRS, pixel size, grid, bands or type.
    """
    placed = []
    with open_scene(paths[0], allow_remote=allow_remote) as first:
        for path in paths:
            with open_scene(path, allow_remote=allow_remote) as scene:
                _check_alike(first, scene)
                placed.append(_place(first, scene, path))
        top, left = min(item.row for item in placed), min(item.col for item in placed)
        height = max(item.row + item.height for item in placed) - top
        width = max(item.col + item.width for item in placed) - left
        root = ElementTree.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
        if first.crs is not None:
            _add(root, "SRS", first.crs.to_wkt())
        corner = (first.transform @ Affine.translation(left, top)).to_gdal()
        _add(root, "GeoTransform", ", ".join(repr(float(value)) for value in corner))
        colours = first.colours
        for band in range(1, first.count + 1):
            element = _add(
                root, "VRTRasterBand", dataType=_TYPES[first.dtypes[band - 1]], band=str(band)
            )
            if first.descriptions[band - 1]:
                _add(element, "Description", str(first.descriptions[band - 1]))
            if first.nodata is not None:
                _add(element, "NoDataValue", repr(first.nodata))
            _add(element, "ColorInterp", colours[band - 1].capitalize())
            _add_sources(element, placed, (top, left), str(band), first.nodata)
        if first.nodata is None:  # then gaps can be told by a mask only
            mask = _add(_add(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
            _add_sources(mask, placed, (top, left), "mask,1", None)
    return ElementTree.tostring(root, encoding="unicode")


def _check_alike(first: Scene, other: Scene) -> None:
    """Raises: InputError: two rasters cannot be parts of one scene."""
    for what, one, two in (
        ("CRS", first.crs, other.crs),
        ("bands", first.count, other.count),
        ("types", first.dtypes, other.dtypes),
        ("nodata", str(first.nodata), str(other.nodata)),
    ):
        if one != two:
            raise InputError(
                f"{other.path} and {first.path} differ in {what}, so they are no mosaic: "
                f"{str(two)[:80]} and {str(one)[:80]}",
                hint="leave --mosaic out to segment each by itself",
            )
    for dtype in first.dtypes:
        if dtype not in _TYPES:
            raise InputError(f"{first.path} holds {dtype}, which a mosaic cannot")


def _place(first: Scene, other: Scene, path: str) -> _Placed:
    ratio = ~first.transform @ other.transform
    is_turned = max(abs(ratio.b), abs(ratio.d)) * max(other.shape) > _OFF_GRID_PX
    drift = max(abs(ratio.a - 1) * other.width, abs(ratio.e - 1) * other.height)
    row, col = round(ratio.f), round(ratio.c)
    off_px = math.hypot(ratio.f - row, ratio.c - col)
    if is_turned or drift > _OFF_GRID_PX or off_px > _OFF_GRID_PX:
        raise InputError(
            f"{other.path} does not lie on the pixel grid of {first.path}",
            hint="leave --mosaic out, or resample them to one grid first",
        )
    name = gdal_name(path)
    if not is_remote(path) and Path(path).exists():
        name = str(Path(path).absolute())
    return _Placed(name=name, row=row, col=col, height=other.height, width=other.width)


def _add_sources(
    band: ElementTree.Element, placed: Sequence[_Placed], corner: tuple[int, int], number: str,
    nodata: float | None,
) -> None:  # fmt: skip
    for item in placed:
        source = _add(band, "SimpleSource" if nodata is None else "ComplexSource")
        _add(source, "SourceFilename", item.name, relativeToVRT="0")
        _add(source, "SourceBand", number)
        size = {"xSize": str(item.width), "ySize": str(item.height)}
        place = {"xOff": str(item.col - corner[1]), "yOff": str(item.row - corner[0])}
        _add(source, "SrcRect", xOff="0", yOff="0", **size)
        _add(source, "DstRect", **place, **size)
        if nodata is not None:
            _add(source, "NODATA", repr(nodata))


def _add(parent: ElementTree.Element, tag: str, text: str = "", **attributes: str) -> Any:
    element = ElementTree.SubElement(parent, tag, attributes)
    element.text = text or None
    return element

"""What is opened as one scene: a raster as it is, or bands that lie in files of their own.

Separate band files and the rasters inside a Sentinel-2 product become a virtual raster, spelled
out in memory, so that everything behind it reads one scene. It adds what these formats leave out:
which colour a band is, that 0 is nodata, and how tall the blocks are that decoding works in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from geotiler.core.radiometry import spectral_name
from geotiler.errors import InputError
from geotiler.io.opening import quiet_about_georeferencing
from geotiler.io.raster import Scene, open_scene
from geotiler.io.remote import gdal_name, is_remote, shown

_GDAL_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32",
    "int32": "Int32", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
_BAND_NAME = re.compile(r"(?:^|[_.-])(B(?:0[1-9]|1[0-2]|8A))(?=[_.-]|$)", re.IGNORECASE)
_OFFSET_TAGS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")


@dataclass(frozen=True, kw_only=True)
class SceneSource:
    """What GDAL opens as a scene, and what it is called."""

    gdal_name: str
    """Path, GDAL name, or the XML of a virtual raster."""
    name: str
    """For messages and reports."""
    inputs: tuple[str, ...]
    """What the user named, in the user's order."""
    band_files: tuple[str, ...] = ()
    """The file of each band, where each has one of its own."""
    drivers: tuple[str, ...] | None = None
    """GDAL drivers that may open it; None: all."""

    def open(self, overview: int | None = None) -> Scene:
        """The scene. Raises: InputError: see `open_scene`."""
        return open_scene(
            self.gdal_name,
            name=self.name,
            overview=overview,
            drivers=self.drivers,
            allow_remote=self.is_remote,
        )

    @property
    def is_remote(self) -> bool:
        """Whether the user named something on another machine."""
        return any(is_remote(path) for path in self.inputs)


@dataclass(frozen=True, kw_only=True)
class _Band:
    """One band of a virtual raster."""

    source: str
    index: int
    dtype: str
    nodata: float | None
    name: str | None
    offset: float
    scale: float
    tags: dict[str, str]
    block: tuple[int, int]
    """(height, width)."""


def band_name(path: str) -> str | None:
    """B01 to B12 or B8A, as the file name of a Sentinel-2 band has it; None for any other file."""
    found = _BAND_NAME.findall(Path(path).stem)
    return found[-1].upper() if found else None


def scene_source(inputs: Sequence[str], drivers: tuple[str, ...] | None = None) -> SceneSource:
    """The scene that one raster or several band files make.

    Band files whose names say which Sentinel-2 band they hold may come in any order.

    Args:
        inputs: paths or GDAL names.
        drivers: GDAL drivers that may open a file of a stranger: it is one raster then, and no
            other file is looked at, whatever it is called. None: all.

    Raises:
        InputError: not rasters, files with more than one band, or on different grids.
    """
    path = inputs[0]
    if drivers is not None and len(inputs) == 1:
        return SceneSource(gdal_name=path, name=path, inputs=(path,), drivers=drivers)
    if len(inputs) > 1:
        return _stacked(tuple(inputs))
    plain = SceneSource(gdal_name=_in_product(path) or path, name=shown(path), inputs=(path,))
    with plain.open() as scene:
        if scene.driver == "SENTINEL2":
            bands = [
                _product_band(scene, plain.gdal_name, band) for band in range(1, scene.count + 1)
            ]
        elif _is_sentinel_2(scene, path):
            bands = [_file_band(scene, path)]
        else:
            return plain
        text = _virtual(scene.shape, scene.transform, scene.crs, bands)
    files = () if scene.driver == "SENTINEL2" else (path,)
    return SceneSource(gdal_name=text, name=shown(path), inputs=(path,), band_files=files)


def _in_product(path: str) -> str | None:
    """GDAL's name of the 10 m bands of a product that is named by its folder or its metadata.

    None for anything else, and for old products of several granules in more than one zone.
    """
    place = Path(path)
    try:
        found = sorted(place.glob("MTD_MSIL*.xml")) if place.is_dir() else [place]
    except OSError:
        return None
    if len(found) != 1 or not found[0].name.startswith("MTD_MSIL"):
        return None
    try:
        with quiet_about_georeferencing(), rasterio.open(found[0]) as product:
            fine = [name for name in product.subdatasets if ":10m:" in name]
    except RasterioError:  # told when it is opened as a scene
        return None
    return fine[0] if len(fine) == 1 else None


def _stacked(inputs: tuple[str, ...]) -> SceneSource:
    bands: list[_Band] = []
    first: tuple[tuple[int, int], Affine, CRS | None] | None = None
    for path in inputs:
        with open_scene(path) as scene:
            if scene.count != 1:
                raise InputError(
                    f"{path} has {scene.count} bands; several files are one scene only where each "
                    "holds one band of it",
                    hint="name one scene at a time, or one file per band",
                )
            grid = scene.shape, scene.transform, scene.crs
            if first is None:
                first = grid
            elif grid != first and not _same_grid(grid, first):
                raise InputError(
                    f"{path} ({scene.height}×{scene.width} px) does not lie on the grid of "
                    f"{inputs[0]} ({first[0][0]}×{first[0][1]} px)",
                    hint="take bands of one resolution, as B04, B03 and B02",
                )
            bands.append(_file_band(scene, path))
    assert first is not None
    name = f"{shown(inputs[0])} and {len(inputs) - 1} more"
    return SceneSource(
        gdal_name=_virtual(*first, bands), name=name, inputs=inputs, band_files=inputs
    )


def _same_grid(
    one: tuple[tuple[int, int], Affine, CRS | None],
    other: tuple[tuple[int, int], Affine, CRS | None],
) -> bool:
    return (
        one[0] == other[0] and one[2] == other[2] and one[1].almost_equals(other[1], precision=1e-6)
    )


def _is_sentinel_2(scene: Scene, path: str) -> bool:
    """Whether a file is a band as the products of ESA hold it: 0 is nodata, and not said so."""
    is_band = scene.count == 1 and scene.nodata is None and scene.dtypes == ("uint16",)
    return is_band and scene.driver.startswith("JP2") and band_name(path) is not None


def _file_band(scene: Scene, path: str) -> _Band:
    name = band_name(path)
    nodata = 0.0 if _is_sentinel_2(scene, path) else scene.nodata
    local = Path(path)
    return _Band(
        source=str(local.resolve()) if local.exists() else gdal_name(path),
        index=1,
        dtype=scene.dtypes[0],
        nodata=nodata,
        name=spectral_name(name) if name else scene.band_names[0],
        offset=scene.offsets[0],
        scale=scene.scales[0],
        tags=_offset_tags(scene, 1),
        block=scene.block_shape,
    )


def _product_band(scene: Scene, gdal_name: str, band: int) -> _Band:
    special = scene.tags.get("SPECIAL_VALUE_NODATA", "0")
    return _Band(
        source=gdal_name,
        index=band,
        dtype=scene.dtypes[band - 1],
        nodata=float(special) if scene.dtypes[band - 1] != "uint8" else None,
        name=scene.band_names[band - 1],
        offset=scene.offsets[band - 1],
        scale=scene.scales[band - 1],
        tags=_offset_tags(scene, band),
        block=_stored_block(scene),
    )


def _offset_tags(scene: Scene, band: int) -> dict[str, str]:
    tags = scene.band_tags(band)
    return {key: tags[key] for key in _OFFSET_TAGS if key in tags}


def _stored_block(scene: Scene) -> tuple[int, int]:
    """Block (height, width) of the first image that a product is made of."""
    for path in scene.files:
        if path.lower().endswith(".jp2"):
            try:
                with rasterio.open(path) as image:
                    height, width = image.block_shapes[0]
                    return int(height), int(width)
            except RasterioError:
                break
    return scene.block_shape


def _virtual(
    shape: tuple[int, int], transform: Affine, crs: CRS | None, bands: Sequence[_Band]
) -> str:
    """GDAL virtual raster of bands that lie on one grid."""
    height, width = shape
    root = ElementTree.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if crs is not None:
        _text(root, "SRS", crs.to_wkt())  # without a mapping: x is east, y is north
    if crs is not None or not transform.almost_equals(Affine.identity()):
        _text(root, "GeoTransform", ", ".join(repr(float(v)) for v in transform.to_gdal()))
    for number, band in enumerate(bands, start=1):
        block = {"blockYSize": str(band.block[0]), "blockXSize": str(band.block[1])}
        item = ElementTree.SubElement(
            root, "VRTRasterBand", dataType=_GDAL_TYPES[band.dtype], band=str(number), **block
        )
        if band.name:
            _text(item, "Description", band.name)
        if band.tags:
            metadata = ElementTree.SubElement(item, "Metadata")
            for key, value in band.tags.items():
                _text(metadata, "MDI", value, key=key)
        if band.nodata is not None:
            _text(item, "NoDataValue", repr(band.nodata))
        _text(item, "Offset", repr(band.offset))
        _text(item, "Scale", repr(band.scale))
        source = ElementTree.SubElement(item, "SimpleSource")
        _text(source, "SourceFilename", band.source, relativeToVRT="0")
        _text(source, "SourceBand", str(band.index))
        size = {"xOff": "0", "yOff": "0", "xSize": str(width), "ySize": str(height)}
        ElementTree.SubElement(source, "SrcRect", **size)
        ElementTree.SubElement(source, "DstRect", **size)
    return ElementTree.tostring(root, encoding="unicode")


def _text(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, tag, attributes).text = text

"""Rasters of class ids: their layout, and the style that tells a desktop GIS the names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from affine import Affine
from rasterio.crs import CRS

from geotiler import __version__
from geotiler.io.outputs import replacing
from geotiler.io.parts import RasterLayout
from geotiler.io.raster import CLASSES_TAG
from geotiler.specs import MASK_NODATA

BACKGROUND = "#f2f2ee"
"""Colour of what belongs to no class."""


def class_layout(
    classes: Mapping[int, tuple[str, str]],
    *,
    shape: tuple[int, int],
    transform: Affine,
    crs: CRS | None,
    model: str,
    digest: str,
    settings: Mapping[str, Any],
) -> RasterLayout:
    """Layout of a uint8 raster of class ids, nodata 255, with colour table and provenance.

    Args:
        classes: id → name and "#rrggbb".
        shape: (height, width).
        transform: pixels to the CRS.
        crs: of the scene.
        model: name and version.
        digest: of the model.
        settings: what the answer depends on; no place, no time.
    """
    names = {str(key): name for key, (name, _) in classes.items()}
    colours: dict[int, tuple[int, int, int]] = {}
    for key, (_, colour) in classes.items():
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        colours[key] = (red, green, blue)
    return RasterLayout(
        shape=shape,
        dtype="uint8",
        nodata=MASK_NODATA,
        transform=transform,
        crs=crs,
        bands=("class",),
        colours=colours,
        tags={
            CLASSES_TAG: json.dumps(names, sort_keys=True),
            "GEOTILER_VERSION": __version__,
            "GEOTILER_MODEL": model,
            "GEOTILER_MODEL_DIGEST": digest,
            "GEOTILER_SETTINGS": json.dumps(settings, sort_keys=True),
        },
    )


def coarser(transform: Affine, x: float, y: float) -> Affine:
    """Transform of pixels x times as wide and y times as high, from the same corner."""
    return transform @ Affine.scale(x, y)


def style_path(raster: Path) -> Path:
    """Where QGIS looks for the style of a raster."""
    return raster.with_suffix(".qml")


def write_style(
    raster: Path, classes: Mapping[int, tuple[str, str]], *, overwrite: bool = False
) -> None:
    """Write the QGIS style of a class raster beside it: QGIS reads no names from TIFF tags.

    Args:
        raster: the class raster.
        classes: id → name and "#rrggbb".
        overwrite: an existing style may be replaced.

    Raises:
        OutputError: it cannot be written.
    """
    root = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology")
    pipe = ElementTree.SubElement(root, "pipe")
    renderer = ElementTree.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
    )
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for key, (name, colour) in sorted(classes.items()):
        ElementTree.SubElement(
            palette, "paletteEntry", value=str(key), label=name, color=colour, alpha="255"
        )
    ElementTree.indent(root)
    with replacing(style_path(raster), overwrite) as temporary:
        text = ElementTree.tostring(root, encoding="unicode")
        temporary.write_text(
            f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}\n",
            encoding="utf-8",
        )

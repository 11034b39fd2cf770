"""QGIS styles: polygons in the colours of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyogrio

Colour = tuple[int, int, int]

DEFAULT_COLOURS: tuple[Colour, ...] = (
    (215, 48, 31), (69, 117, 180), (102, 166, 30), (230, 171, 2), (117, 112, 179), (102, 102, 102),
)  # fmt: skip
FILL_OPACITY = 0.35
"""The imagery below is to be seen."""

STYLE_TABLE = "layer_styles"
"""Where QGIS looks for styles in a GeoPackage."""


def qgis_style(classes: Mapping[str, Colour | None]) -> str:
    """A QGIS layer style (QML) that draws each class in its colour.

    Args:
        classes: label → colour; None takes one of a few of our own.
    """
    root = ElementTree.Element("qgis", version="3.34.0", styleCategories="Symbology|Labeling")
    renderer = ElementTree.SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr="class", enableorderby="0",
        forceraster="0", symbollevels="0", referencescale="-1",
    )  # fmt: skip
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for index, (label, colour) in enumerate(classes.items()):
        ElementTree.SubElement(
            categories, "category", symbol=str(index), value=label, label=label, render="true",
            type="string",
        )  # fmt: skip
        _symbol(symbols, str(index), colour or DEFAULT_COLOURS[index % len(DEFAULT_COLOURS)])
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + ElementTree.tostring(
        root, encoding="unicode"
    )


def _symbol(parent: ElementTree.Element, name: str, colour: Colour) -> None:
    symbol = ElementTree.SubElement(
        parent, "symbol", name=name, type="fill", alpha="1", clip_to_extent="1", force_rhr="0"
    )
    layer = ElementTree.SubElement(
        symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
    )
    options = ElementTree.SubElement(layer, "Option", type="Map")
    red, green, blue = colour
    fill = f"{red},{green},{blue},{round(255 * FILL_OPACITY)}"
    for key, value in {
        "color": fill, "style": "solid", "outline_color": f"{red},{green},{blue},255",
        "outline_style": "solid", "outline_width": "0.4", "outline_width_unit": "MM",
    }.items():  # fmt: skip
        ElementTree.SubElement(options, "Option", name=key, value=value, type="QString")


def embed_style(path: Path, layer: str, style: str) -> None:
    """Makes a style the default of a layer of a GeoPackage, as QGIS does.

    A style that the layer has already, somebody's own perhaps, stays.
    """
    there = STYLE_TABLE in pyogrio.list_layers(path)[:, 0].tolist()
    if there:
        _, _, _, (names,) = pyogrio.raw.read(
            path, layer=STYLE_TABLE, columns=["f_table_name"], read_geometry=False
        )
        if layer in names.tolist():
            return
    values = {
        "f_table_catalog": "", "f_table_schema": "", "f_table_name": layer,
        "f_geometry_column": "geometry", "styleName": layer, "styleQML": style, "styleSLD": "",
        "useAsDefault": True, "description": "geotiler", "owner": "", "ui": "",
    }  # fmt: skip
    columns = [
        np.array([value], bool if isinstance(value, bool) else object) for value in values.values()
    ]
    pyogrio.raw.write(
        path, None, columns, list(values), layer=STYLE_TABLE, driver="GPKG", geometry_type=None,
        append=there,
        # The style of a layer is data, not a layer to be shown.
        layer_options={} if there else {"IDENTIFIER": "styles"}, dataset_options=None,
    )  # fmt: skip

"""How QGIS should draw what geotiler writes, as the XML that QGIS reads without a click.

For whoever writes files::

    vector_qml(classes, field="class")   polygons, one colour per value of an attribute
    raster_qml(classes)                  a mask of class ids, with names in the legend
    ramp_qml(minimum, maximum)           probabilities, from clear to strong
    geopackage_style(table, column, qml) SQL that makes a style the default of a GeoPackage layer
    joined_style(text, kind, existing)   one style for a raster and polygons of the same name
    vector_classes(text)                 the classes that such a style of polygons shows
    is_own_style(text, kind)             whether geotiler wrote a style, so that it may replace it
    draws(text, kind)                    whether a style, whoever wrote it, is of such a layer

A style beside a file has its name with the suffix .qml (`io.styles` writes it); QGIS reads class
names from there and not from TIFF tags. Inside a GeoPackage it is a row of the table layer_styles.
`town.tif` and `town.geojson` share `town.qml`: a layer takes from it the element of its own kind.

Source: the QML that QGIS 3.22 itself saves; layer_styles as its GeoPackage provider makes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from geotiler.core.palette import hex_colour

Kind = Literal["vector", "raster"]

_OWN = "style by geotiler for a "
_DRAWS: dict[Kind, str] = {"raster": "pipe", "vector": "renderer-v2"}
"""The element that draws a layer of each kind; QGIS passes over the other one."""

_BACKGROUND = (0, "background")
"""Value and name of what belongs to no class: it is clear, so that a mask shows what lies below."""

_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION = "3.22.0"
_FILL_ALPHA = 90
_RAMP = ((0.0, "#ffffcc"), (0.25, "#fed976"), (0.5, "#fd8d3c"), (0.75, "#e31a1c"), (1.0, "#800026"))
"""ColorBrewer's YlOrRd: ordered in lightness, so that it reads without colour vision too."""

_TABLE = """CREATE TABLE IF NOT EXISTS layer_styles (
id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT,
styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
update_time DATETIME)"""


@dataclass(frozen=True, kw_only=True)
class StyledClass:
    """One class as a legend shows it."""

    value: int | str
    """Pixel value of a raster, or the attribute's value of a polygon."""
    name: str
    color: str
    """"#rrggbb"."""


def vector_qml(classes: Sequence[StyledClass], field: str = "class") -> str:
    """A QML style that fills polygons by the value of an attribute, outlined in the same colour."""
    renderer = ElementTree.Element(
        _DRAWS["vector"], type="categorizedSymbol", attr=field, symbollevels="0",
        enableorderby="0", forceraster="0",
    )  # fmt: skip
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for index, item in enumerate(classes):
        ElementTree.SubElement(
            categories, "category", value=str(item.value), symbol=str(index), label=item.name,
            render="true", type="string" if isinstance(item.value, str) else "long",
        )  # fmt: skip
        symbol = ElementTree.SubElement(
            symbols, "symbol", type="fill", name=str(index), alpha="1", clip_to_extent="1",
            force_rhr="0",
        )  # fmt: skip
        layer = ElementTree.SubElement(
            symbol, "layer", attrib={"class": "SimpleFill", "enabled": "1", "pass": "0"}
        )
        options = ElementTree.SubElement(layer, "Option", type="Map")
        for name, value in _fill(item.color).items():
            ElementTree.SubElement(options, "Option", name=name, value=value, type="QString")
    return _written({"vector": renderer})


def vector_classes(text: str, field: str = "class") -> tuple[StyledClass, ...]:
    """The classes that a style shows by an attribute's value, filled in one colour each.

    Of a style that a person saved in QGIS, too, as far as it does that; empty otherwise.
    """
    try:
        renderer = ElementTree.fromstring(text).find(_DRAWS["vector"])
    except ElementTree.ParseError:
        return ()
    if renderer is None or renderer.get("attr", "").strip('"') != field:
        return ()
    colours = {
        symbol.get("name"): colour
        for symbol in renderer.iterfind("symbols/symbol")
        if (colour := _colour_of(symbol)) is not None
    }
    return tuple(
        StyledClass(value=value, name=item.get("label") or value, color=colours[item.get("symbol")])
        for item in renderer.iterfind("categories/category")
        if (value := item.get("value")) and item.get("symbol") in colours
    )


def _colour_of(symbol: ElementTree.Element) -> str | None:
    """What a symbol is filled with, as "#rrggbb"; QGIS has written it in two ways."""
    for layer in symbol.iterfind("layer"):
        told = {item.get("name"): item.get("value") for item in layer.iterfind("Option/Option")}
        told |= {item.get("k"): item.get("v") for item in layer.iterfind("prop")}
        numbers = re.match(r"(\d+),(\d+),(\d+)(?:,|$)", told.get("color") or "")
        if numbers and all(int(each) < 256 for each in numbers.groups()):
            red, green, blue = map(int, numbers.groups())
            return hex_colour((red, green, blue))
    return None


def raster_qml(classes: Sequence[StyledClass]) -> str:
    """A QML style that names and colours the values of a raster's first band.

    Background, the value 0 of that name, keeps its colour in the legend's text and is not drawn.
    """
    pipe, renderer = _pipe("paletted")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for item in classes:
        ElementTree.SubElement(
            palette, "paletteEntry", value=str(item.value), color=item.color, label=item.name,
            alpha="0" if (item.value, item.name) == _BACKGROUND else "255",
        )  # fmt: skip
    return _written({"raster": pipe})


def ramp_qml(minimum: float, maximum: float) -> str:
    """A QML style that draws a raster's first band as a continuous colour ramp."""
    pipe, renderer = _pipe("singlebandpseudocolor")
    renderer.set("classificationMin", repr(minimum))
    renderer.set("classificationMax", repr(maximum))
    shader = ElementTree.SubElement(
        ElementTree.SubElement(renderer, "rastershader"), "colorrampshader",
        colorRampType="INTERPOLATED", classificationMode="1", clip="0",
        minimumValue=repr(minimum), maximumValue=repr(maximum),
    )  # fmt: skip
    for share, color in _RAMP:
        value = minimum + share * (maximum - minimum)
        ElementTree.SubElement(
            shader, "item", value=repr(value), label=f"{value:g}", color=color, alpha="255"
        )
    return _written({"raster": pipe})


def is_own_style(text: str, kind: Kind) -> bool:
    """Whether a style was written by geotiler for such a layer, and not by a person since."""
    return f"<!--{_OWN}{kind}-->" in text


def draws(text: str, kind: Kind) -> bool:
    """Whether a style, a person's too, says how a layer of that kind is drawn."""
    return f"<{_DRAWS[kind]}" in text


def joined_style(text: str, kind: Kind, existing: str) -> str | None:
    """A style that draws the layers of both kinds; None where the existing one is a person's.

    Args:
        text: a style of this module, for one kind of layer.
        kind: which.
        existing: the style that lies under its name; what it says of the other kind is kept.
    """
    own = [each for each in _DRAWS if is_own_style(existing, each)]
    if not own:
        return None
    try:
        drawn = {each: ElementTree.fromstring(existing).find(_DRAWS[each]) for each in own}
    except ElementTree.ParseError:  # cut off, nothing in it is worth keeping
        return text
    drawn[kind] = ElementTree.fromstring(text).find(_DRAWS[kind])
    return _written({each: element for each, element in drawn.items() if element is not None})


def geopackage_style(
    table: str, geometry_column: str, qml: str
) -> list[tuple[str, tuple[str | int, ...]]]:
    """SQL statements and their parameters that embed a style as a layer's default.

    For `sqlite3.Connection.execute`, one after the other, before one commit. The time in them is
    fixed, so that the same input gives the same bytes.
    """
    then = "1970-01-01T00:00:00.000Z"
    return [
        (_TABLE, ()),
        (
            "INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier, description, "
            "last_change) VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?)",
            (then,),
        ),
        ("DELETE FROM layer_styles WHERE f_table_name = ?", (table,)),
        (
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, "
            "f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description, owner, "
            "ui, update_time) VALUES ('', '', ?, ?, 'classes', ?, '', 1, 'by geotiler', '', '', ?)",
            (table, geometry_column, qml, then),
        ),
    ]


def _pipe(renderer: str) -> tuple[ElementTree.Element, ElementTree.Element]:
    """What draws a raster, and the renderer in it."""
    pipe = ElementTree.Element(_DRAWS["raster"])
    element = ElementTree.SubElement(
        pipe, "rasterrenderer", type=renderer, band="1", opacity="1", alphaBand="-1"
    )
    ElementTree.SubElement(element, "rasterTransparency")
    return pipe, element


def _fill(color: str) -> dict[str, str]:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return {
        "color": f"{red},{green},{blue},{_FILL_ALPHA}",
        "style": "solid",
        "outline_color": f"{red},{green},{blue},255",
        "outline_style": "solid",
        "outline_width": "0.4",
        "outline_width_unit": "MM",
        "joinstyle": "miter",
    }


def _written(drawn: Mapping[Kind, ElementTree.Element]) -> str:
    root = ElementTree.Element("qgis", styleCategories="Symbology", version=_VERSION)
    for kind in _DRAWS:
        if kind in drawn:
            root.extend([ElementTree.Comment(f"{_OWN}{kind}"), drawn[kind]])
    ElementTree.indent(root)
    return _HEAD + ElementTree.tostring(root, encoding="unicode") + "\n"

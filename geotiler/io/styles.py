"""Styles beside files: QGIS reads `mask.qml` with `mask.tif` and draws it as it should look."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import get_args

from geotiler.core.palette import Colour, class_colour, hex_colour
from geotiler.core.qgis_style import (
    Kind,
    StyledClass,
    draws,
    geopackage_style,
    is_own_style,
    joined_style,
    vector_classes,
    vector_qml,
)
from geotiler.io.vector_formats import DRIVERS, LAYERED, STDOUT
from geotiler.specs import MASK_NODATA

SUFFIX = ".qml"


def styled_classes(
    names: Mapping[int, str],
    colours: Mapping[int, Colour],
    present: Iterable[int] = (),
) -> tuple[StyledClass, ...]:
    """How polygons of a mask's classes are shown, by the value of their attribute `class`.

    Args:
        names: of the mask's class ids; the background has no polygons.
        colours: of its colour table; a class without one takes `core.palette.class_colour`.
        present: ids that have polygons; one without a name has its number as the attribute.
    """
    shown = sorted(key for key in {*names, *present} if 0 < key < MASK_NODATA)
    return tuple(
        StyledClass(
            value=names.get(key, str(key)),
            name=names.get(key, f"class {key}"),
            color=hex_colour(colours.get(key, class_colour(key))),
        )
        for key in shown
    )


def shown_classes(path: Path) -> tuple[StyledClass, ...]:
    """The classes of the style that a vector file has, beside it or inside; empty: it has none."""
    if not path.is_file():  # an address
        return ()
    text = _embedded(path) if DRIVERS.get(path.suffix.lower()) in LAYERED else _existing(path)
    return vector_classes(text) if text else ()


def _embedded(path: Path) -> str | None:
    """The style of the first layer of a GeoPackage that has a default one."""
    asked = (
        "SELECT styleQML FROM layer_styles JOIN gpkg_geometry_columns "
        "ON lower(f_table_name) = lower(table_name) WHERE useAsDefault "
        "ORDER BY gpkg_geometry_columns.rowid"
    )
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            row = base.execute(asked).fetchone()
    except sqlite3.Error:  # no such table: no style
        return None
    return None if row is None else str(row[0])


def save_style(qml: str, kind: Kind, target: Path, temporary: Path) -> bool:
    """Put a style beside a file that is being written; False if there is one to respect.

    A style that a person saved stays as it is. One that geotiler wrote for a layer of the other
    kind and the same name is joined with this one: both layers open as they should.

    Args:
        qml: the style.
        kind: of layer.
        target: the file, as it will be called.
        temporary: the file that takes its place; see `io.outputs.replacing`, which moves what
            lies beside it too.
    """
    existing = _existing(target)
    joined = qml if existing is None else joined_style(qml, kind, existing)
    if joined is None:
        return False
    temporary.with_suffix(SUFFIX).write_text(joined, encoding="utf-8", newline="\n")
    return True


def save_polygon_style(
    styled: Sequence[StyledClass], target: Path, temporary: Path, *, append: bool = False
) -> None:
    """Put the style of polygons beside a file that is being written, as `save_style` does.

    Args:
        styled: what they are.
        target: the file, as it will be called.
        temporary: the file that takes its place.
        append: features were added to those that were there, whose classes stay in the style.
    """
    existing = _existing(target) if append else None
    save_style(vector_qml(_joined(styled, existing)), "vector", target, temporary)


def embed_style(
    path: Path, table: str, styled: Sequence[StyledClass], *, append: bool = False
) -> None:
    """Make a style the default of a layer in a GeoPackage.

    A style that somebody else gave it stays as it is.

    Args:
        path: the file.
        table: the layer.
        styled: its classes.
        append: features were added to those that were there, whose classes stay in the style.
    """
    has_styles = "SELECT 1 FROM sqlite_master WHERE name = 'layer_styles'"
    styles = "SELECT styleQML FROM layer_styles WHERE lower(f_table_name) = lower(?)"
    named = "SELECT column_name FROM gpkg_geometry_columns WHERE lower(table_name) = lower(?)"
    renamed = "UPDATE layer_styles SET f_geometry_column = ? WHERE lower(f_table_name) = lower(?)"
    with closing(sqlite3.connect(path)) as base, base:
        there = []
        if base.execute(has_styles).fetchone():
            there = [text or "" for (text,) in base.execute(styles, (table,))]
        columns = base.execute(named, (table,)).fetchall()
        if not all(is_own_style(text, "vector") for text in there):
            for (column,) in columns:  # a layer that was replaced may call it otherwise
                base.execute(renamed, (column, table))
            return
        qml = vector_qml(_joined(styled, there[0] if there and append else None))
        for (column,) in columns:
            for statement, values in geopackage_style(table, column, qml):
                base.execute(statement, values)


def _joined(styled: Sequence[StyledClass], existing: str | None) -> Sequence[StyledClass]:
    """The classes of an existing style, then those that it lacks."""
    before = vector_classes(existing) if existing else ()
    known = {each.value for each in before}
    return [*before, *(each for each in styled if each.value not in known)]


def style_notices(targets: Iterable[Path | str]) -> list[str]:
    """A line for each file whose style will be left out, since a person's lies in its place.

    Args:
        targets: files that will be written, of any format, or "-".
    """
    return [note for target in targets if (note := _notice(Path(target)))]


def _notice(target: Path) -> str | None:
    driver = DRIVERS.get(target.suffix.lower())
    if target == Path(STDOUT) or driver in LAYERED:  # which carry their style inside
        return None
    kind: Kind = "raster" if driver is None else "vector"
    existing = _existing(target)
    if existing is None or any(is_own_style(existing, each) for each in get_args(Kind)):
        return None
    style = target.with_suffix(SUFFIX)
    if draws(existing, kind):
        return f"{style} was not written by geotiler and is kept: {target.name} is drawn by it"
    return (
        f"{style} was not written by geotiler and is kept, but is for another layer: "
        f"{target.name} opens in QGIS without colours and names (another name for it brings them)"
    )


def _existing(target: Path) -> str | None:
    """The style that lies beside a file; None: there is none, empty: it cannot be read."""
    try:
        return target.with_suffix(SUFFIX).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""

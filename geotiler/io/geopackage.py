"""What a GeoPackage holds besides the layer that is to be replaced.

Such a file is a database of whoever made it: layers, tables, styles and QGIS projects of others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from geotiler.core.qgis_style import is_own_style
from geotiler.errors import OutputError

_OF_EVERY_FILE = {
    "gpkg_spatial_ref_sys",
    "gpkg_contents",
    "gpkg_ogr_contents",
    "gpkg_geometry_columns",
    "gpkg_tile_matrix_set",
    "gpkg_tile_matrix",
    "gpkg_extensions",
    "sqlite_sequence",
    "layer_styles",
}
"""Tables that say something about others."""

_ORDERED = ("gpkg_contents", "gpkg_geometry_columns")
"""Tables whose rows come in the order of the layers."""

_HOT = bytes.fromhex("d9d505f920a163d7")
"""What a rollback journal begins with while the database is not whole without it. It is cleared
before the database is touched, and once a change is done by a program that keeps its journal
(journal_mode PERSIST).

Source: https://www.sqlite.org/fileformat2.html#the_rollback_journal
"""

_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"


def other_tables(path: Path, layer: str) -> list[str]:
    """Tables and views of a file besides one layer; none where it is no database.

    Raises:
        OutputError: it cannot be read.
    """
    names = _asked(path, _TABLES)
    own = {layer.lower(), *_OF_EVERY_FILE}
    return [
        name for name in names if name.lower() not in own and not name.lower().startswith("rtree_")
    ]


def has_foreign_style(path: Path, layer: str) -> bool:
    """Whether somebody else than geotiler gave a layer a style. Raises: OutputError: unreadable."""
    if not _asked(path, "SELECT name FROM sqlite_master WHERE name = 'layer_styles'"):
        return False
    asked = "SELECT styleQML FROM layer_styles WHERE lower(f_table_name) = lower(?)"
    return not all(is_own_style(text, "vector") for text in _asked(path, asked, layer))


def places(path: Path, layer: str) -> dict[str, int]:
    """Where a layer stands among those of a file, for `put_back`: many programs take the first."""
    found = {}
    with closing(sqlite3.connect(path)) as base:
        for table in _ORDERED:
            asked = f"SELECT rowid FROM {table} WHERE lower(table_name) = lower(?)"
            for (row,) in base.execute(asked, (layer,)):
                found[table] = int(row)
    return found


def put_back(path: Path, layer: str, before: Mapping[str, int]) -> None:
    """Let a layer that was written anew stand where it stood."""
    with closing(sqlite3.connect(path)) as base, base:
        for table, row in before.items():
            moved = f"UPDATE {table} SET rowid = ? WHERE lower(table_name) = lower(?)"
            base.execute(moved, (row, layer))


def check_is_geopackage(path: Path, *, append: bool) -> None:
    """Refuse a database of something else, and what nothing can be added to.

    Raises:
        OutputError: it is one, or cannot be read.
    """
    names = {name.lower() for name in _asked(path, _TABLES)}
    if "gpkg_contents" in names:
        return
    if names:
        raise OutputError(
            f"{path} is an SQLite database, but no GeoPackage: it has no table gpkg_contents",
            hint="move it away, or choose another -o",
        )
    if append:
        raise OutputError(
            f"{path} is no GeoPackage, so that nothing can be added to it",
            hint="--overwrite replaces it",
        )


def check_layer_name(path: Path, layer: str, *, can_be_named: bool) -> None:
    """Refuse a name that something else in a GeoPackage has; SQLite's names know no case.

    Args:
        path: the GeoPackage, which keeps what is in it.
        layer: that is to be written into it.
        can_be_named: the caller has a flag for the name.

    Raises:
        OutputError: the name is taken, or the file cannot be read.
    """
    taken = [name for name in _asked(path, _TABLES) if name.lower() == layer.lower()]
    layers = _asked(path, "SELECT table_name FROM gpkg_contents")
    hint = "--layer gives it another name" if can_be_named else "choose another -o"
    for name in taken:
        if name not in layers:
            raise OutputError(f"{path} holds a table {name} of another program, no layer", hint)
        if name != layer:
            if can_be_named:
                hint = f"--layer {name} takes that one, --layer gives it another name"
            raise OutputError(
                f"{path} holds a layer {name}, whose name differs from {layer} in case only", hint
            )


def check_settled(path: Path) -> None:
    """Refuse a file that another program has not written to the end: what is missing would be lost.

    Raises:
        OutputError: a file beside it holds changes that are not in it yet, or not yet for good.
    """
    for ending in ("-wal", "-journal"):
        beside = path.with_name(path.name + ending)
        if _holds_changes(path, beside):
            raise OutputError(
                f"{path} is not whole without {beside.name}, changes that another program has "
                "yet to write into it",
                hint="close it there (or open and close it once, as in QGIS), or choose another -o",
            )


def _holds_changes(path: Path, beside: Path) -> bool:
    try:
        if not beside.is_file() or not beside.stat().st_size:
            return False
        if beside.name.endswith("-wal"):
            return True
        with beside.open("rb") as file:
            return file.read(len(_HOT)) == _HOT or _is_being_changed(path)
    except OSError:  # nobody knows what is in it
        return True


def _is_being_changed(path: Path) -> bool:
    """Whether another program has begun a change, of which nothing is in the file yet."""
    address = f"{path.resolve().as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as base:
            base.execute("BEGIN IMMEDIATE")  # what only one can; closing takes it back
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:  # none at all
        return False
    return False


def _asked(path: Path, statement: str, *values: str) -> list[str]:
    """The first column of what a query finds, as texts; nothing where the file is no database."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            return [str(value or "") for value, *_ in base.execute(statement, values)]
    except sqlite3.OperationalError as error:  # locked, say
        raise OutputError(
            f"{path} cannot be read: {error}", hint="close it in other programs, or another -o"
        ) from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:  # something else of that name
            return []
        raise OutputError(
            f"{path} is damaged, and what else is in it would be lost: {error}",
            hint="move it away, or choose another -o",
        ) from error

"""What a person sees: progress on stderr, reports on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from geotiler.cli import session
from geotiler.cli.bars import listener
from geotiler.progress import Event, Reporter, silent

_UNITS = {"_bytes": "MB", "_m2": "m²", "_px": "px", "_m": "m", "_deg": "°"}
"""Ending of a name → the unit of its value."""

_FORMS = {
    "shape": "{0:,} rows × {1:,} columns",
    "cells": "{0:,} rows × {1:,} columns",
    "scale": "{0:g} to {1:g}",
    "values": "{0:g} to {1:g}",
    "block_px": "{0:,} rows × {1:,} columns",
    "tile_px": "{0:,} rows × {1:,} columns",
    "network_px": "{0:,} rows × {1:,} columns",
    "gsd_m": "{0:,.4g} m in x, {1:,.4g} m in y",
    "ground_m": "{1:,.0f} m wide, {0:,.0f} m high",
    "area_cells": "{2:,} × {3:,} cells from row {0}, column {1}",
    "area_px": "{2:,} × {3:,} px from row {0}, column {1}",
    "bounds": "{0:.10g},{1:.10g},{2:.10g},{3:.10g} (left,bottom,right,top)",
    "bounds_lonlat": "{0:.6f},{1:.6f},{2:.6f},{3:.6f} (west,south,east,north)",
}
"""Name of several numbers → how they are told."""

_NUMBERS = {
    "seam_index": ("seam index", "{:g} (steps across tile lines over steps elsewhere; 1: no seam)"),
    "mpx_per_s": ("speed", "{:.3g} Mpx/s"),
    "dropped": ("dropped", "{:,} smaller than --min-area"),
    "sieved": ("sieved", "{:,} patches smaller than --sieve"),
    "separated": ("separated", "{:,} are parts of patches"),
    "filled_holes": ("filled holes", "{:,} smaller than --min-hole"),
}
"""Name of a number → what it is called in a table, and how it is told."""

_ORIGINS = {
    "flag": "by flag",
    "scene": "from the scene",
    "model card": "from the model card",
    "default": "by default",
}
_ORIGINS_OF = {
    "gsd_m": {"scene": "from the scene's georeference"},
    "tile_px": {"scene": "fitted to the scene"},
    "overlap_px": {"tile": "fitted to the tile"},
    "network_px": {"scene": "the scene at the model's resolution"},
    "scale": {"scene": "measured in the scene"},
}
"""Setting → words that say more."""


@contextmanager
def reporter(quiet: bool) -> Iterator[Reporter]:
    """A reporter that writes to stderr: bars on a terminal, only notices elsewhere."""
    mode = session.current.progress
    if mode == session.Progress.NONE or (quiet and mode != session.Progress.JSON):
        yield silent
        return
    shown, heard = listener(mode), session.current.heard

    def hear(event: Event) -> None:
        heard(event)
        shown(event)

    try:
        yield hear
    finally:
        shown.close()


def emit(report: Mapping[str, Any], as_json: bool, title: str, *, detailed: bool = False) -> None:
    """Print a report on stdout, as JSON or as a table of two columns; a table not if quiet.

    With `--verbose`, or `detailed`, every setting is told with where it came from.
    """
    values = _with_origins(report)
    if as_json:
        print(json.dumps(values, indent=2, allow_nan=False), flush=True)
        return
    settings = values.pop("settings", None) or _typed_settings()
    if detailed or session.current.verbose:
        values |= told_settings(settings)
    emit_sections({title: values})


def told_settings(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Each setting, named as in a table, with its value and where it came from."""
    told = {}
    for key, one in settings.items():
        for name, text in _rows({key: one["value"]}):
            told[name] = f"{text} ({_source(key, one['origin'])})"
    return told


def _source(setting: str, origin: str) -> str:
    """Where a setting came from, as nobody takes it for a unit."""
    words = _ORIGINS.get(origin, f"from {origin}")
    return _ORIGINS_OF.get(setting, {}).get(origin, words)


def _typed_settings() -> dict[str, dict[str, Any]]:
    """What was set by flag, variable or file, where the task does not tell more."""
    now = session.current
    return {
        f"--{name}": {"value": now.values[name], "origin": where}
        for name, where in now.origins.items()
        if where != "default"
    }


def emit_sections(sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Print titled tables of two columns on stdout; nothing if quiet."""
    if session.current.quiet:
        return
    for title, report in sections.items():
        rows = list(_rows(report))
        if sys.stdout.isatty():
            _print_table(title, rows)
            continue
        # In a pipe or a file every row is one line, whatever its length.
        width = max((len(key) for key, _ in rows), default=0)
        print(title, *(f"{key:<{width}}  {value}" for key, value in rows), sep="\n", flush=True)


def print_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with a header; cells fold on a terminal, lines stay whole in a pipe.

    In a pipe a cell of several lines is joined with semicolons, so that `grep` and `cut` work.
    """
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for name in header:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))  # Text: a card may hold square brackets
        Console().print(table)
        return
    lines = [list(header), *([cell.replace("\n", "; ") for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        padded = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip(), flush=True)


def _with_origins(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report, "flag" replaced by the variable or the file that stood in for one."""
    values = dict(report)
    settings = values.get("settings")
    if isinstance(settings, Mapping):
        values["settings"] = {
            name: {**one, "origin": session.origin(name, one["origin"])}
            if isinstance(one, Mapping) and "origin" in one
            else one
            for name, one in settings.items()
        }
    return values


def _print_table(title: str, rows: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(key, Text(value))
    Console().print(table)


def _rows(values: Mapping[str, Any], prefix: str = "", unit: str = "") -> Iterator[tuple[str, str]]:
    """Name and text of each value; the unit that a name ends in goes behind the number."""
    for key, value in values.items():
        ending = next((each for each in _UNITS if key.endswith(each)), "")
        is_file = "." in key
        name = prefix + (key if is_file else key.removesuffix(ending).replace("_", " "))
        own = _UNITS.get(ending, unit)
        if value is None or (key.startswith("resumed") and not value):
            continue  # unknown, or nothing to speak of
        if isinstance(value, Mapping):
            yield from _rows(value, f"{name}: ", own)
        elif key in _NUMBERS and isinstance(value, int | float):
            yield _NUMBERS[key][0], _NUMBERS[key][1].format(value)
        elif _has_form(key, value):
            yield name, _FORMS[key].format(*value)
        else:
            yield name, _text(value, own)


def _has_form(key: str, value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and _FORMS.get(key, "").count("{") == len(value) > 0
        and all(isinstance(item, int | float) for item in value)
    )


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e6:,.0f} MB" if count >= 999_500 else f"{count / 1e3:.0f} KB"


def _text(value: Any, unit: str) -> str:
    """A value with its unit, where it is a number or several."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "MB" and isinstance(value, int):
        return _size(value)
    behind = f" {unit}" if unit else ""
    if isinstance(value, int):
        return f"{value:,}{behind}"
    if isinstance(value, float):
        return (f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}") + behind
    if not isinstance(value, list | tuple):
        return str(value)
    if unit and all(isinstance(item, int | float) for item in value):  # a size: 512 × 512 px
        return " × ".join(_text(item, "") for item in value) + behind
    return ", ".join(str(item) for item in value) or "none"

"""What a person sees: progress on stderr, reports on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from geotiler.cli import session
from geotiler.cli.bars import listener
from geotiler.progress import Reporter, silent


@contextmanager
def reporter(quiet: bool) -> Iterator[Reporter]:
    """A reporter that writes to stderr: bars on a terminal, only notices elsewhere."""
    mode = session.current.progress
    if mode == session.Progress.NONE or (quiet and mode != session.Progress.JSON):
        yield silent
        return
    heard = listener(mode)
    try:
        yield heard
    finally:
        heard.close()


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
        values |= {name: f"{one['value']} ({one['origin']})" for name, one in settings.items()}
    emit_sections({title: values})


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


def _rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_bytes", "").replace("_", " ")
        if value is None:
            continue
        if isinstance(value, Mapping):
            yield from _rows(value, f"{name}: ")
        elif key.endswith("_bytes"):
            yield name, f"{value / 1e6:,.0f} MB"
        elif isinstance(value, bool):
            yield name, "yes" if value else "no"
        elif isinstance(value, int):
            yield name, f"{value:,}"
        elif isinstance(value, float):
            yield name, f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
        elif isinstance(value, list | tuple):
            # Sizes are numbers: 4096 × 3072; anything else is a list.
            sizes = all(isinstance(item, int | float) for item in value)
            yield name, (" × " if sizes else ", ").join(str(item) for item in value) or "none"
        else:
            yield name, str(value)

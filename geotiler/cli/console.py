"""What a person sees: progress on stderr, reports on stdout."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from geotiler.progress import (
    Event,
    Notice,
    Reporter,
    StageAdvanced,
    StageFinished,
    StageStarted,
    silent,
)


class _Bars:
    """One tqdm bar per stage, with rate and remaining time."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._shown = sys.stderr.isatty()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Notice):
                self._say(event)
            elif self._shown and isinstance(event, StageStarted):
                from tqdm import tqdm

                self._bars[event.stage] = tqdm(
                    total=event.total, unit=f" {event.unit}", desc=event.stage, leave=False,
                    file=sys.stderr, dynamic_ncols=True, smoothing=0.05,
                )  # fmt: skip
            elif isinstance(event, StageAdvanced) and event.stage in self._bars:
                self._bars[event.stage].update(event.amount)
            elif isinstance(event, StageFinished) and event.stage in self._bars:
                self._bars.pop(event.stage).close()

    def _say(self, notice: Notice) -> None:
        text = f"{'warning: ' if notice.warning else ''}{notice.message}"
        if self._bars:
            next(iter(self._bars.values())).write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()


@contextmanager
def reporter(quiet: bool) -> Iterator[Reporter]:
    """A reporter that writes to stderr: bars on a terminal, only notices elsewhere."""
    if quiet:
        yield silent
        return
    bars = _Bars()
    try:
        yield bars
    finally:
        bars.close()


def emit(report: Mapping[str, Any], as_json: bool, title: str) -> None:
    """Print a report on stdout, as JSON or as a table of two columns."""
    if as_json:
        print(json.dumps(report, indent=2, allow_nan=False), flush=True)
        return
    rows = list(_rows(report))
    if not sys.stdout.isatty():  # in a pipe or a file every row is one line, whatever its length
        width = max((len(key) for key, _ in rows), default=0)
        print(title, *(f"{key:<{width}}  {value}" for key, value in rows), sep="\n", flush=True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(key, value)
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
            yield name, " × ".join(str(item) for item in value) or "none"
        else:
            yield name, str(value)

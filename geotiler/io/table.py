"""Tables for people and spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geotiler.io.outputs import replacing


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], *, overwrite: bool = False) -> None:
    """Write rows that have the same columns; None is an empty cell.

    Raises:
        OutputError: it cannot be written.
    """
    with (
        replacing(path, overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as text,
    ):
        table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)

"""Small results that are made in memory: tables and pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geotiler.errors import OutputError
from geotiler.io.outputs import replacing


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], *, overwrite: bool = False) -> None:
    """Write rows that have the same columns; None is an empty cell.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(path, text.getvalue().encode(), overwrite=overwrite)


def write_whole(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file at once.

    Raises:
        OutputError: it cannot be written, as on a full disk.
    """
    with replacing(path, overwrite) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise OutputError(f"output {path} cannot be written: {error.strerror}") from error

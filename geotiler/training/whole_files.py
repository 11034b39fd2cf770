"""Files of a run that are the new ones or the old ones, never half of either."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write a file: it takes the place of `path` at the end, or vanishes after an error.

    The temporary file lies beside its target. Elsewhere it may lie on another disk, and would be
    copied over the old file byte by byte.
    """
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")  # pictures go by the ending
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # some disks say only now that they are full
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

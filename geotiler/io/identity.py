"""What tells one input file from another, without its place or time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

_PART_BYTES = 2**20
_WHOLE_BYTES = 64 * 2**20


def shown_name(path: str) -> str:
    """A name for provenance: a relative path as it was given, the file name of any other."""
    if "://" in path or path.startswith("/vsi"):
        return path.split("?")[0].rsplit("/", 1)[-1]  # signed addresses hold secrets
    return (
        path if not Path(path).is_absolute() and ".." not in Path(path).parts else Path(path).name
    )


def identity(path: str) -> dict[str, Any]:
    """Name, size and SHA-256 of a file; beyond 64 MiB, of its first and last MiB.

    What is not a local file has its name only.
    """
    values: dict[str, Any] = {"name": shown_name(path)}
    files = [Path(path)]
    if files[0].suffix.lower() == ".shp":  # the attributes lie beside the outlines
        files.append(files[0].with_suffix(".dbf"))
    digest = hashlib.sha256()
    size = 0
    for file in files:
        if file.is_file():
            size += file.stat().st_size
            digest.update(_sample(file))
    if size:
        values["bytes"] = size
        values["sha256" if size <= _WHOLE_BYTES else "sha256_of_ends"] = digest.hexdigest()
    return values


def _sample(file: Path) -> bytes:
    digest = hashlib.sha256()
    size = file.stat().st_size
    with file.open("rb") as data:
        if size <= _WHOLE_BYTES:
            while block := data.read(_PART_BYTES):
                digest.update(block)
        else:
            digest.update(data.read(_PART_BYTES))
            data.seek(-_PART_BYTES, os.SEEK_END)
            digest.update(data.read(_PART_BYTES))
    return digest.digest()

"""What tells one scene from another, so that unfinished work is not mixed with other pixels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from geotiler.errors import InputError
from geotiler.io.raster import Scene
from geotiler.io.remote import shown

_MOST_FILES = 32
"""Virtual rasters of more files are told by a digest of what would be listed."""

_BLOCK_BYTES = 2**20

_NOT_PIXELS = (".aux.xml", ".ovr")
"""Sidecars that viewers write when they look at a scene; what matters in them is in the header."""


def scene_fingerprint(scene: Scene, hash_content: bool = False) -> dict[str, Any]:
    """Header of a scene, and its files: by path, size and time of change, or by their content.

    JSON values. Addresses lose their query and password. What is not a local file is told by its
    address and header alone.

    Args:
        scene: open.
        hash_content: read all files and take their SHA-256 in the place of path and time, so that
            a copied or touched scene is the same one.

    Raises:
        InputError: a file cannot be read.
    """
    header = {
        "size_px": list(scene.shape),
        "bands": scene.count,
        "types": sorted(set(scene.dtypes)),
        "nodata": str(scene.nodata),  # as text: NaN is not equal to itself
        "transform": [float(value) for value in tuple(scene.transform)[:6]],
        "crs": None if scene.crs is None else scene.crs.to_wkt(),
        "driver": scene.driver,
    }
    names = [name for name in scene.files if _tells(name)] or [scene.path]
    files: Any = [_file(name, hash_content) for name in names]
    if len(files) > _MOST_FILES:
        files = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {"file": files, **header}


def _tells(name: str) -> bool:
    return not name.endswith(_NOT_PIXELS) and not name.lstrip().startswith("<")


def _file(name: str, hash_content: bool) -> dict[str, Any]:
    path = Path(name)
    try:
        status = path.stat()
        if not path.is_file():
            return {"name": shown(name)}
        if hash_content:
            return {"bytes": status.st_size, "sha256": _sha256(path)}
    except OSError as error:
        if Path(name).exists():
            raise InputError(f"{name} cannot be read: {error.strerror}") from error
        return {"name": shown(name)}
    return {"path": str(path.resolve()), "bytes": status.st_size, "changed_ns": status.st_mtime_ns}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()

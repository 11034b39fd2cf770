"""What tells one scene from another, so that unfinished work is not mixed with other pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from geotiler.errors import InputError
from geotiler.io.raster import Scene, open_scene
from geotiler.io.remote import shown

_MOST_FILES = 32
"""Virtual rasters of more files are told by a digest of what would be listed."""

_BLOCK_BYTES = 2**20

_NOT_PIXELS = (".aux.xml", ".ovr")
"""Sidecars that viewers write when they look at a scene; what matters in them is in the header."""

_DEEPEST_VRT = 8


def scene_fingerprint(
    scene: Scene, hash_content: bool = False, overviews: bool = False
) -> dict[str, Any]:
    """Header of a scene, and its files: by path, size and time of change, or by their content.

    JSON values. Addresses lose their query and password. What is not a local file is told by its
    address and header alone.

    Args:
        scene: open.
        hash_content: read all files and take their SHA-256 in the place of path and time, so that
            a copied or touched scene is the same one.
        overviews: the pixels come from overviews, so that the files of these count.

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
    listed = [*scene.files, *_nested(scene.files, {scene.path}, _DEEPEST_VRT)]
    names = [
        name for name in dict.fromkeys(listed) if _tells(name) or (overviews and _is_overview(name))
    ] or [scene.path]
    files: Any = [_file(name, hash_content) for name in names]
    if len(files) > _MOST_FILES:
        files = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {"file": files, **header}


def _nested(names: Iterable[str], known: set[str], depth: int) -> Iterator[str]:
    """Files of the virtual rasters among some files, which GDAL lists for the first level only."""
    for name in names:
        if name in known or not depth or not name.lower().endswith(".vrt"):
            continue
        known.add(name)
        try:
            with open_scene(name) as inner:
                files = inner.files
        except InputError:  # whoever reads its pixels says so
            continue
        yield from files
        yield from _nested(files, known, depth - 1)


def _is_overview(name: str) -> bool:
    return name.endswith(".ovr")


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

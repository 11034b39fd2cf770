"""Arrays on disk that belong to an unfinished output: what was found of a piece of work.

They lie in `<output>.parts/`, as strips of rasters do, each under its name only when it is whole
on the disk.
"""

from __future__ import annotations

import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geotiler.errors import OutputError
from geotiler.io.parts import is_stored, on_the_disk, parts_folder

_WKB, _SIZES = "/wkb", "/sizes"


@dataclass(frozen=True, kw_only=True)
class ArrayPart:
    """Some arrays, stored in a file."""

    number: int
    bytes: int
    """Size of the file."""
    sha256: str
    """Of the file."""

    @property
    def name(self) -> str:
        """Of the file."""
        return f"a{self.number:06d}.npz"

    @classmethod
    def from_json(cls, values: Any) -> ArrayPart:
        """The part of `dataclasses.asdict`. Raises: ValueError: these are not the values of one."""
        if not isinstance(values, dict) or set(values) != {"number", "bytes", "sha256"}:
            raise ValueError("not a part")
        if not all(type(values[n]) is int and values[n] >= 0 for n in ("number", "bytes")):
            raise ValueError("not a count")
        return cls(number=values["number"], bytes=values["bytes"], sha256=str(values["sha256"]))


class ArrayParts:
    """Arrays of one output on their way."""

    def __init__(self, output: Path) -> None:
        """Args: output: the target, which the folder is named after; see `hold_parts`."""
        self.folder = parts_folder(output)

    def write(self, number: int, arrays: Mapping[str, NDArray[Any]]) -> ArrayPart:
        """The stored part of some arrays; of objects there may be geometries only.

        Raises:
            OutputError: the disk refuses.
        """
        path = self.folder / ArrayPart(number=number, bytes=0, sha256="").name
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **_plain(arrays))
            size, digest = on_the_disk(temporary)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(
                f"{path} cannot be written: {error.strerror or error}",
                hint="make room and run the same command again",
            ) from error
        return ArrayPart(number=number, bytes=size, sha256=digest)

    def holds(self, part: ArrayPart) -> bool:
        """Whether a part's file is there as it was written."""
        return is_stored(self.folder / part.name, part.bytes, part.sha256)

    def read(self, part: ArrayPart) -> dict[str, NDArray[Any]]:
        """The arrays of a stored part.

        Raises:
            OutputError: it is not there any more, or damaged.
        """
        path = self.folder / part.name
        try:
            with np.load(path, allow_pickle=False) as stored:
                return _with_geometries(dict(stored))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, shapely.GEOSException) as error:
            raise OutputError(f"{path} cannot be read: {error}", hint="--restart") from error


def _plain(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The same arrays, geometries as well-known binary, which keeps every bit of them."""
    plain: dict[str, NDArray[Any]] = {}
    for name, values in arrays.items():
        if values.dtype != object:
            plain[name] = values
            continue
        texts = shapely.to_wkb(values).tolist()
        plain[name + _WKB] = np.frombuffer(b"".join(texts), np.uint8)
        plain[name + _SIZES] = np.array([len(text) for text in texts], np.int64)
    return plain


def _with_geometries(plain: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What `_plain` was given."""
    arrays = {name: values for name, values in plain.items() if "/" not in name}
    for name in [name.removesuffix(_WKB) for name in plain if name.endswith(_WKB)]:
        data = plain[name + _WKB].tobytes()
        stops = np.cumsum(plain[name + _SIZES]).tolist()
        texts = [data[a:b] for a, b in zip([0, *stops], stops, strict=False)]
        geometries = np.empty(len(texts), object)
        geometries[:] = shapely.from_wkb(texts)
        arrays[name] = geometries
    return arrays

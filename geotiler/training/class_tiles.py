"""Labelled tiles of a folder or a zip archive, in memory: one folder of images per class.

An archive is read where it lies, member by member; nothing is unpacked.
"""

from __future__ import annotations

import contextlib
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from geotiler.errors import InputError

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
_LARGEST_TILE_BYTES = 4_000_000


@dataclass(frozen=True, kw_only=True)
class ClassTiles:
    """Tiles of one split."""

    names: tuple[str, ...]
    """File names, without folders."""
    images: NDArray[np.uint8]
    """(N, 3, H, W) RGB."""
    labels: NDArray[np.int64]
    """(N,) index of each tile's class."""


class TileSource:
    """The tiles of a folder or archive by name, unread."""

    def __init__(
        self, root: Path, members: dict[str, str], labels: dict[str, int], classes: Sequence[str]
    ) -> None:
        """Args: members: name → path below the root. labels: name → index of its class."""
        self.root = root
        self.classes = tuple(classes)
        self.labels = labels
        self._members = members

    @property
    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.labels)

    def counts(self) -> dict[str, int]:
        """Class → how many tiles it has."""
        found = np.bincount(list(self.labels.values()), minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, found, strict=True)}

    def read(self, names: Sequence[str], side_px: int) -> ClassTiles:
        """The tiles of these names, in their order.

        Raises:
            InputError: a name that is not there, or a file that is no image of that size.
        """
        self._check_known(names)
        images = np.empty((len(names), 3, side_px, side_px), np.uint8)
        for index, (name, content) in enumerate(self._raw(names)):
            images[index] = self._decoded(name, content, side_px)
        labels = np.array([self.labels[name] for name in names], np.int64)
        return ClassTiles(names=tuple(names), images=images, labels=labels)

    def contents(self, names: Sequence[str], side_px: int) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each tile, proven to be an image of that size; else as `read`."""
        self._check_known(names)
        for name, content in self._raw(names):
            self._decoded(name, content, side_px)
            yield name, content

    def _check_known(self, names: Sequence[str]) -> None:
        absent = [name for name in names if name not in self.labels]
        if absent:
            raise InputError(
                f"{len(absent)} of {len(names)} listed tiles are not in {self.root}, "
                f"the first is {absent[0]!r}",
                hint="tiles and lists must belong to one data set",
            )

    def _raw(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        with _opened(self.root) as content:
            for name in names:
                yield name, content(self._members[name])

    def _decoded(self, name: str, content: bytes, side_px: int) -> NDArray[np.uint8]:
        return _decoded(content, f"{self.root}: {self._members[name]}", side_px)


def open_tiles(root: Path, classes: Sequence[str]) -> TileSource:
    """What lies in a folder or archive.

    Args:
        root: a folder, or a .zip file.
        classes: names of the class folders, at any depth below the root.

    Raises:
        InputError: nothing there, no archive, a class without tiles, or a name that occurs twice.
    """
    if not root.exists():
        raise InputError(
            f"no training data at {root}: expected a folder or zip with one folder per class",
            hint="data.root=FOLDER_OR_ZIP names it; of geotiler data eurosat: --from",
        )
    members: dict[str, str] = {}
    labels: dict[str, int] = {}
    indices = {name: index for index, name in enumerate(classes)}
    for member in _listed(root):
        path = PurePosixPath(member)
        label = indices.get(path.parent.name)
        if label is None or path.suffix.lower() not in _IMAGE_SUFFIXES or path.name[0] == ".":
            continue
        if path.name in members:
            raise InputError(
                f"{root} holds two tiles of the name {path.name!r}: {members[path.name]} and "
                f"{member}"
            )
        members[path.name], labels[path.name] = member, label
    found = set(labels.values())
    missing = [name for name, index in indices.items() if index not in found]
    if missing:
        raise InputError(
            f"{root} has no tiles of {len(missing)} of {len(classes)} classes: "
            f"{', '.join(missing[:6])}",
            hint="expected one folder of images per class",
        )
    return TileSource(root, members, labels, classes)


def _listed(root: Path) -> list[str]:
    if root.is_dir():
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*"))
    try:
        with zipfile.ZipFile(root) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{root} is neither a folder nor a zip archive: {error}") from error
    for info in members:
        if _leaves(info):
            raise InputError(
                f"{root} is refused: its member {info.filename[:80]!r} points outside the archive",
                hint="fetch the archive anew from a source you trust",
            )
    return sorted(info.filename for info in members)


def _leaves(info: zipfile.ZipInfo) -> bool:
    """True for a member that unpacking would write elsewhere, or that is a link."""
    path = PurePosixPath(info.filename.replace("\\", "/"))
    link = stat.S_ISLNK(info.external_attr >> 16)
    return link or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]


@contextlib.contextmanager
def _opened(root: Path) -> Iterator[Callable[[str], bytes]]:
    """A function that reads a member of the folder or archive."""
    if root.is_dir():
        yield lambda member: _file_bytes(root / member)
        return
    with zipfile.ZipFile(root) as archive:

        def read(member: str) -> bytes:
            if archive.getinfo(member).file_size > _LARGEST_TILE_BYTES:
                raise InputError(f"{root}: {member} is too large for a tile")
            try:
                return archive.read(member)
            except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
                raise InputError(f"{root}: {member} cannot be read: {error}") from error

        yield read


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _decoded(content: bytes, source: str, side_px: int) -> NDArray[np.uint8]:
    """RGB (3, H, W)."""
    buffer = np.frombuffer(content, np.uint8)
    image = cv2.imdecode(buffer, cv2.IMREAD_COLOR) if len(buffer) else None
    if image is None:
        raise InputError(f"{source} is not an image that can be read")
    if image.shape != (side_px, side_px, 3):
        raise InputError(
            f"{source} has {image.shape[1]}×{image.shape[0]} px, expected {side_px}×{side_px}",
            hint="model.tile_px=N is the size of the tiles",
        )
    return np.asarray(image, np.uint8)[..., ::-1].transpose(2, 0, 1)

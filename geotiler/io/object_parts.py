"""Finished strips under a prefix of a bucket, and the one object they become.

A part is written as on a disk, into a temporary folder of whoever computed it, and put in one step.
At the end the parts are fetched into a temporary folder and assembled there as those of a local
output are, by the same code and to the same bytes; sidecars are put first, the target last.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geotiler.errors import OutputError
from geotiler.io.object_store import ObjectFolder
from geotiler.io.outputs import SIDECARS
from geotiler.io.part_layout import Part, RasterLayout, mosaic_text
from geotiler.io.parts import Parts, is_stored
from geotiler.io.styles import SUFFIX

_AT_ONCE = 8
_DIGEST = "sha256"
"""What a part is marked with; whoever else puts one knows nothing of it."""

_MARK = "geotiler"
"""What a finished raster is marked with: of which layout it is."""


class ObjectParts:
    """As `Parts`, of an output that is an address."""

    def __init__(self, output: Path, address: str, layout: RasterLayout) -> None:
        """Args: output: the target. address: of it, s3://bucket/name. layout: what it will be."""
        self.output = output
        self._name = output.name
        self._layout = layout
        self._beside = ObjectFolder(address.rpartition("/")[0])
        self._folder = parts_prefix(address)

    def write(self, row: int, col: int, values: NDArray[np.generic]) -> Part:
        """As `Parts.write`."""
        with self._local() as local:
            part = local.write(row, col, values)
            self._folder.put(part.name, local.folder / part.name, {_DIGEST: part.sha256})
        return part

    def kept(self, parts: Sequence[Part]) -> set[Part]:
        """Those of some parts that are there as they were put; the store vouches for their bytes.

        Nothing is fetched for that: what comes is checked when they are assembled.
        """
        sizes = self._folder.sizes()
        there = [part for part in parts if sizes.get(part.name) == part.bytes]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="geotiler-look") as pool:
            marks = list(pool.map(lambda part: self._folder.marks(part.name), there))
        found = zip(there, marks, strict=True)
        return {part for part, mark in found if mark and mark.get(_DIGEST) == part.sha256}

    def is_finished(self) -> bool:
        """Whether the target is there already, as these parts would make it but for its pixels."""
        marks = self._beside.marks(self._name)
        return marks is not None and marks.get(_MARK) == self._mark

    def is_there(self) -> bool:
        """Whether the target is there, of whatever making."""
        return self._beside.marks(self._name) is not None

    def assemble(
        self, placed: Sequence[Part], overwrite: bool, ready: Callable[[Path], None]
    ) -> None:
        """As `Parts.assemble`; what is `ready` is looked at before anything in the bucket changes.

        Parts that are not what was put, for one, are removed: the next run computes them again.
        """
        with self._local() as local:
            changed = [part.name for part in self._changed(placed, local.folder)]
            if changed:
                ready(local.folder / changed[0])
                self._folder.remove(changed)
                raise OutputError(
                    f"{self._folder.address}/{changed[0]} was changed since it was written",
                    hint="nothing else may write there; run the same command again",
                )
            # A style that is there decides about the new one, as it would on a disk.
            style = local.output.with_suffix(SUFFIX)
            before = style.read_bytes() if self._beside.fetch(style.name, style) else None
            local.assemble(placed, overwrite=True, ready=ready)
            there = self.is_there()
            if there and not overwrite:
                raise OutputError(
                    f"output {self._beside.address}/{self._name} exists already",
                    hint="--overwrite replaces it",
                )
            made = [path for path in local.output.parent.iterdir() if path.is_file()]
            for path in made:
                if path != local.output and not (path == style and path.read_bytes() == before):
                    self._beside.put(path.name, path)
            self._beside.put(self._name, local.output, {_MARK: self._mark})
            if there:
                stale = {self._name + suffix for suffix in SIDECARS} - {path.name for path in made}
                self._beside.remove(sorted(stale))

    @property
    def _mark(self) -> str:
        return hashlib.sha256(mosaic_text(self._layout, []).encode()).hexdigest()

    @contextmanager
    def _local(self) -> Iterator[Parts]:
        """The same output in a temporary folder of this machine."""
        try:
            with tempfile.TemporaryDirectory(prefix="geotiler-") as folder:
                local = Parts(Path(folder) / self._name, self._layout)
                local.folder.mkdir()
                yield local
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(
                f"temporary folder {tempfile.gettempdir()} cannot be used: {error.strerror}",
                hint="TMPDIR names another one",
            ) from error

    def _changed(self, parts: Sequence[Part], folder: Path) -> list[Part]:
        """Bring parts here; those that are not what was put there."""

        def is_whole(part: Part) -> bool:
            path = folder / part.name
            return self._folder.fetch(part.name, path) and is_stored(path, part.bytes, part.sha256)

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="geotiler-fetch") as pool:
            found = zip(parts, pool.map(is_whole, parts), strict=True)
            return [part for part, whole in found if not whole]


def parts_prefix(address: str) -> ObjectFolder:
    """Where the parts of an output lie while it is unfinished."""
    return ObjectFolder(f"{address}.parts")

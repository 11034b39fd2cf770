"""The rules for everything that is written: never overwrite unasked, whole or absent."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from geotiler.errors import OutputError, SpecError
from geotiler.io.remote import shown
from geotiler.io.work_folder import WorkFolder

_ADDRESS = re.compile(r"(s3|s3a|gs|gcs|az|abfss?|hdfs|https?|ftp)://|/vsi\w+/", re.IGNORECASE)

SIDECARS = (".aux.xml", ".ovr", ".msk")
"""What GDAL keeps beside a raster of the name."""


def check_output(path: Path, overwrite: bool, needed_bytes: int = 0) -> None:
    """Refuse a target that cannot be written, before any work is done.

    Args:
        path: the target.
        overwrite: an existing file may be replaced.
        needed_bytes: refuse a disk with less room.

    Raises:
        OutputError: it exists, is a folder, its folder is missing or not writable, or the disk
            is too small.
    """
    check_is_local(path)
    parent = path.parent
    try:
        if path.is_dir():
            raise OutputError(f"output {path} is a folder", hint="name a file with -o/--output")
        if path.exists() and not overwrite:
            raise OutputError(f"output {path} exists already", hint="--overwrite replaces it")
        if not parent.is_dir():
            raise OutputError(f"output folder {parent} does not exist", hint=f"mkdir -p {parent}")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise OutputError(f"output folder {parent} is not writable", hint="choose another -o")
        free_bytes = shutil.disk_usage(parent).free
    except OSError as error:  # a name too long, a folder that may not be entered
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"output {str(path)[:80]} cannot be written: {error.strerror}") from error
    if needed_bytes > free_bytes:
        raise OutputError(
            f"output {path} needs about {needed_bytes / 1e6:,.0f} MB of disk, "
            f"{parent} has {free_bytes / 1e6:,.0f} MB free",
            hint="choose another -o",
        )


def check_is_local(path: Path) -> None:
    """Refuse an address: a file there cannot be locked, nor appear all at once under its name.

    Raises:
        OutputError: it is one.
    """
    text = path.as_posix().replace(":/", "://", 1)  # as it was before it became a path
    if _ADDRESS.match(text):
        raise OutputError(
            f"output {shown(text)} is an address: outputs go to a folder of this machine, or one "
            "that machines share",
            hint="copy the file when it is there; only segment writes to s3://BUCKET/NAME itself",
        )


def check_not_read(path: Path, sources: Iterable[str], by: str = "the scene") -> None:
    """Refuse a target that is one of the files to be read, by what is told.

    Raises:
        SpecError: it is.
    """
    for source in sources:
        try:
            same = path.exists() and path.samefile(source)
        except OSError:  # the source is no file, or is not there
            same = False
        if same:
            raise SpecError(f"output {path} is read by {by}", hint="choose another name")


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary file beside the target that takes its place when the block ends well.

    The suffix is kept, since formats are chosen by it. On any error the temporary file is removed
    and the target stays as it was; what a killed run has left is removed by the next one.

    Raises:
        OutputError: as `check_output`; another run writes the same target; or the file system
            refuses.
    """
    check_output(path, overwrite)
    # A folder of its own, so that sidecar files of a driver vanish with it.
    folder = WorkFolder(path.with_name(f".{path.name}.part"), path)
    try:
        folder.clear()
        temporary = folder.path / path.name
        yield temporary
        existed = path.exists()
        if existed and not overwrite:  # it may have appeared meanwhile
            raise OutputError(f"output {path} exists already", hint="--overwrite replaces it")
        try:
            # Sidecars first: the target's own name appears only when everything is there.
            sidecars = [extra for extra in folder.entries() if extra != temporary]
            for extra in sidecars:
                os.replace(extra, path.parent / extra.name)
            _flush(temporary)
            os.replace(temporary, path)
            if existed:
                _remove_stale(path, {extra.name for extra in sidecars})
        except OSError as error:
            raise OutputError(f"output {path} cannot be written: {error.strerror}") from error
    finally:
        folder.remove()


def _flush(path: Path) -> None:
    """Wait until a file's bytes are on the disk: a name must not survive without them."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove_stale(path: Path, fresh: set[str]) -> None:
    """Remove what GDAL kept beside a file that was replaced: statistics and overviews of others."""
    for suffix in SIDECARS:
        sidecar = path.with_name(path.name + suffix)
        if sidecar.name not in fresh:
            sidecar.unlink(missing_ok=True)

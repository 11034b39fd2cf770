"""The rules for everything that is written: never overwrite unasked, whole or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from geotiler.errors import OutputError, SpecError


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


def check_not_read(path: Path, sources: Iterable[str]) -> None:
    """Refuse a target that is one of the files to be read.

    Raises:
        SpecError: it is.
    """
    for source in sources:
        try:
            same = path.exists() and path.samefile(source)
        except OSError:  # the source is no file, or is not there
            same = False
        if same:
            raise SpecError(f"output {path} is read by the scene", hint="choose another name")


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary file beside the target that takes its place when the block ends well.

    The suffix is kept, since formats are chosen by it. On any error the temporary file is removed
    and the target stays as it was.

    Raises:
        OutputError: as `check_output`; or the file system refuses.
    """
    check_output(path, overwrite)
    try:
        # A folder of its own, so that sidecar files of a driver vanish with it.
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise OutputError(f"output {path} cannot be written: {error.strerror}") from error
    try:
        temporary = folder / path.name
        yield temporary
        if path.exists() and not overwrite:  # it may have appeared meanwhile
            raise OutputError(f"output {path} exists already", hint="--overwrite replaces it")
        try:
            # Sidecars first: the target's own name appears only when everything is there.
            for extra in sorted(folder.iterdir()):
                if extra != temporary:
                    os.replace(extra, path.parent / extra.name)
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(f"output {path} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)

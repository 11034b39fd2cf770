"""Scenes as they are named on the command line: paths, patterns and lists."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from geotiler.errors import InputError, OutputError, SpecError

_LONGEST_LIST_BYTES = 64 * 2**20


def named_scenes(words: Sequence[str], list_file: Path | None) -> list[str]:
    """Scenes in the order in which they are named; those of a pattern by name.

    Args:
        words: paths, GDAL names, or patterns with * ? [ where no file is called so.
        list_file: a text file with one of these per line, relative to where the command runs as
            on the command line; empty lines and those that begin with # say nothing.

    Raises:
        SpecError: nothing is named.
        InputError: a pattern matches nothing, or the list cannot be read.
    """
    names = [*words, *([] if list_file is None else _listed(list_file))]
    if not names:
        raise SpecError("no scene is named", hint="geotiler segment scene.tif -o mask.tif")
    found: dict[str, None] = {}  # a scene that is named twice is segmented once
    for name in names:
        found.update(dict.fromkeys(_matching(name)))
    return list(found)


def told_of(message: str, path: str, shown: str | None = None) -> str:
    """An error of one among several, which names it once.

    Args:
        message: the error.
        path: of the one, as it was named.
        shown: what it is called where the message does not name it; None: `path`.
    """
    return message if is_named(message, path) else f"{shown or path}: {message}"


def is_named(message: str, path: str) -> bool:
    """Whether a path stands in a message, and not as a part of another one."""
    return bool(re.search(rf"(?<![\w./-]){re.escape(path)}(?!\w|\.\w)", message))


def _listed(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _LONGEST_LIST_BYTES:
            raise InputError(f"{path} is no list of scenes: it has {path.stat().st_size:,} bytes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except InputError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise InputError(f"list of scenes {path} cannot be read: {reason}") from error
    names = [line.strip() for line in lines]
    found = [name for name in names if name and not name.startswith("#")]
    if not found:
        raise InputError(f"list of scenes {path} names none")
    for name in found:
        _check_place(name, path)
    return found


def _check_place(name: str, listed: Path) -> None:
    """Raises: InputError: a file that lies beside its list, and not where the command runs."""
    try:
        beside = listed.parent / name
        is_misplaced = not Path(name).exists() and beside.exists()
    except (OSError, ValueError):  # no name of a file: whoever opens it says so
        return
    if is_misplaced:
        raise InputError(
            f"no such file: {name}, which {listed} names; it lies beside the list",
            hint=f"names are relative to where the command runs: cd {listed.parent}",
        )


def _matching(name: str) -> list[str]:
    is_pattern = any(mark in name for mark in "*?[") and "://" not in name
    try:
        if not is_pattern or name.startswith(("/vsi", "<")) or Path(name).exists():
            return [name]
        found = sorted(glob.glob(name, recursive=True))
    except (OSError, ValueError):  # no name of a file: whoever opens it says so
        return [name]
    if not found:
        raise InputError(f"no file matches {name}")
    return found


def made_folder(folder: Path | None, *, only_check: bool = False) -> None:
    """Make a folder for outputs if it is not there, or only see whether it could be.

    Raises:
        OutputError: it cannot be.
    """
    if folder is None:
        return
    # After the flags are checked: it loads GDAL.
    from geotiler.io.object_store import address_of
    from geotiler.io.outputs import check_is_local

    if address_of(folder):  # names of objects need none
        return
    check_is_local(folder)
    try:
        if only_check and not folder.is_dir():
            if folder.exists():
                raise FileExistsError
            if not folder.absolute().parent.is_dir():
                raise FileNotFoundError
        elif not only_check:
            folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise OutputError(
            f"output {folder} is a file", hint="several scenes need a folder, as -o out/"
        ) from error
    except FileNotFoundError as error:
        raise OutputError(
            f"output folder {folder.parent} does not exist", hint=f"mkdir -p {folder.parent}"
        ) from error
    except OSError as error:
        raise OutputError(f"output folder {folder} cannot be made: {error.strerror}") from error

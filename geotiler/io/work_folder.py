"""A folder beside a target for what is not finished yet, which one run at a time may use.

The hold on it is a lock of the operating system, which ends with the process however that ends:
no kill leaves one behind. Process and machine are noted beside it for the message only.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from geotiler.errors import OutputError
from geotiler.io.journal import JOURNAL

LOCK = "lock"
OWNER = "owner.json"

_TRIES = 5
"""Another run may remove the folder between making it and locking it."""


class WorkFolder:
    """A folder that is held until `leave` or `remove`.

    An empty one of its name, whoever made it, is taken over and goes with it: a kill may leave one,
    and nobody could tell it from another.
    """

    def __init__(self, path: Path, target: Path) -> None:
        """Args: path: the folder; made if it is missing. target: what is named in messages.

        Raises:
            OutputError: another run holds it, or it cannot be made or locked.
        """
        self.path = path
        self._lock = filelock.FileLock(
            path / LOCK, timeout=0, thread_local=False, fallback_to_soft=False
        )
        for attempt in range(1, _TRIES + 1):
            try:
                path.mkdir(exist_ok=True)
                self._lock.acquire()
                break
            except filelock.Timeout as error:
                raise OutputError(
                    f"output {target} is being written by another run{_owner(path)}",
                    hint="wait for it, or choose another -o",
                ) from error
            except FileNotFoundError as error:
                if attempt == _TRIES:
                    raise OutputError(f"{path} cannot be made: {error.strerror}") from error
            except OSError as error:
                raise OutputError(f"{path} cannot be made: {error.strerror}") from error
        try:
            owner = {"process": os.getpid(), "host": platform.node()}
            (path / OWNER).write_text(json.dumps(owner), encoding="utf-8")
        except OSError as error:
            self.leave()
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error

    @property
    def place(self) -> str:
        """The folder, for messages."""
        return str(self.path)

    def check(self) -> None:
        """Nothing: what the operating system has locked is not taken."""

    def confirm(self) -> None:
        """Nothing, as `check`."""

    def entries(self) -> list[Path]:
        """What the folder holds besides the lock."""
        return sorted(p for p in self.path.iterdir() if p.name not in (LOCK, OWNER))

    def clear(self) -> None:
        """Remove what it holds.

        Raises:
            OutputError: something cannot be removed.
        """
        try:
            for entry in self.entries():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be emptied: {error.strerror}") from error

    def leave(self) -> None:
        """Let go of the folder; what it holds stays."""
        self._end(remove=self._lock.is_locked and not self.entries())

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        self._end(remove=True)

    def _end(self, remove: bool) -> None:
        if not self._lock.is_locked:
            return
        if remove:
            # The journal last: while there is anything, it tells what it is.
            for entry in sorted(self.entries(), key=lambda entry: entry.name == JOURNAL):
                shutil.rmtree(entry, ignore_errors=True)
                _unlink(entry)
        _unlink(self.path / OWNER)
        # While it is held where the system lets one: nobody can then take a lock that is about
        # to lose its name.
        _unlink(self.path / LOCK)
        if remove:
            _rmdir(self.path)
        self._lock.release()
        if os.name == "nt":  # where an open file cannot be removed
            _unlink(self.path / LOCK)
            if remove:
                _rmdir(self.path)


@contextmanager
def held(target: Path) -> Iterator[None]:
    """A target that no other run may write while the block lasts.

    Raises:
        OutputError: another run does, or its folder cannot be written.
    """
    folder = WorkFolder(target.absolute().with_name(f".{target.name}.part"), target)
    try:
        yield
    finally:
        folder.remove()


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # what cannot be removed is taken over by the next run
        return


def _rmdir(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:  # already gone, or another run has it by now
        return


def _owner(path: Path) -> str:
    """Who holds a folder, as far as it is told."""
    try:
        owner = json.loads((path / OWNER).read_text(encoding="utf-8"))
        return f" (process {int(owner['process'])} on {str(owner['host'])[:80]})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""

"""What a run has finished, one line at a time, so that the next one can go on.

The first line tells what the work is made from; the others are added as they come true, each on
the disk before the next one begins. A line that a crash cut off is as if it had never been.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from geotiler.errors import OutputError
from geotiler.io.differences import difference

JOURNAL = "journal.jsonl"
_VERSION = 1


class OtherRunError(OutputError):
    """What is there of an unfinished run was made from something else."""

    @classmethod
    def of(cls, folder: Path | str, difference: str) -> OtherRunError:
        """The error that says where, and what differs."""
        return cls(
            f"{folder} holds an unfinished run with other settings: {difference}",
            hint="--restart drops it and begins anew; or give its settings to go on with it",
        )


class AnyJournal(ABC):
    """The journal of one piece of work, wherever it is kept."""

    place: str
    """Where, for messages."""

    @abstractmethod
    def _content(self) -> bytes:
        """All that is there; nothing where there is none."""

    @abstractmethod
    def begin(self, made_from: Mapping[str, Any], lines: list[dict[str, Any]]) -> None:
        """Replace the journal, in one step, by a new one that holds these lines already.

        Raises:
            OutputError: the disk, or store, refuses.
        """

    @abstractmethod
    def append(self, values: Mapping[str, Any]) -> None:
        """Add a line; it is kept when this returns.

        Raises:
            OutputError: the disk, or store, refuses.
        """

    @staticmethod
    def header(made_from: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the first line."""
        return {"journal": _VERSION, "made_from": made_from}

    def read(self) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """What the work is made from (None where nothing can be gone on from), and its lines."""
        content = self._content()
        found: list[dict[str, Any]] = []
        # Not splitlines: that would also split at characters inside of texts.
        for line in content.split(b"\n")[:-1]:  # the last piece is empty, or was cut off
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(values, dict):
                break
            found.append(values)
        if not found or found[0].get("journal") != _VERSION:
            return None, []
        made_from = found[0].get("made_from")
        return (made_from, found[1:]) if isinstance(made_from, dict) else (None, [])

    def lines_from(self, made_from: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Lines of work that is made from the same; none where nothing can be gone on from.

        Raises:
            OtherRunError: it is made from something else.
        """
        before, lines = self.read()
        if before is None or not lines:
            return []
        other = difference(before, made_from)
        if other:
            raise OtherRunError.of(self.place, other)
        return lines


class Journal(AnyJournal):
    """A journal in a file."""

    def __init__(self, path: Path, *, lasting: bool = True) -> None:
        """Args: path: the file; need not be there. lasting: wait until the disk has each line."""
        self.path = path
        self._lasting = lasting
        self.place = str(path.parent)

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def begin(self, made_from: Mapping[str, Any], lines: list[dict[str, Any]]) -> None:
        """As `AnyJournal.begin`."""
        temporary = self.path.with_name(f"{self.path.name}.new")
        header = self.header(made_from)
        try:
            with temporary.open("wb") as file:
                file.writelines(journal_line(values) for values in (header, *lines))
                file.flush()
                self._wait(file)
            temporary.replace(self.path)
        except OSError as error:
            raise self._refused(error) from error

    def append(self, values: Mapping[str, Any]) -> None:
        """As `AnyJournal.append`."""
        try:
            with self.path.open("ab", buffering=0) as file:
                line = journal_line(values)
                if file.write(line) != len(line):
                    raise OSError(28, "No space left on device")
                self._wait(file)
        except OSError as error:
            raise self._refused(error) from error

    def _wait(self, file: IO[bytes]) -> None:
        if self._lasting:
            os.fsync(file.fileno())

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.path} cannot be written: {error.strerror}",
            hint="make room and run the same command again",
        )


def journal_line(values: Mapping[str, Any]) -> bytes:
    """A line of a journal."""
    return (json.dumps(values, ensure_ascii=False) + "\n").encode()

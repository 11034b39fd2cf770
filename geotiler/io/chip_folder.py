"""The folder of a data set while it is made: what may be written there, and what was finished.

`dataset.json` is written last; where it is, the data set is complete. Before that a journal holds
one line for each finished row of chips, below a line that tells what they were made from.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geotiler.errors import OutputError
from geotiler.io.chips import SUFFIX, write_bytes
from geotiler.io.differences import difference
from geotiler.io.journal import OtherRunError
from geotiler.io.outputs import check_is_local

DESCRIPTION = "dataset.json"
INDEX = "index.parquet"
CONTACT_SHEET = "contact_sheet.png"
JOURNAL = ".journal.jsonl"
IMAGES, MASKS = "images", "masks"

_CHIP_NAME = re.compile(r"\.?.*_r\d{6,}_c\d{6,}\.tif(\.part)?")
_LISTS = ("train.txt", "val.txt", "test.txt", "all.txt")


@dataclass(frozen=True, kw_only=True)
class ChipRecord:
    """One chip that was written."""

    name: str
    scene: int
    """Number of the scene, from 0."""
    row: int
    col: int
    height: int
    width: int
    block: tuple[int, int]
    valid_px: int
    labelled_px: int
    class_px: dict[int, int]

    @property
    def has_objects(self) -> bool:
        """True if a pixel belongs to a class."""
        return bool(self.class_px)


@dataclass(frozen=True, kw_only=True)
class RowRecord:
    """A finished row of chips of one panel of a scene."""

    scene: int
    panel: int
    row: int
    """First row of its chips."""
    chips: list[ChipRecord]
    left_out: dict[str, int] = field(default_factory=dict)
    """Reason → chips that were not written."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What an output folder holds already."""

    rows: list[RowRecord]
    """Finished by an earlier run of the same command."""
    finished: dict[str, Any] | None
    """The description of the data set if it is complete."""


class ChipFolder:
    """A data set that is being written."""

    def __init__(self, root: Path, has_masks: bool) -> None:
        """Args: root: the folder. has_masks: there are labels."""
        self.root = root
        self._folders = [root / IMAGES, *([root / MASKS] if has_masks else [])]
        self._journal = root / JOURNAL

    def image(self, name: str) -> Path:
        """Path of a chip's image."""
        return self.root / IMAGES / f"{name}{SUFFIX}"

    def mask(self, name: str) -> Path:
        """Path of a chip's mask."""
        return self.root / MASKS / f"{name}{SUFFIX}"

    def check(self, made_from: Mapping[str, Any], overwrite: bool, restart: bool = False) -> Opened:
        """What an earlier run has left, before anything is written.

        Args:
            made_from: what decides the chips, as JSON values.
            overwrite: a data set that is there may be replaced.
            restart: what is there of an unfinished one is dropped.

        Raises:
            OutputError: the folder is something else, or was made from other things.
        """
        root = self.root
        check_is_local(root)
        if not root.exists():
            parent = root.absolute().parent
            if not parent.is_dir():
                raise OutputError(
                    f"output folder {root.parent} does not exist", hint=f"mkdir -p {root.parent}"
                )
            return Opened(rows=[], finished=None)
        if not root.is_dir():
            raise OutputError(f"output {root} is a file", hint="-o/--output takes a folder")
        if not os.access(root, os.W_OK | os.X_OK):
            raise OutputError(f"output folder {root} is not writable", hint="choose another -o")
        finished, header, rows = self._description(), *self._journalled()
        before = finished["made_from"] if finished else header
        if before is None:
            if any(root.iterdir()):
                raise OutputError(
                    f"output {root} holds files and is no data set of geotiler",
                    hint="choose another -o/--output, or empty the folder",
                )
            return Opened(rows=[], finished=None)
        # Through JSON, as what was read went: tuples become lists.
        other = difference(before, json.loads(json.dumps(made_from)))
        if restart and not finished:
            return Opened(rows=[], finished=None)
        if overwrite and (other or finished):  # otherwise an interrupted run, which goes on
            return Opened(rows=[], finished=None)
        if other and not finished:
            raise OtherRunError.of(root, other)
        if other:
            raise OutputError(
                f"output {root} is a data set made from other things: {other}",
                hint="--overwrite replaces it, or choose another -o/--output",
            )
        return Opened(rows=rows, finished=finished)

    def begin(self, made_from: Mapping[str, Any], opened: Opened) -> None:
        """Make the folders; without rows to go on from, remove an earlier data set first."""
        try:
            self.root.mkdir(exist_ok=True)
            if not opened.rows:
                self._clear()
            for folder in self._folders:
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.root} cannot be written: {error.strerror}") from error
        if not opened.rows:
            write_bytes(self._journal, _line({"made_from": made_from}))
        else:  # without the last line if that was cut off
            lines = [_line({"made_from": made_from}), *(_line(asdict(row)) for row in opened.rows)]
            write_bytes(self._journal, b"".join(lines))

    def finish_row(self, row: RowRecord) -> None:
        """Note that all chips of a row are on the disk."""
        try:
            with self._journal.open("ab") as journal:
                journal.write(_line(asdict(row)))
        except OSError as error:
            raise OutputError(
                f"{self._journal} cannot be written: {error.strerror}; what was finished is kept",
                hint="make room and run the same command again",
            ) from error

    def finish(self, description: Mapping[str, Any]) -> None:
        """Declare the data set complete."""
        text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_bytes(self.root / DESCRIPTION, text.encode())
        self._journal.unlink(missing_ok=True)
        for folder in self._folders:
            for path in folder.glob(".*.part"):  # of a run that was killed
                path.unlink()

    def write_list(self, name: str, chips: Iterable[str]) -> None:
        """A split list: one name per line, without suffix."""
        write_bytes(self.root / f"{name}.txt", "".join(f"{chip}\n" for chip in chips).encode())

    def listed(self) -> list[str]:
        """Names in all split lists."""
        lists = [self.root / name for name in _LISTS]
        texts = [path.read_text(encoding="utf-8") for path in lists if path.is_file()]
        return [name for text in texts for name in text.splitlines()]

    def abandon(self) -> None:
        """Remove everything, since nothing came of it."""
        self._clear()
        if not any(self.root.iterdir()):
            self.root.rmdir()

    def remove_chips(self, names: Iterable[str]) -> None:
        """Remove image and mask of chips."""
        for name in names:
            self.image(name).unlink(missing_ok=True)
            self.mask(name).unlink(missing_ok=True)

    def _description(self) -> dict[str, Any] | None:
        try:
            values = json.loads((self.root / DESCRIPTION).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return values if isinstance(values, dict) and "made_from" in values else None

    def _journalled(self) -> tuple[dict[str, Any] | None, list[RowRecord]]:
        """What the journal's chips are made from, and the rows whose chips are all there."""
        try:
            lines = self._journal.read_text(encoding="utf-8").splitlines()
        except OSError:
            return None, []
        header: dict[str, Any] | None = None
        rows: list[RowRecord] = []
        for line in lines:
            try:
                values = json.loads(line)
            except ValueError:  # cut off by a kill
                break
            if header is None:
                header = values.get("made_from")
                continue
            row = _row(values)
            if all(self._is_there(chip.name) for chip in row.chips):
                rows.append(row)
        return header, rows

    def _is_there(self, name: str) -> bool:
        return all((folder / f"{name}{SUFFIX}").is_file() for folder in self._folders)

    def is_complete(self, names: Iterable[str]) -> bool:
        """Whether the files of all chips are there."""
        return all(self._is_there(name) for name in names)

    def _clear(self) -> None:
        """Remove what a data set consists of, and nothing else."""
        for folder in (self.root / IMAGES, self.root / MASKS):
            if folder.is_dir():
                for path in folder.iterdir():
                    if _CHIP_NAME.fullmatch(path.name):
                        path.unlink()
                if not any(folder.iterdir()):
                    folder.rmdir()
        for name in (DESCRIPTION, INDEX, CONTACT_SHEET, JOURNAL, *_LISTS):
            (self.root / name).unlink(missing_ok=True)


def _line(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False) + "\n").encode()


def _row(values: dict[str, Any]) -> RowRecord:
    chips = [
        ChipRecord(
            **{
                **chip,
                "block": tuple(chip["block"]),
                "class_px": {int(key): count for key, count in chip["class_px"].items()},
            }
        )
        for chip in values["chips"]
    ]
    return RowRecord(**{**values, "chips": chips})

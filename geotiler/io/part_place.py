"""Where a raster in the making is kept: a folder beside it, or a prefix of a bucket.

Both keep parts, a journal and a hold that only one run has, in their own ways; whoever makes the
raster asks here, and need not know which it is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geotiler.errors import OutputError, SpecError
from geotiler.io.journal import JOURNAL, AnyJournal, Journal
from geotiler.io.object_lock import ObjectHold, ObjectJournal
from geotiler.io.object_parts import ObjectParts, parts_prefix
from geotiler.io.object_store import ObjectFolder, address_of, shown_address
from geotiler.io.outputs import check_output
from geotiler.io.part_layout import Part, RasterLayout, raster_driver
from geotiler.io.parts import Parts, PartsInMemory, hold_parts, parts_folder
from geotiler.progress import Reporter, silent


class RasterParts(Protocol):
    """The strips of one raster on their way to becoming it: `Parts` or `ObjectParts`."""

    output: Path

    def write(self, row: int, col: int, values: NDArray[np.generic]) -> Part:
        """The stored part of a finished rectangle (band, row, col)."""
        ...

    def kept(self, parts: Sequence[Part]) -> set[Part]:
        """Those of some parts that are there as they were written."""
        ...

    def is_finished(self) -> bool:
        """Whether the target is there already, as these parts would make it but for its pixels."""
        ...

    def is_there(self) -> bool:
        """Whether the target is there, of whatever making."""
        ...

    def assemble(
        self, placed: Sequence[Part], overwrite: bool, ready: Callable[[Path], None]
    ) -> None:
        """Turn the parts into the target, unless what hears that it is ready raises."""
        ...


class Hold(Protocol):
    """The place of a raster's parts, for this process alone: `WorkFolder` or `ObjectHold`."""

    @property
    def place(self) -> str:
        """Where that is, for messages."""
        ...

    def check(self) -> None:
        """Raises: TakenError: another run has taken it meanwhile, as far as is known."""
        ...

    def confirm(self) -> None:
        """Raises: TakenError: another run has taken it. OutputError: that cannot be known."""
        ...

    def leave(self) -> None:
        """Let go of it; what lies there stays."""
        ...

    def remove(self) -> None:
        """Remove everything that lies there, and let go of it."""
        ...


def raster_parts(output: Path, layout: RasterLayout, *, lasting: bool = True) -> RasterParts:
    """The parts of an output.

    Args:
        output: the target.
        layout: what it will be.
        lasting: False where they may be lost with the process, which is quicker.

    Raises:
        OutputError, MissingExtraError: an address of no use.
    """
    address = address_of(output)
    if address is not None:
        return ObjectParts(output, address, layout)
    return Parts(output, layout) if lasting else PartsInMemory(output, layout)


def hold_place(output: Path, report: Reporter = silent) -> Hold:
    """The place of an output's parts, for this process alone.

    Args:
        output: the target.
        report: hears where it takes a while to know whether another run lives.

    Raises:
        OutputError: another run holds it, it cannot be made, or it holds something else.
    """
    address = address_of(output)
    if address is None:
        return hold_parts(output)
    return ObjectHold(parts_prefix(address), address, report)


def part_journal(output: Path, *, lasting: bool = True) -> AnyJournal:
    """The journal beside the parts of an output. Args: lasting: as for `raster_parts`."""
    address = address_of(output)
    if address is None:
        return Journal(parts_folder(output) / JOURNAL, lasting=lasting)
    return ObjectJournal(parts_prefix(address))


def is_unfinished(output: Path) -> bool:
    """Whether an earlier run may have left parts of an output to go on from."""
    address = address_of(output)
    if address is None:
        return os.path.isdir(parts_folder(output))  # False where no folder can be called so
    return parts_prefix(address).marks(JOURNAL) is not None


def check_target(output: Path, overwrite: bool, needed_bytes: int = 0) -> None:
    """Refuse a raster that cannot be written, before any work is done.

    Args:
        output: the target.
        overwrite: an existing one may be replaced.
        needed_bytes: refuse a disk with less room; for an address that of temporary files.

    Raises:
        OutputError: it exists, has no format that is written, cannot be written, or the disk is
            too small.
        MissingExtraError: it is an address, and what writes there is not installed.
    """
    address = address_of(output)
    if address is None:
        check_output(output, overwrite, needed_bytes)
        raster_driver(output)
        return
    prefix, _, name = address.rpartition("/")
    beside = ObjectFolder(prefix)
    raster_driver(Path(name))
    beside.check()
    if not overwrite and beside.marks(name) is not None:
        raise OutputError(f"output {address} exists already", hint="--overwrite replaces it")
    folder = tempfile.gettempdir()
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise OutputError(
            f"output {address} needs about {needed_bytes / 1e6:,.0f} MB for temporary files, "
            f"{folder} has {free_bytes / 1e6:,.0f} MB free",
            hint="TMPDIR names another folder",
        )


def check_same_kind(outputs: Sequence[Path]) -> None:
    """Raises: SpecError: some outputs are addresses, others files."""
    if len({address_of(output) is None for output in outputs}) > 1:
        raise SpecError(
            "mask and probability go to the same place: both to s3://, or both to files",
            hint="--probability beside -o",
        )


def is_local(output: Path) -> bool:
    """Whether a target is a file, and no address."""
    return address_of(output) is None


def shown_target(output: Path) -> Path | str:
    """A target as it is named in reports and messages: an address has all of its slashes."""
    address = address_of(output)
    return output if address is None else shown_address(address)


def same_everywhere(output: Path) -> Path:
    """A target by a name that means the same in every folder."""
    return output if address_of(output) else output.absolute()

"""What is drawn of a mask, kept on the disk so that a run can go on.

Features lie in `<output>.parts/` as they were drawn, each by itself and in the order in which they
come, beside a journal whose head tells what they are made from, and whose lines tell up to where.
What is open at that point is not stored: the mask is read again from above it on, and of what comes
once more only that is taken which is not stored. That they keep off each other, their numbers and
the output are made anew from all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from geotiler import __version__
from geotiler.core.neighbours import Drawn, concatenated, drawn_features
from geotiler.core.outlines import Outlines, joined_outlines
from geotiler.io.array_parts import ArrayPart, ArrayParts
from geotiler.io.fingerprint import scene_fingerprint
from geotiler.io.journal import JOURNAL, Journal
from geotiler.io.parts import are_stored, hold_parts, parts_folder, told_files
from geotiler.io.vector_formats import STDOUT
from geotiler.progress import Kept, Notice, Reporter
from geotiler.specs import VectorizeSpec
from geotiler.tasks.vectorize_draw import Sized
from geotiler.tasks.vectorize_input import VectorizeInput

_NOT_SETTINGS = (
    "mask", "probability", "output", "overwrite", "restart", "hash_content",
    "workers", "classes", "append", "layer",
)  # fmt: skip
"""What does not change the features, or is told otherwise."""
_COLUMN = "of."
_MARK, _PART, _WRITTEN, _INTO = "mark", "part", "written", "into"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How far a run has come, and from where another one can go on."""

    reached: int = 0
    """Rows that were looked at."""
    row: int = 0
    """The strip that holds this row is the first that has to be read again. Whatever touches that
    strip's upper edge has come already."""
    done: int = -1
    """Place of the last feature that is stored; see `Outlines.places`."""
    small: int = 0
    """Features up to there that were too small to be drawn."""

    @classmethod
    def from_json(cls, values: Any) -> Mark:
        """The mark of `asdict`. Raises: ValueError: these are not the values of one."""
        if not isinstance(values, dict) or set(values) != set(cls.__dataclass_fields__):
            raise ValueError("not a mark")
        if not all(type(value) is int and -1 <= value < 1 << 63 for value in values.values()):
            raise ValueError("not the numbers of a mark")
        return cls(**values)


def arrays_of(
    tables: list[Drawn], open_bounds: NDArray[np.float64], row: int
) -> dict[str, NDArray[Any]]:
    """Features as arrays, for `drawn_of`; what was not known of others then goes with them."""
    whole = concatenated(tables)
    return {
        "rough": whole.rough,
        "drawn": whole.drawn,
        "status": whole.status,
        "open": open_bounds,
        "row": np.array(row),
        **{f"{_COLUMN}{name}": column for name, column in whole.columns.items()},
    }


def drawn_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[Drawn, NDArray[np.float64], int]:
    """What `arrays_of` was given."""
    columns = {
        name.removeprefix(_COLUMN): values
        for name, values in arrays.items()
        if name.startswith(_COLUMN)
    }
    drawn = drawn_features(arrays["rough"], arrays["drawn"], arrays["status"], columns)
    return drawn, arrays["open"], int(arrays["row"])


def arrays_of_sized(tables: list[Sized]) -> dict[str, NDArray[Any]]:
    """Outlines as arrays, for `sized_of`."""
    outlines = joined_outlines([table.outlines for table in tables])
    arrays = {f"{_COLUMN}{item.name}": getattr(outlines, item.name) for item in fields(outlines)}
    for name in ("pixel_size", "pixel_area", "filled"):
        arrays[name] = np.concatenate([getattr(table, name) for table in tables])
    return arrays


def sized_of(arrays: Mapping[str, NDArray[Any]]) -> Sized:
    """The outlines of `arrays_of_sized`."""
    outlines = {item.name: arrays[f"{_COLUMN}{item.name}"] for item in fields(Outlines)}
    return Sized(
        outlines=Outlines(**outlines),
        pixel_size=arrays["pixel_size"],
        pixel_area=arrays["pixel_area"],
        filled=arrays["filled"],
        small=np.empty(0, np.int64),
    )


class FeatureStore:
    """Features that are finished, from the first on; see `opened_features`."""

    def __init__(
        self,
        parts: ArrayParts,
        journal: Journal,
        height: int,
        lines: list[dict[str, Any]],
        into: list[Any],
    ) -> None:
        """Args: lines: of the journal, each with its files on the disk. into: see `_into`."""
        self._parts = parts
        self._journal = journal
        self._height = height
        self._into = into
        marks = [line for line in lines if _MARK in line]
        self._stored = [ArrayPart.from_json(line[_PART]) for line in marks if line[_PART]]
        self.mark = Mark.from_json(marks[-1][_MARK]) if marks else Mark()
        self.is_written = any(_WRITTEN in line for line in lines)
        """The output is there already: an earlier run was killed while it tidied up."""

    @property
    def share(self) -> str:
        """How much is finished, for a person."""
        return f"{100 if self.is_written else 100 * self.mark.reached / self._height:.0f} %"

    def read(self) -> Iterator[dict[str, NDArray[Any]]]:
        """What is stored, part by part."""
        for part in list(self._stored):
            yield self._parts.read(part)

    def keep(self, arrays: Mapping[str, NDArray[Any]] | None, mark: Mark) -> None:
        """Store what follows, if anything. Raises: OutputError: the disk refuses."""
        part = None
        if arrays is not None:
            part = self._parts.write(len(self._stored), arrays)
            self._stored.append(part)
        self._journal.append({_MARK: asdict(mark), _PART: None if part is None else asdict(part)})
        self.mark = mark

    def written(self, files: list[Path]) -> None:
        """Note what the output will be, just before it appears."""
        told = told_files({path.name: path for path in files})
        self._journal.append({_WRITTEN: told, _INTO: self._into})


@contextmanager
def opened_features(
    spec: VectorizeSpec, source: VectorizeInput, report: Reporter
) -> Iterator[FeatureStore | None]:
    """What there is to go on from, held for this run alone; None: features go to a stream.

    When the block ends well, it is removed. When it does not, what is finished stays for the next
    run.

    Raises:
        OutputError: another run writes the same output, or what is there was made from something
            else.
    """
    if spec.output == STDOUT:
        yield None
        return
    folder = hold_parts(Path(spec.output))
    try:
        store = _begun(spec, source)
    except BaseException:
        folder.leave() if folder.entries() else folder.remove()
        raise
    if store.mark.reached or store.is_written:
        report(Notice(message=f"{store.share} was finished by an earlier run, which goes on here"))
    try:
        yield store
    except BaseException:
        kept = store.mark.reached > 0
        folder.leave() if kept else folder.remove()
        if kept:
            message = f"what is finished ({store.share}) is kept in {folder.path}"
            report(Notice(message=f"{message}: run the same command again to go on"))
        report(Kept(share=store.mark.reached / source.scene.height if kept else 0.0))
        raise
    folder.remove()


def is_written(spec: VectorizeSpec) -> bool:
    """Whether the output is what an earlier run wrote, which was killed before it had tidied up.

    Looks at the journal, and at the files that it tells of.
    """
    if spec.output == STDOUT or spec.restart:
        return False
    _, lines = Journal(parts_folder(Path(spec.output)) / JOURNAL).read()
    return any(_is_there(line, spec) for line in lines)


def _begun(spec: VectorizeSpec, source: VectorizeInput) -> FeatureStore:
    """The store with its journal in order and without parts that are not as they were."""
    parts = ArrayParts(Path(spec.output))
    journal = Journal(parts.folder / JOURNAL)
    now = _made_from(spec, source)
    before = [] if spec.restart else journal.lines_from(now)
    # What the disk has lost is done again, with all that follows.
    lines = list(takewhile(lambda line: _is_held(line, parts), before))
    # Parts go first when a run tidies up: without them too, the output may be there.
    lines += [line for line in before if _is_there(line, spec)][:1]
    journal.begin(now, lines)
    return FeatureStore(parts, journal, source.scene.height, lines, _into(spec))


def _is_held(line: Mapping[str, Any], parts: ArrayParts) -> bool:
    """Whether a line of the journal tells of a mark whose part is stored."""
    try:
        Mark.from_json(line.get(_MARK))
        return line[_PART] is None or parts.holds(ArrayPart.from_json(line[_PART]))
    except (ValueError, KeyError):
        return False


def _is_there(line: Mapping[str, Any], spec: VectorizeSpec) -> bool:
    """Whether a line of the journal tells of the output, which has appeared and is unchanged."""
    target = Path(spec.output)

    def place(name: str) -> Path | None:
        path = target.parent / name
        return path if path.name == name and path.stem == target.stem else None

    told = line.get(_WRITTEN)
    if not isinstance(told, dict) or line.get(_INTO) != _into(spec):
        return False
    return target.name in told and are_stored(told, place)


def _into(spec: VectorizeSpec) -> list[Any]:
    """How features enter the output, for the journal."""
    return [spec.append, spec.layer]


def _made_from(spec: VectorizeSpec, source: VectorizeInput) -> dict[str, Any]:
    """Everything that decides the features, as JSON values."""
    probability = None
    if spec.probability is not None and source.probabilities is not None:
        probability = scene_fingerprint(source.probabilities.scene, spec.hash_content)
    settings = {name: value for name, value in asdict(spec).items() if name not in _NOT_SETTINGS}
    values = {
        "mask": scene_fingerprint(source.scene, spec.hash_content),
        "probability": probability,
        "classes": spec.classes and np.flatnonzero(source.kept).tolist(),
        **settings,
        "geotiler": __version__,
        "libraries": f"GEOS {shapely.geos_version_string}, PROJ {pyproj.proj_version_str}",
    }
    return dict(json.loads(json.dumps(values)))  # as a journal gives it back: tuples are lists

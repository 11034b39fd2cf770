"""What is labelled of a scene, kept on the disk so that a run can go on.

Rows of cells lie in `<output>.cells.parts/` beside a journal whose head tells what they were made
from. The map is made of them anew: that is quick, the network is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from geotiler import __version__
from geotiler.core.cells import FinishedCells
from geotiler.io.journal import JOURNAL, Journal
from geotiler.io.part_layout import Part, RasterLayout
from geotiler.io.parts import Parts, hold_parts, told_files
from geotiler.io.vector import STDOUT
from geotiler.models.predictor import Predictor
from geotiler.progress import Kept, Notice, Reporter
from geotiler.tasks.classify_plan import WRITTEN, ClassifyPlan, cells_output, own_outputs


class CellStore:
    """Rows of cells that are finished, from the first on; see `opened_cells`."""

    def __init__(self, parts: Parts, journal: Journal, stored: list[Part]) -> None:
        """Args: stored: parts on the disk, each below the one before."""
        self.own: tuple[Path, ...] = ()
        """Outputs of an earlier run that was killed on the way, which may be replaced."""
        self._parts = parts
        self._journal = journal
        self._stored = stored

    @property
    def rows(self) -> int:
        """How many rows of cells are finished."""
        return sum(part.height for part in self._stored)

    def read(self) -> Iterator[FinishedCells]:
        """The rows that are finished."""
        for part in list(self._stored):
            values = self._parts.read(part)
            known = np.isfinite(values[0])
            np.copyto(values, np.float32(0), where=~known)
            yield FinishedCells(row=part.row, probabilities=values, known=known)

    def written(self, name: str, path: Path) -> None:
        """Note an output that is about to appear, with its file so far."""
        self._journal.append({WRITTEN: told_files({name: path})})

    def keep(self, rows: FinishedCells) -> None:
        """Store the rows that follow. Raises: OutputError: the disk refuses."""
        values = rows.probabilities.copy()
        np.copyto(values, np.float32(np.nan), where=~rows.known)
        part = self._parts.write(rows.row, 0, values)
        self._journal.append(asdict(part))
        self._stored.append(part)


@contextmanager
def opened_cells(
    plan: ClassifyPlan, predictor: Predictor, report: Reporter
) -> Iterator[CellStore | None]:
    """What there is to go on from, held for this run alone; None: the map goes to a stream.

    When the block ends well, it is removed. When it does not, finished rows stay for the next run.

    Raises:
        OutputError: another run makes the same map, or what is there was made from something else.
    """
    if plan.spec.output == STDOUT:
        yield None
        return
    parts = Parts(cells_output(plan.spec), _layout(plan))
    folder = hold_parts(parts.output)
    try:
        store = _begun(plan, parts, _made_from(plan, predictor))
    except BaseException:
        folder.leave() if folder.entries() else folder.remove()
        raise
    height = plan.map.shape[0]
    if store.rows:
        share = f"{100 * store.rows / height:.0f} %"
        report(Notice(message=f"{share} was finished by an earlier run, which goes on here"))
    try:
        yield store
    except BaseException:
        folder.leave() if store.rows else folder.remove()
        if store.rows:
            kept = f"what is finished ({100 * store.rows / height:.0f} %) is kept in {folder.path}"
            report(Notice(message=f"{kept}: run the same command again to go on"))
        report(Kept(share=store.rows / height))
        raise
    folder.remove()


def _begun(plan: ClassifyPlan, parts: Parts, now: dict[str, Any]) -> CellStore:
    """The store with its journal in order and without rows whose files are not as they were."""
    journal = Journal(parts.folder / JOURNAL)
    stored: list[Part] = []
    row = 0
    # Before anything else: whose settings are refused, whose outputs are nobody's.
    lines = [] if plan.spec.restart else journal.lines_from(now)
    own = own_outputs(plan.spec)
    for values in lines:
        if WRITTEN in values:
            continue
        try:
            part = Part.from_json(values)
        except ValueError:  # the disk lost it: from here on it is done again
            break
        if part.row != row or part.width != plan.map.shape[1] or not parts.holds(part):
            break
        stored.append(part)
        row += part.height
    told = [values for values in lines if WRITTEN in values] if own else []
    journal.begin(now, [*(asdict(part) for part in stored), *told])
    store = CellStore(parts, journal, stored)
    store.own = tuple(own)
    return store


def _made_from(plan: ClassifyPlan, predictor: Predictor) -> dict[str, Any]:
    """Everything that decides the probabilities of cells, as JSON values."""
    values = {
        "scene": plan.scene,
        "model": [plan.bundle.card.name, plan.bundle.card.version, plan.bundle.digest],
        **{name: setting.value for name, setting in plan.settings.items()},
        "cells": plan.map.shape,
        "batch": predictor.batch,
        "backend": predictor.name,
        "geotiler": __version__,
    }
    if predictor.name.startswith("torch"):  # whose answers depend on them, in the last digit
        values["threads"] = plan.spec.run.threads
    return dict(json.loads(json.dumps(values)))  # as a journal gives it back: tuples are lists


def _layout(plan: ClassifyPlan) -> RasterLayout:
    return RasterLayout(
        shape=plan.map.shape,
        dtype="float32",
        nodata=float("nan"),
        transform=plan.map.transform,
        bands=tuple(plan.names),
        categorical=False,
    )

"""`geotiler data`: a data set to train on, counted and split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from geotiler.progress import Notice, Reporter, silent
from geotiler.reports import Report
from geotiler.specs import EurosatSpec


@dataclass(frozen=True, kw_only=True)
class EurosatReport(Report):
    """What lies in the folder now."""

    output: Path
    counts: Mapping[str, int]
    """Class → tiles."""
    spatial: Mapping[str, int] | None
    """Part → tiles of the spatial split; None: its lists were not found."""
    random: Mapping[str, int]
    """Part → tiles of the stratified random split."""
    seconds: float


def eurosat(spec: EurosatSpec, *, report: Reporter = silent) -> EurosatReport:
    """The EuroSAT tiles in a folder, from a local copy or downloaded.

    Raises:
        InputError: the download fails; or the source is damaged, incomplete or no EuroSAT.
        OutputError: the folder exists already, or cannot be written.
    """
    from geotiler.training.eurosat import place_eurosat

    started = time.perf_counter()
    if spec.source is None:
        report(Notice(message="downloading EuroSAT, 90 MB"))
    placed = place_eurosat(
        spec.output,
        source=spec.source,
        lists=spec.lists,
        limit=spec.limit,
        subset=spec.subset,
        overwrite=spec.overwrite,
    )
    if placed.spatial is None:
        report(Notice(message="no lists of the spatial split found: --lists FOLDER names them"))
    return EurosatReport(
        output=spec.output,
        counts=placed.counts,
        spatial=placed.spatial,
        random=placed.random,
        seconds=time.perf_counter() - started,
    )

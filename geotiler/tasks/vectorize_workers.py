"""Outlines drawn in several processes, in the order in which they came."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import shapely

from geotiler.core.neighbours import Drawn
from geotiler.engines.ordered import ordered_map
from geotiler.engines.processes import processes
from geotiler.io.probability_sampler import ProbabilitySampler
from geotiler.io.raster import open_scene
from geotiler.specs import VectorizeSpec
from geotiler.tasks.vectorize_draw import Sized, draw
from geotiler.tasks.vectorize_input import VectorizeInput, probability_sampler
from geotiler.tasks.vectorize_separate import SEPARATED, separated_patches

_AHEAD = 2
"""Tables in work or done and not yet taken, for each process."""


def drawn_tables(
    tables: Iterable[Sized], spec: VectorizeSpec, source: VectorizeInput
) -> Iterator[Drawn]:
    """The features of each table, drawn; the same for any number of processes.

    Args:
        tables: what to draw.
        spec: how, and in how many processes.
        source: what the outlines come from.

    Raises:
        InputError: a file is not there any more when a process opens it.
        DeviceError: a process was lost.
    """
    contour, grain_px = source.contours, source.scene.grain_px
    if spec.workers == 1:
        # Threads would gain nothing: drawing is made of short calls that hold the interpreter.
        for table in tables:
            yield _table_drawn(table, spec, source.probabilities, contour, grain_px)
        return
    with processes(spec.workers, _begin, spec, source.is_own) as call:
        function = _in_process(call, contour, grain_px)
        ahead = _AHEAD * spec.workers
        yield from ordered_map(function, tables, threads=spec.workers, ahead=ahead)


def _table_drawn(
    table: Sized,
    spec: VectorizeSpec,
    sampler: ProbabilitySampler | None,
    contour: bool,
    grain_px: float,
) -> Drawn:
    """The features of a table; parted first, where that is asked for."""
    if not spec.separate or sampler is None:
        return draw(table, spec, sampler, contour=contour, grain_px=grain_px)
    table, outcome = separated_patches(table, spec, sampler)
    found = draw(table, spec, sampler, contour=contour, grain_px=grain_px)
    return replace(found, columns={**found.columns, SEPARATED: outcome})


def _in_process(
    call: Callable[..., Drawn], contour: bool, grain_px: float
) -> Callable[[Sized], Drawn]:
    def function(table: Sized) -> Drawn:
        found = call(_drawn, table, contour, grain_px)
        return replace(
            found, rough=shapely.from_wkb(found.rough), drawn=shapely.from_wkb(found.drawn)
        )

    return function


_told: list[tuple[VectorizeSpec, bool]] = []
"""What a process of its own was started with."""


def _begin(spec: VectorizeSpec, is_own: bool) -> None:
    _told.append((spec, is_own))


@functools.cache
def _opened() -> tuple[VectorizeSpec, ProbabilitySampler | None]:
    """What a process of its own has open for as long as it lives.

    Opened by the first call, whose errors are told; those of a process that begins are lost.
    """
    ((spec, is_own),) = _told
    return spec, probability_sampler(spec, open_scene(spec.mask), is_own=is_own)


def _drawn(table: Sized, contour: bool, grain_px: float) -> Drawn:
    spec, sampler = _opened()
    found = _table_drawn(table, spec, sampler, contour, grain_px)
    # A table of geometries travels one by one; as bytes they go together.
    return replace(found, rough=shapely.to_wkb(found.rough), drawn=shapely.to_wkb(found.drawn))

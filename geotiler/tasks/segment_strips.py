"""The work of `geotiler segment`, in pieces: some rows of a panel in, stored strips out.

The same function serves every engine: it needs a plan, a network and a folder, and what comes back
is small. Which rows it is given changes nothing in their pixels.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.arrays import HOST
from geotiler.core.masks import class_counts, class_ids, quantised
from geotiler.core.sweep import FinishedRows, SweepCounts, sweep
from geotiler.engines.ordered import map_here, ordered_map
from geotiler.io.part_layout import Part
from geotiler.models.predictor import Predictor
from geotiler.models.resident import Resident, resident_of
from geotiler.progress import Reporter, StageAdvanced, StageExpected, silent
from geotiler.specs import MASK_NODATA, Window
from geotiler.tasks.segment_plan import SegmentPlan, Stretch
from geotiler.tasks.segment_reading import EarlyRows, WantedReader, opened_reader

_ASSEMBLY_PER_STORE = 3.0
"""Time of making the finished file over that of storing its parts: about what a mask of 20 Mpx
took, compression and overviews included. Only the time left on a progress bar depends on it."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A finished rectangle of the result: where it is stored, and what was counted on the way."""

    mask: Part
    probability: Part | None
    class_px: Mapping[int, int]
    """Class id → pixels; ids that do not occur are left out."""
    computed: int
    """Windows given to the network since the strip before."""
    skipped: int
    """Windows without a valid pixel since the strip before."""
    seam_sums: tuple[tuple[float, float], tuple[float, float]]
    """See `SeamMeter`."""

    def as_json(self) -> dict[str, Any]:
        """The strip as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Strip:
        """The strip of `as_json`. Raises: ValueError: these are not the values of one."""
        try:
            probability = values["probability"]
            (a, b), (c, d) = values["seam_sums"]
            strip = cls(
                mask=Part.from_json(values["mask"]),
                probability=None if probability is None else Part.from_json(probability),
                class_px={int(key): _count(n) for key, n in values["class_px"].items()},
                computed=_count(values["computed"]),
                skipped=_count(values["skipped"]),
                seam_sums=((float(a), float(b)), (float(c), float(d))),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError("not a strip") from error
        sums = [value for pair in strip.seam_sums for value in pair]
        if not all(0 <= key <= MASK_NODATA for key in strip.class_px):
            raise ValueError("not the ids of classes")
        if not all(math.isfinite(value) for value in sums):
            raise ValueError("not finite")
        return strip


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"not a count: {value!r}"[:80])
    return value


def finished_strips(
    plan: SegmentPlan,
    stretch: Stretch,
    predictor: Predictor,
    report: Reporter = silent,
    early: EarlyRows | None = None,
) -> Iterator[Strip]:
    """Strips of a stretch, from top to bottom, each stored on the disk when it comes out.

    Reading runs ahead of the network in a thread of its own. On a GPU arrays stay there until rows
    are decided, unless they are resampled; then several threads read, and several store.

    Args:
        plan: of the scene.
        stretch: the rows and columns to answer for.
        predictor: the plan's network.
        report: hears how many windows are dealt with, and what writing will take.
        early: rows that are being read already.

    Raises:
        InputError: the scene is damaged there.
        OutputError: the disk refuses.
        ModelError, DeviceError: the network fails.
    """

    def advanced(windows: int) -> None:
        report(StageAdvanced(stage="segment", amount=windows))

    sweep_plan = plan.sweep_plan(stretch, predictor.batch)
    resident = None if sweep_plan.is_resampled else resident_of(predictor)
    arrays = HOST if resident is None else resident.arrays
    threads, ahead = _spread(resident, plan, stretch)
    output_px = plan.window.height * plan.window.width
    stored_px, stored_s = 0, 0.0
    failures = nullcontext() if resident is None else resident.failures()
    with failures, closing(opened_reader(plan)) as scene:
        counts = SweepCounts(seam_sums=arrays.zero_sums())
        reader = WantedReader(plan, sweep_plan, scene, early)
        if stretch.windows == 1 and resident is None:  # nothing to do meanwhile
            chunks, mapped = map_here(reader, plan.chunks(stretch)), map_here
        else:
            chunks = ordered_map(reader, plan.chunks(stretch), threads=threads, ahead=ahead)
            mapped = _one_ahead
        swept = sweep(chunks, resident or predictor, sweep_plan, counts, advanced, mapped, arrays)
        decided = (
            _decided(plan, stretch.columns.answered[0], rows, counts.taken(), resident)
            for rows in swept
        )
        if resident is None:
            strips = (_stored(plan, rows) for rows in decided)
        else:
            store = functools.partial(_stored, plan)
            strips = ordered_map(store, decided, threads=threads, ahead=_STRIPS_AHEAD)
        with closing(chunks), closing(swept), closing(strips):
            for strip, seconds in strips:
                stored_px += strip.mask.height * strip.mask.width
                stored_s += seconds
                yield strip
                rest_s = _ASSEMBLY_PER_STORE * stored_s * output_px / stored_px
                report(StageExpected(stage="write", seconds=rest_s))


_one_ahead = functools.partial(ordered_map, threads=1, ahead=3)
"""Keeps the network busy while answers are blended: a batch that runs, the next one, and the end
of a row of windows between them."""

_STRIPS_AHEAD = 4
"""Rows of windows that a GPU is asked for before the first of them must be here and stored."""


_AHEAD_BYTES = 2**28
"""Most that is read ahead for a GPU."""


def _spread(resident: Resident | None, plan: SegmentPlan, stretch: Stretch) -> tuple[int, int]:
    """Threads that read, and stretches of rows that are read ahead; a GPU outruns one."""
    if resident is None:
        return 1, 2
    left, right = stretch.columns.read
    pixel_bytes = len(plan.bands) * np.dtype(plan.dtype).itemsize
    chunk_bytes = plan.chunk_rows * (right - left) * pixel_bytes
    threads = min(8, os.cpu_count() or 1)
    ahead = max(2, min(2 * threads, _AHEAD_BYTES // chunk_bytes))
    return min(threads, ahead), ahead


@dataclass(frozen=True, kw_only=True)
class _Decided:
    """Rows of the result, on their way to the disk."""

    row: int
    col: int
    arrived: Callable[[], _Result]
    """Waits for them; on the host to be asked before the next rows are."""
    counted: SweepCounts
    """Since the rows before; its seam sums may be elsewhere."""


_Result = tuple[NDArray[np.uint8], NDArray[Any] | None, NDArray[np.float64]]
"""Mask (row, col), probability (class, row, col) if it is asked for, seam sums."""


def _decided(
    plan: SegmentPlan, col: int, rows: FinishedRows, counted: SweepCounts, resident: Resident | None
) -> _Decided:
    """Classes of finished rows: decided here when asked for, on a device from now on."""
    ids = [item.id for item in plan.bundle.card.classes]
    dtype = None if plan.probability_parts is None else plan.spec.probability_dtype
    decided = functools.partial(_Decided, row=rows.row, col=col, counted=counted)
    if resident is None:
        return decided(arrived=lambda: _decided_here(plan, col, rows, counted, ids, dtype))
    coming = resident.decided(
        rows.probabilities,
        counted.seam_sums,
        ids=ids,
        threshold=plan.threshold,
        probability_dtype=dtype,
    )

    def arrived() -> _Result:
        found = coming()
        valid = _valid(plan, col, rows)
        if not valid.all():
            np.copyto(found.classes, np.uint8(MASK_NODATA), where=~valid)
            if found.probability is not None:
                nodata = np.nan if dtype == "float32" else MASK_NODATA
                np.copyto(found.probability, found.probability.dtype.type(nodata), where=~valid)
        return found.classes, found.probability, found.seam_sums

    return decided(arrived=arrived)


def _decided_here(
    plan: SegmentPlan,
    col: int,
    rows: FinishedRows,
    counted: SweepCounts,
    ids: Sequence[int],
    dtype: str | None,
) -> _Result:
    valid = _valid(plan, col, rows)
    mask = class_ids(rows.probabilities, valid, ids=ids, threshold=plan.threshold)
    values: NDArray[Any] | None = None
    if dtype == "float32":
        values = rows.probabilities.copy()
        np.copyto(values, np.float32(np.nan), where=~valid)
    elif dtype is not None:
        values = quantised(rows.probabilities, valid)
    return mask, values, counted.seam_sums


def _valid(plan: SegmentPlan, col: int, rows: FinishedRows) -> NDArray[np.bool_]:
    """(row, col): valid, and asked for."""
    valid = rows.valid
    if plan.area is not None and not plan.area.is_box:
        height, width = valid.shape
        place = Window(row=rows.row, col=col, height=height, width=width)
        valid = valid & plan.area.covers(place)
    return valid


def _stored(plan: SegmentPlan, decided: _Decided) -> tuple[Strip, float]:
    """The strip of some rows, on the disk, and how many seconds that took."""
    mask, values, seam_sums = decided.arrived()
    begin = time.perf_counter()
    probability = None
    if plan.probability_parts is not None and values is not None:
        probability = plan.probability_parts.write(decided.row, decided.col, values)
    found = class_counts(mask)
    sums = seam_sums.tolist()
    strip = Strip(
        mask=plan.mask_parts.write(decided.row, decided.col, mask[None]),
        probability=probability,
        class_px={int(key): int(found[key]) for key in np.flatnonzero(found)},
        computed=decided.counted.computed,
        skipped=decided.counted.skipped,
        seam_sums=((sums[0][0], sums[0][1]), (sums[1][0], sums[1][1])),
    )
    return strip, time.perf_counter() - begin

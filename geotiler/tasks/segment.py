"""`geotiler segment`: a scene in, a mask out.

One pass from top to bottom: strips are read ahead by a thread, windows are cut from them and given
to the network, answers are blended, finished rows are thresholded once and stored as parts, and at
the end the parts become one Cloud-Optimized GeoTIFF. Nothing here grows with the scene's height.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geotiler.core.masks import class_counts, class_ids, quantised
from geotiler.core.sweep import Columns, FinishedRows, SweepCounts, sweep
from geotiler.engines.ordered import ordered_map
from geotiler.io.parts import Parts
from geotiler.io.raster import SceneReader, open_scene
from geotiler.machine import peak_memory_bytes
from geotiler.models.networks import FROM_DISK, Networks
from geotiler.models.predictor import Predictor
from geotiler.progress import (
    Notice,
    Reporter,
    StageAdvanced,
    StageExpected,
    StageFinished,
    StageStarted,
    silent,
)
from geotiler.reports import Report
from geotiler.specs import SegmentSpec
from geotiler.tasks.segment_calibration import calibrated
from geotiler.tasks.segment_plan import SegmentPlan, plan_segment

ASSEMBLY_PER_STORE = 3.0
"""Time of making the finished file over that of storing its parts: about what a mask of 20 Mpx
took, compression and overviews included. Only the time left on a progress bar depends on it."""


@dataclass(frozen=True, kw_only=True)
class SegmentReport(Report):
    """What a run did, and what it cost."""

    scene: str
    output: Path
    probability: Path | None
    shape: tuple[int, int]
    """Scene (height, width) in pixels."""
    windows: int
    """Windows that the network computed."""
    skipped: int
    """Windows without a valid pixel, never computed."""
    seconds: float
    mpx_per_s: float
    """Scene megapixels per second, from the first window to the finished file."""
    peak_memory_bytes: int
    class_px: dict[str, int]
    """Pixels of each class; nodata is listed as such."""
    class_area_m2: dict[str, float] | None
    """Area of each class from the ground sample distance; None where it is not known."""
    seam_index: float | None
    """Mean |Δp| across tile lines over elsewhere: about 1 where no seam is visible."""
    backend: str
    model: str
    settings: dict[str, Any]
    """Each setting with where it came from."""


@dataclass(frozen=True, kw_only=True)
class SegmentEstimate(Report):
    """What a run would do (`--dry-run`)."""

    scene: str
    shape: tuple[int, int]
    windows: int
    """Windows of the grid."""
    skipped: int
    """About how many of them have no valid pixel, judged by the scene's overviews."""
    computed_share: float
    """Pixels of all windows over pixels of the scene at the network's resolution."""
    seconds: float
    """Windows that are not skipped times the measured time of one, and pixels times theirs."""
    memory_bytes: int
    """Peak so far, with the network loaded and run, plus the rows held while sweeping."""
    disk_bytes: int
    """Most that parts and outputs may take."""
    backend: str
    model: str
    settings: dict[str, Any]
    notices: tuple[str, ...]
    """What a run would warn of."""


def segment(
    spec: SegmentSpec, *, report: Reporter = silent, networks: Networks = FROM_DISK
) -> SegmentReport:
    """Segment one scene and write its mask.

    Args:
        spec: what to do.
        report: hears progress and notices.
        networks: where models come from; whoever segments many scenes keeps them loaded.

    Raises:
        GeotilerError: see `plan_segment`; DeviceError where device or memory are not there. The
            target is absent or whole in every case.
    """
    plan = plan_segment(spec, networks)
    for notice in plan.notices:
        report(Notice(message=notice, warning=True))
    predictor = _open_predictor(plan, networks)
    backend = predictor.name
    started = time.perf_counter()
    counts = SweepCounts()
    class_px = np.zeros(256, np.int64)
    storing_s = 0.0
    with _parts(plan) as (mask_parts, probability_parts):
        report(StageStarted(stage="segment", total=plan.windows, unit="window"))
        for columns in plan.panels:
            with closing(_swept(plan, columns, predictor, counts, report)) as swept:
                for rows in swept:
                    begin = time.perf_counter()
                    class_px += _store(plan, columns, rows, mask_parts, probability_parts)
                    storing_s += time.perf_counter() - begin
                    share = class_px.sum() / (plan.shape[0] * plan.shape[1])
                    write_s = ASSEMBLY_PER_STORE * storing_s / share
                    report(StageExpected(stage="write", seconds=write_s))
        report(StageFinished(stage="segment"))
        del predictor  # its memory is free for what follows
        targets = [parts for parts in (mask_parts, probability_parts) if parts is not None]
        report(StageStarted(stage="write", total=len(targets), unit="file"))
        for parts in reversed(targets):  # the mask last: when it is there, everything is
            parts.assemble(spec.overwrite)
            report(StageAdvanced(stage="write", amount=1))
        report(StageFinished(stage="write"))
    seconds = time.perf_counter() - started
    return _report(plan, counts, class_px, seconds, backend)


def estimate(spec: SegmentSpec, *, will_write: bool = True) -> SegmentEstimate:
    """What `segment` would do, after loading the model and two seconds of trying it.

    Writes nothing.

    Args:
        spec: what would be done.
        will_write: check the outputs too; False to ask about the scene alone.

    Raises:
        GeotilerError: as `segment`, as far as it shows before the pixels are read.
    """
    plan = plan_segment(spec, will_write=will_write)
    predictor = _open_predictor(plan, FROM_DISK)
    card = plan.bundle.card
    skipped = _about_skipped(plan)
    pace = calibrated(plan, predictor)
    pixels = plan.shape[0] * plan.shape[1]
    seconds = (plan.windows - skipped) * pace.window_s + pixels * pace.pixel_s
    width = max(last - first for first, last in (panel.network for panel in plan.panels))
    rows = plan.grid.tile_shape[0] * width
    value_bytes = 4 if any(axis.ratio != 1 for axis in plan.axes) else 1
    held = rows * (4 * len(card.classes) + value_bytes * len(card.bands))
    return SegmentEstimate(
        scene=spec.scene,
        shape=plan.shape,
        windows=plan.windows,
        skipped=skipped,
        computed_share=round(plan.grid.computed_share, 3),
        seconds=round(seconds, 3),
        memory_bytes=peak_memory_bytes() + held,
        disk_bytes=pixels // 4 + (2 * pixels if spec.probability else 0),
        backend=predictor.name,
        model=f"{card.name} {card.version}",
        settings=_settings(plan),
        notices=plan.notices,
    )


def _about_skipped(plan: SegmentPlan) -> int:
    """Windows without a valid pixel in a coarse view of the scene."""
    with open_scene(plan.spec.scene, drivers=plan.spec.drivers) as scene:
        valid = scene.coarse_valid(plan.bands)
    down, right = (
        coarse / network for coarse, network in zip(valid.shape, plan.grid.shape, strict=True)
    )
    return sum(
        not valid[
            int(window.row * down) : math.ceil(window.row_stop * down),
            int(window.col * right) : math.ceil(window.col_stop * right),
        ].any()
        for window in plan.grid
    )


def _open_predictor(plan: SegmentPlan, networks: Networks) -> Predictor:
    spec = plan.spec
    return networks.predictor(
        plan.bundle,
        backend=spec.backend,
        device=spec.device,
        batch=spec.batch,
        tile_shape=plan.grid.tile_shape,
        threads=spec.threads,
    )


@contextmanager
def _parts(plan: SegmentPlan) -> Iterator[tuple[Parts, Parts | None]]:
    """Parts of mask and probability, removed however the block ends."""
    with ExitStack() as stack:
        mask = Parts(plan.spec.output, plan.mask)
        stack.callback(mask.discard)
        probability = None
        if plan.spec.probability is not None:
            probability = Parts(plan.spec.probability, plan.probability)
            stack.callback(probability.discard)
        yield mask, probability


def _swept(
    plan: SegmentPlan,
    columns: Columns,
    predictor: Predictor,
    counts: SweepCounts,
    report: Reporter,
) -> Iterator[FinishedRows]:
    """Finished rows of one panel; reading runs ahead of the network in a thread."""
    with closing(SceneReader(plan.spec.scene, plan.bands, drivers=plan.spec.drivers)) as reader:
        chunks = ordered_map(reader, plan.chunks(columns), threads=1, ahead=2)
        with closing(chunks):
            yield from sweep(
                chunks,
                predictor,
                plan.sweep_plan(columns, predictor.batch),
                counts,
                lambda windows: report(StageAdvanced(stage="segment", amount=windows)),
            )


def _store(
    plan: SegmentPlan,
    columns: Columns,
    rows: FinishedRows,
    mask_parts: Parts,
    probability_parts: Parts | None,
) -> NDArray[np.int64]:
    """Decide classes, store the rows, and return how many pixels each class has."""
    ids = [item.id for item in plan.bundle.card.classes]
    mask = class_ids(rows.probabilities, rows.valid, ids=ids, threshold=plan.threshold)
    col = columns.answered[0]
    mask_parts.write(rows.row, col, mask[None])
    if probability_parts is not None:
        if plan.spec.probability_dtype == "float32":
            values: NDArray[Any] = rows.probabilities.copy()
            np.copyto(values, np.float32(np.nan), where=~rows.valid)
        else:
            values = quantised(rows.probabilities, rows.valid)
        probability_parts.write(rows.row, col, values)
    return class_counts(mask)


def _settings(plan: SegmentPlan) -> dict[str, Any]:
    return {
        name: {"value": setting.value, "origin": setting.origin}
        for name, setting in plan.settings.items()
    }


def _report(
    plan: SegmentPlan,
    counts: SweepCounts,
    class_px: NDArray[np.int64],
    seconds: float,
    backend: str,
) -> SegmentReport:
    card = plan.bundle.card
    names = {item.id: item.name for item in card.classes}
    if plan.threshold is not None:
        names = {0: "background", **names}
    pixels = {name: int(class_px[key]) for key, name in names.items()}
    areas = None
    if plan.ground_m is not None:
        pixel_m2 = plan.ground_m[0] * plan.ground_m[1]
        areas = {name: round(count * pixel_m2, 1) for name, count in pixels.items()}
    return SegmentReport(
        scene=plan.spec.scene,
        output=plan.spec.output,
        probability=plan.spec.probability,
        shape=plan.shape,
        windows=counts.computed,
        skipped=counts.skipped,
        seconds=round(seconds, 3),
        mpx_per_s=round(plan.shape[0] * plan.shape[1] / 1e6 / seconds, 3),
        peak_memory_bytes=peak_memory_bytes(),
        class_px={**pixels, "nodata": int(class_px[255])},
        class_area_m2=areas,
        seam_index=None if counts.seam_index is None else round(counts.seam_index, 4),
        backend=backend,
        model=f"{card.name} {card.version}",
        settings=_settings(plan),
    )

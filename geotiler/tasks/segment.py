"""`geotiler segment`: a scene in, a mask out.

One pass from top to bottom: strips are read ahead by a thread, windows are cut from them and given
to the network, answers are blended, finished rows are thresholded once and stored as parts beside a
journal, and at the end the parts become one Cloud-Optimized GeoTIFF. A run that was interrupted
goes on from its last part. Nothing here grows with the scene's height.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geotiler.core.seams import reliable_seam_index
from geotiler.io.part_place import shown_target
from geotiler.io.raster import open_scene
from geotiler.io.remote import shown
from geotiler.machine import peak_memory_bytes
from geotiler.models.mirrored import mirrored
from geotiler.models.networks import FROM_DISK, Networks
from geotiler.models.predictor import Predictor
from geotiler.progress import Notice, Reporter, StageAdvanced, StageFinished, StageStarted, silent
from geotiler.reports import Report
from geotiler.specs import MASK_NODATA, Engine, SegmentSpec
from geotiler.tasks.segment_calibration import Pace, calibrated
from geotiler.tasks.segment_cluster import compute_on_cluster
from geotiler.tasks.segment_plan import SegmentPlan, plan_segment
from geotiler.tasks.segment_reading import EarlyRows
from geotiler.tasks.segment_sample import about_skipped
from geotiler.tasks.segment_strips import finished_strips
from geotiler.tasks.segment_work import SegmentWork, made_from, opened_work


@dataclass(frozen=True, kw_only=True)
class SegmentReport(Report):
    """What a run did, and what it cost."""

    scene: str
    output: Path | str
    """A path, or an address s3://BUCKET/NAME."""
    probability: Path | str | None
    shape: tuple[int, int]
    """Output (height, width) in pixels: the scene's, or those of the area asked for."""
    windows: int
    """Windows that the network computed, in earlier runs that this one went on from, too; those
    that it had to compute again are counted once."""
    skipped: int
    """Windows without a valid pixel, or beside the area asked for: never computed."""
    resumed_px: int
    """Pixels that an earlier run had finished."""
    seconds: float
    mpx_per_s: float
    """Megapixels that this run did per second, from the first window to the finished file."""
    peak_memory_bytes: int
    class_px: dict[str, int]
    """Pixels of each class; nodata is listed as such."""
    class_area_m2: dict[str, float] | None
    """Area of each class from the ground sample distance; None where it is not known."""
    seam_index: float | None
    """Mean step of probability between neighbours across tile lines, over that elsewhere: about 1
    where no seam is visible. None where there are too few such pairs to tell."""
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
    """About how many of them have no valid pixel, judged by overviews or a sample."""
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
    # Where there is something to wait for, and the scene is read where it is segmented.
    is_early = networks is FROM_DISK and spec.engine is not Engine.DASK
    with EarlyRows(plan) if is_early else nullcontext() as early:
        predictor = opened_predictor(plan, networks)
        started = time.perf_counter()
        with opened_work(plan, made_from(plan, predictor), report) as work:
            computed(work, predictor, report, early)
            backend = predictor.name
            del predictor  # its memory is free for what follows
            return assembled(work, started, backend, report)


def opened_predictor(plan: SegmentPlan, networks: Networks) -> Predictor:
    """The network of a plan, ready. Raises: DeviceError, ModelError, MissingExtraError."""
    spec = plan.spec
    predictor = networks.predictor(
        plan.bundle,
        backend=spec.backend,
        device=spec.device,
        precision=spec.precision,
        batch=spec.batch,
        tile_shape=plan.grid.tile_shape,
        # Workers of a cluster have one thread each, and torch answers as its threads are.
        threads=spec.threads or (1 if spec.engine is Engine.DASK else None),
    )
    return mirrored(predictor, spec.tta)


def computed(
    work: SegmentWork, predictor: Predictor, report: Reporter, early: EarlyRows | None = None
) -> None:
    """Finish the strips that are not there yet; `early` holds rows that are being read already."""
    stretches = work.open_stretches()
    report(StageStarted(stage="segment", total=work.plan.windows, unit="window"))
    found = work.plan.windows - sum(stretch.windows for stretch in stretches)
    report(StageAdvanced(stage="segment", amount=found))
    if work.plan.spec.engine is Engine.DASK:
        compute_on_cluster(work, stretches, predictor.name, report)
    else:
        if early is not None:  # a run that goes on may begin elsewhere
            early.keep(work.plan.chunks(stretches[0]) if stretches else ())
        for stretch in stretches:
            for strip in finished_strips(work.plan, stretch, predictor, report, early):
                work.keep(strip)
    report(StageFinished(stage="segment"))


def assembled(work: SegmentWork, started: float, backend: str, report: Reporter) -> SegmentReport:
    """Turn the strips into the outputs.

    Args:
        work: a scene with all of its strips.
        started: when the computing began, by `time.perf_counter`.
        backend: what ran the network.
        report: hears progress.
    """
    parts = work.plan.parts
    report(StageStarted(stage="write", total=len(parts), unit="file"))
    for output in parts:
        work.assemble(output)
        report(StageAdvanced(stage="write", amount=1))
    report(StageFinished(stage="write"))
    found = _report(work, time.perf_counter() - started, backend)
    if found.class_px["nodata"] == sum(found.class_px.values()):
        report(Notice(message=_nothing_valid(work.plan), warning=True))
    return found


def _nothing_valid(plan: SegmentPlan) -> str:
    """A line about a mask that says nothing."""
    nodata = plan.scene["nodata"]
    why = "masked or transparent" if nodata == "None" else f"its nodata value {float(nodata):g}"
    where = "" if plan.area is None else " in the area asked for"
    return f"no pixel of {shown(plan.spec.scene)}{where} is valid: everything is {why}?"


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
    predictor = opened_predictor(plan, FROM_DISK)
    return estimated(plan, predictor, calibrated(plan, predictor))


def estimated(plan: SegmentPlan, predictor: Predictor, pace: Pace) -> SegmentEstimate:
    """What the work of a plan costs.

    Args:
        plan: of the scene.
        predictor: the plan's network.
        pace: how fast this machine is at it.

    Raises:
        InputError: the scene cannot be read.
    """
    spec, card = plan.spec, plan.bundle.card
    with open_scene(spec.scene, drivers=spec.drivers, allow_remote=spec.allow_remote) as scene:
        empty = about_skipped(scene, plan.bands, plan.grid) / len(plan.grid)
    skipped = plan.windows - round(plan.wanted_windows * (1 - empty))
    pixels = plan.window.height * plan.window.width
    seconds = (plan.windows - skipped) * pace.window_s + pixels * pace.pixel_s
    width = max(last - first for first, last in (panel.network for panel in plan.panels))
    rows = plan.grid.tile_shape[0] * width
    value_bytes = 4 if any(axis.ratio != 1 for axis in plan.axes) else 1
    held = rows * (4 * len(card.classes) + value_bytes * len(card.bands))
    return SegmentEstimate(
        scene=shown(spec.scene),
        shape=plan.mask.shape,
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


def _settings(plan: SegmentPlan) -> dict[str, Any]:
    return {
        name: {"value": setting.value, "origin": setting.origin}
        for name, setting in plan.settings.items()
    }


def _report(work: SegmentWork, seconds: float, backend: str) -> SegmentReport:
    plan = work.plan
    card = plan.bundle.card
    class_px = np.zeros(256, np.int64)
    seam_sums = np.zeros((2, 2))
    for strip in work.strips:
        seam_sums += strip.seam_sums
        for key, count in strip.class_px.items():
            class_px[key] += count
    names = {item.id: item.name for item in card.classes}
    if plan.threshold is not None:
        names = {0: "background", **names}
    pixels = {name: int(class_px[key]) for key, name in names.items()}
    areas = None
    if plan.ground_m is not None:
        pixel_m2 = plan.ground_m[0] * plan.ground_m[1]
        areas = {name: round(count * pixel_m2, 1) for name, count in pixels.items()}
    seams = reliable_seam_index(seam_sums)
    return SegmentReport(
        scene=shown(plan.spec.scene),
        output=shown_target(plan.spec.output),
        probability=plan.spec.probability and shown_target(plan.spec.probability),
        shape=plan.mask.shape,
        windows=sum(strip.computed for strip in work.strips),
        skipped=sum(strip.skipped for strip in work.strips),
        resumed_px=work.found_px,
        seconds=round(seconds, 3),
        mpx_per_s=round((work.finished_px - work.found_px) / 1e6 / seconds, 3),
        peak_memory_bytes=peak_memory_bytes(),
        class_px={**pixels, "nodata": int(class_px[MASK_NODATA])},
        class_area_m2=areas,
        seam_index=None if seams is None else round(seams, 2),
        backend=backend,
        model=f"{card.name} {card.version}",
        settings=_settings(plan),
    )

"""`geotiler segment --engine dask`: the strips of a scene as tasks of a cluster.

Workers read the scene and write parts themselves, on paths or addresses that mean the same to them
as to this process; only reports of finished strips travel. What a worker computes is what one
machine would, to the byte: a task is a stretch of rows, for which the windows above that touch it
are computed again.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from geotiler.engines.cluster import opened_cluster
from geotiler.errors import DeviceError, GeotilerError
from geotiler.io.part_place import same_everywhere
from geotiler.io.remote import is_remote
from geotiler.models.mirrored import mirrored
from geotiler.models.networks import KeptNetworks
from geotiler.models.predictor import Predictor
from geotiler.progress import Reporter, StageAdvanced
from geotiler.tasks.segment_plan import SegmentPlan, Stretch
from geotiler.tasks.segment_strips import Strip, finished_strips
from geotiler.tasks.segment_work import SegmentWork

_MOST_ROWS_OF_WINDOWS = 16
"""Rows of windows of the longest task: one more is computed for each, so 6 % at most."""

_LOADED = threading.local()


@dataclass(frozen=True, kw_only=True)
class Task:
    """Some rows of a panel, and everything that a worker has to know of the scene."""

    plan: SegmentPlan
    stretch: Stretch
    backend: str
    """What has to run the network, or bytes would depend on which worker it was."""


def strips_of(task: Task) -> list[Strip]:
    """Finished strips of a task; runs on a worker, which keeps the network for the next one."""
    try:
        return list(finished_strips(task.plan, task.stretch, _predictor(task)))
    except GeotilerError as error:
        failure = error
    # What libraries raised beneath cannot travel, and would keep the error from doing so.
    failure.__cause__ = failure.__context__ = None
    raise failure


def compute_on_cluster(
    work: SegmentWork, stretches: list[Stretch], backend: str, report: Reporter
) -> None:
    """Finish the strips that are not there yet.

    Args:
        work: a scene on its way.
        stretches: what is left to do.
        backend: name of the predictor that the plan was made with.
        report: hears progress.

    Raises:
        DeviceError: the cluster is not there, or a worker has another backend.
        GeotilerError: as `finished_strips`.
    """
    spec = work.plan.spec
    plan = _anywhere(work.plan)
    with opened_cluster(spec.scheduler, spec.workers or os.cpu_count() or 1) as cluster:
        tasks = [
            Task(plan=plan, stretch=piece, backend=backend)
            for piece in _pieces(plan, stretches, cluster.threads)
        ]
        # More windows than a single sweep has are computed: progress is told in its windows.
        total = sum(stretch.windows for stretch in stretches)
        share = total / max(1, sum(task.stretch.windows for task in tasks))
        told = done = 0.0
        for task, strips in cluster.spread(strips_of, tasks):
            for strip in strips:
                work.keep(strip)
            done += task.stretch.windows * share
            report(StageAdvanced(stage="segment", amount=round(done) - told))
            told = round(done)


def _anywhere(plan: SegmentPlan) -> SegmentPlan:
    """The plan with paths that mean the same in every folder."""
    spec = plan.spec
    scene = spec.scene
    if not is_remote(scene) and Path(scene).exists():
        scene = str(Path(scene).absolute())
    probability = spec.probability and same_everywhere(spec.probability)
    spec = replace(
        spec, scene=scene, output=same_everywhere(spec.output), probability=probability,
        threads=spec.threads or 1,
    )  # fmt: skip
    bundle = replace(plan.bundle, folder=plan.bundle.folder.absolute())
    return replace(plan, spec=spec, bundle=bundle)


def _pieces(plan: SegmentPlan, stretches: list[Stretch], threads: int) -> Iterator[Stretch]:
    """The stretches cut where a row of windows begins, into enough pieces for all threads."""
    rows = sum(len(stretch.rows.starts) for stretch in stretches)
    # As few as keep all threads busy to the end: where two meet, a row is computed twice.
    rounds = math.ceil(rows / (_MOST_ROWS_OF_WINDOWS * threads))
    step = max(1, math.ceil(rows / max(1, rounds * threads)))
    axis = plan.axes[0]
    for stretch in stretches:
        first, last = stretch.rows.answered
        # A little above the window, so that what lies above does not need it.
        margin = 0.0 if axis.ratio == 1 else max(1.0, axis.ratio) + 1
        edges = [int((start - margin) / axis.ratio) for start in stretch.rows.starts[::step]]
        cuts = [first, *sorted({edge for edge in edges if first < edge < last}), last]
        for top, bottom in pairwise(cuts):
            yield plan.stretch(stretch.columns, (top, bottom))


def _predictor(task: Task) -> Predictor:
    """This thread's network, the one of the task before if that was of the same scene or model."""
    plan = task.plan
    spec = plan.spec
    if not hasattr(_LOADED, "networks"):
        _LOADED.networks = KeptNetworks(most=1)
    network = _LOADED.networks.predictor(
        plan.bundle, backend=spec.backend, device=spec.device, precision=spec.precision,
        batch=spec.batch, tile_shape=plan.grid.tile_shape, threads=spec.threads,
    )  # fmt: skip
    predictor = mirrored(network, spec.tta)
    if predictor.name != task.backend:
        raise DeviceError(
            f"a worker runs {predictor.name}, this machine {task.backend}: results would differ",
            hint="install the same versions, or name --backend and --device",
        )
    return predictor

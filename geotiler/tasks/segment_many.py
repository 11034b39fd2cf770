"""`geotiler segment` over many scenes: the model is loaded once, and the network never waits.

The next scene is planned while this one is computed, and outputs are assembled while the next one
is. A scene that fails is reported at the end and stops no other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from geotiler.engines.ordered import ordered_map
from geotiler.errors import GeotilerError, InputError, OutputError, SpecError
from geotiler.io.area import OutsideError
from geotiler.io.identity import shown_name
from geotiler.io.part_place import check_target, is_local, is_unfinished, shown_target
from geotiler.models.networks import KeptNetworks, Networks
from geotiler.progress import Event, Notice, Reporter, StageAdvanced, StageFinished, StageStarted
from geotiler.progress import silent as nobody
from geotiler.reports import Report
from geotiler.specs import SegmentSpec
from geotiler.tasks.segment import (
    SegmentEstimate,
    SegmentReport,
    assembled,
    computed,
    estimated,
    opened_predictor,
)
from geotiler.tasks.segment_calibration import Pace, calibrated
from geotiler.tasks.segment_plan import SegmentPlan, plan_segment
from geotiler.tasks.segment_work import SegmentWork, made_from, opened_work

_OF_ONE_SCENE = (InputError, OutputError, SpecError)
"""Errors that say something about one scene; others would come again with the next one."""


@dataclass(frozen=True, kw_only=True)
class SceneOutcome:
    """What became of one scene."""

    scene: str
    output: Path | str
    status: str
    """done, done before (by an earlier run), outside (of the area asked for) or failed."""
    error: str | None = None
    exit_code: int = 0
    report: SegmentReport | None = None


@dataclass(frozen=True, kw_only=True)
class ManyReport(Report):
    """What became of all scenes."""

    done: int
    done_before: int
    """Outputs that were there already, made by the same settings."""
    outside: int
    """Scenes that the area asked for does not touch."""
    failed: int
    seconds: float
    scenes: list[SceneOutcome]

    @property
    def exit_code(self) -> int:
        """0, or that of the first scene that failed."""
        return next((item.exit_code for item in self.scenes if item.exit_code), 0)


@dataclass(frozen=True, kw_only=True)
class SceneEstimate:
    """What would become of one scene."""

    scene: str
    output: Path | str
    status: str
    """to do, done before (by an earlier run), outside (of the area asked for) or failed."""
    error: str | None = None
    exit_code: int = 0
    estimate: SegmentEstimate | None = None


@dataclass(frozen=True, kw_only=True)
class ManyEstimate(Report):
    """What a run over several scenes would do (`--dry-run`)."""

    to_do: int
    done_before: int
    outside: int
    failed: int
    windows: int
    """Of all scenes that are to do."""
    skipped: int
    seconds: float
    """One scene after the other; a run computes one while it writes another."""
    memory_bytes: int
    """Of the scene that needs most."""
    disk_bytes: int
    scenes: list[SceneEstimate]

    @property
    def exit_code(self) -> int:
        """0, or that of the first scene that could not be done."""
        return next((item.exit_code for item in self.scenes if item.exit_code), 0)


def segment_many(specs: Sequence[SegmentSpec], *, report: Reporter = nobody) -> ManyReport:
    """Segment scenes one after the other, all with the same model.

    Scenes that are done are left as they are, unfinished ones are gone on with.

    Raises:
        ModelError, DeviceError, MissingExtraError: what no scene could do without.
        SpecError: two scenes would have the same output.
    """
    started = time.perf_counter()
    _check_names(specs)
    # Compiled anew only where the tile is another one.
    run = _Run(report=report, networks=KeptNetworks(most=1))
    run.networks.bundle(specs[0].model)
    report(StageStarted(stage="scenes", total=len(specs), unit="scene"))
    with ThreadPoolExecutor(1, thread_name_prefix="geotiler-write") as pool:
        pending: Future[SceneOutcome] | None = None
        outcomes: list[SceneOutcome] = []
        with closing(ordered_map(run.planned, specs, threads=1, ahead=2)) as plans:
            for spec, plan in zip(specs, plans, strict=True):
                begun = run.begun(spec, plan)
                if pending is not None:  # at most one scene waits for being written
                    outcomes.append(pending.result())
                pending = pool.submit(run.ended, spec, begun)
        if pending is not None:
            outcomes.append(pending.result())
    report(StageFinished(stage="scenes"))
    counts = {
        status.replace(" ", "_"): sum(item.status == status for item in outcomes)
        for status in ("done", "done before", "outside", "failed")
    }
    seconds = round(time.perf_counter() - started, 3)
    return ManyReport(**counts, seconds=seconds, scenes=outcomes)


def estimate_many(specs: Sequence[SegmentSpec], *, report: Reporter = nobody) -> ManyEstimate:
    """What `segment_many` would do, after loading the model and trying it; writes nothing.

    A pace is measured once for all scenes of one tile, resolution and data type.

    Raises:
        ModelError, DeviceError, MissingExtraError: what no scene could do without.
        SpecError: two scenes would have the same output.
    """
    _check_names(specs)
    run = _Run(report=report, networks=KeptNetworks(most=1))
    run.networks.bundle(specs[0].model)
    paces: dict[object, Pace] = {}
    scenes: list[SceneEstimate] = []
    report(StageStarted(stage="scenes", total=len(specs), unit="scene"))
    for spec in specs:
        scenes.append(_scene_estimate(run, spec, paces))
        report(StageAdvanced(stage="scenes", amount=1))
    report(StageFinished(stage="scenes"))
    found = [item.estimate for item in scenes if item.estimate is not None]
    counts = {
        status.replace(" ", "_"): sum(item.status == status for item in scenes)
        for status in ("to do", "done before", "outside", "failed")
    }
    return ManyEstimate(
        **counts,
        windows=sum(each.windows for each in found),
        skipped=sum(each.skipped for each in found),
        seconds=round(sum(each.seconds for each in found), 3),
        memory_bytes=max((each.memory_bytes for each in found), default=0),
        disk_bytes=sum(each.disk_bytes for each in found),
        scenes=scenes,
    )


def _scene_estimate(run: _Run, spec: SegmentSpec, paces: dict[object, Pace]) -> SceneEstimate:
    """What would become of one scene.

    Args:
        run: what the scenes share.
        spec: of the scene.
        paces: what was measured so far; added to.
    """
    targets = [spec.output, *([spec.probability] if spec.probability else [])]
    missing = {
        target.parent for target in targets if is_local(target) and not target.parent.is_dir()
    }
    plan = run.planned(spec, yet_to_make=missing)
    if isinstance(plan, SegmentPlan):
        try:
            predictor = opened_predictor(plan, run.networks)
            ratios = tuple(axis.ratio for axis in plan.axes)
            key = plan.grid.tile_shape, ratios, plan.dtype, plan.chunk_rows
            if key not in paces:
                paces[key] = calibrated(plan, predictor)
            found = estimated(plan, predictor, paces[key])
        except _OF_ONE_SCENE as error:
            plan = run.failed(spec, error)
        else:
            return SceneEstimate(
                scene=shown_name(spec.scene),
                output=shown_target(spec.output),
                status="to do",
                estimate=found,
            )
    return SceneEstimate(
        scene=plan.scene,
        output=plan.output,
        status=plan.status,
        error=plan.error,
        exit_code=plan.exit_code,
    )


def _check_names(specs: Sequence[SegmentSpec]) -> None:
    names: dict[Path, str] = {}
    for spec in specs:
        other = names.setdefault(spec.output, spec.scene)
        if other != spec.scene:
            raise SpecError(
                f"{shown_name(other)} and {shown_name(spec.scene)} would both be written to "
                f"{shown_target(spec.output)}",
                hint="segment them in two runs, with another -o",
            )


@dataclass(kw_only=True)
class _Computed:
    """A scene whose strips are all there, and the folders that it holds."""

    stack: ExitStack
    work: SegmentWork
    started: float
    backend: str


@dataclass(kw_only=True)
class _Run:
    """What the scenes share."""

    report: Reporter
    networks: Networks

    def planned(
        self, spec: SegmentSpec, *, yet_to_make: Collection[Path] = ()
    ) -> SegmentPlan | SceneOutcome:
        """The plan of a scene, or what became of it without one; see `plan_segment`."""
        try:
            # An output that is there may be the one that this run would make: the plan tells.
            made = replace(spec, overwrite=True)
            plan = plan_segment(made, self.networks, yet_to_make=yet_to_make)
            if not spec.overwrite and not is_unfinished(spec.output):
                if all(parts.is_finished() for parts in plan.parts):
                    return self._outcome(spec, "done before")
                for parts in plan.parts:
                    if parts.output.parent not in yet_to_make:
                        check_target(parts.output, overwrite=False)
            return replace(plan, spec=replace(plan.spec, overwrite=spec.overwrite))
        except OutsideError:
            return self._outcome(spec, "outside")
        except _OF_ONE_SCENE as error:
            return self.failed(spec, error)

    def begun(
        self, spec: SegmentSpec, plan: SegmentPlan | SceneOutcome
    ) -> _Computed | SceneOutcome:
        """The scene with all of its strips computed, or what became of it."""
        if isinstance(plan, SceneOutcome):
            return plan
        report = _Named(shown_name(spec.scene), self.report)
        try:
            for notice in plan.notices:
                report(Notice(message=notice, warning=True))
            predictor = opened_predictor(plan, self.networks)
            started = time.perf_counter()
            with ExitStack() as stack:
                now = made_from(plan, predictor)
                work = stack.enter_context(opened_work(plan, now, report))
                computed(work, predictor, report)
                return _Computed(
                    stack=stack.pop_all(), work=work, started=started, backend=predictor.name
                )
        except _OF_ONE_SCENE as error:
            return self.failed(spec, error)

    def ended(self, spec: SegmentSpec, begun: _Computed | SceneOutcome) -> SceneOutcome:
        """What became of a scene, after its outputs are written."""
        outcome = begun if isinstance(begun, SceneOutcome) else self._written(spec, begun)
        self.report(StageAdvanced(stage="scenes", amount=1))
        return outcome

    def _written(self, spec: SegmentSpec, begun: _Computed) -> SceneOutcome:
        report = _Named(shown_name(spec.scene), self.report)
        try:
            with begun.stack:
                found = assembled(begun.work, begun.started, begun.backend, report)
        except _OF_ONE_SCENE as error:
            return self.failed(spec, error)
        return self._outcome(spec, "done", report=found)

    def _outcome(self, spec: SegmentSpec, status: str, **more: object) -> SceneOutcome:
        return SceneOutcome(
            scene=shown_name(spec.scene), output=shown_target(spec.output), status=status, **more
        )  # type: ignore[arg-type]

    def failed(self, spec: SegmentSpec, error: GeotilerError) -> SceneOutcome:
        """The outcome of a scene that an error ended."""
        return self._outcome(spec, "failed", error=str(error), exit_code=error.exit_code)


@dataclass(frozen=True)
class _Named:
    """A reporter whose notices begin with a name."""

    name: str
    report: Reporter

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            event = replace(event, message=f"{self.name}: {event.message}")
        self.report(event)


def named_outputs(spec: SegmentSpec, scenes: Sequence[str]) -> list[SegmentSpec]:
    """The specification for each scene, its output and probability being folders.

    Results are called after the scene: `tile_7.tif` becomes `tile_7_mask.tif` and
    `tile_7_probability.tif`.
    """
    specs = []
    for scene in scenes:
        stem = re.sub(r"[^\w.,+@-]+", "_", Path(shown_name(scene)).stem)
        probability = spec.probability and spec.probability / f"{stem}_probability.tif"
        output = spec.output / f"{stem}_mask.tif"
        specs.append(replace(spec, scene=scene, output=output, probability=probability))
    return specs

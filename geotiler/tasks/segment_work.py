"""What is finished of a scene and what is not, kept on the disk so that a run can go on.

Strips lie in `<output>.parts/`, a folder or a prefix of a bucket, beside a journal whose head tells
what they were made from. A run that ends early, however it ends, leaves them; the same command goes
on from there, and a command that would give other pixels is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geotiler import __version__
from geotiler.errors import OutputError
from geotiler.io.journal import AnyJournal
from geotiler.io.object_store import TakenError
from geotiler.io.part_place import (
    Hold,
    RasterParts,
    hold_place,
    part_journal,
    same_everywhere,
    shown_target,
)
from geotiler.models.predictor import Predictor
from geotiler.progress import Kept, Notice, Reporter
from geotiler.tasks.segment_plan import SegmentPlan, Stretch
from geotiler.tasks.segment_strips import Strip

_PROBABILITY = "probability_raster"
_ASSEMBLED = {"assembled": True}
"""Line of a journal whose outputs are whole."""
_APPEARS = "appears"
"""Key of a line that tells which output is about to take its name, where no strips would tell."""


def made_from(plan: SegmentPlan, predictor: Predictor) -> dict[str, Any]:
    """Everything that decides the pixels, as JSON values."""
    spec = plan.spec
    probability = None
    if spec.probability is not None:
        probability = [_named(spec.probability), spec.probability_dtype]
    values = {
        "scene": plan.scene,
        "model": [plan.bundle.card.name, plan.bundle.card.version, plan.bundle.digest],
        **{name: setting.value for name, setting in plan.settings.items()},
        "resampling": [axis.ratio for axis in plan.axes],  # settings are rounded for people
        _PROBABILITY: probability,
        "batch": predictor.batch,
        "backend": predictor.name,
        "geotiler": __version__,
    }
    if predictor.name.startswith("torch"):  # whose answers depend on them, in the last digit
        values["threads"] = spec.threads
    return dict(json.loads(json.dumps(values)))  # as a journal gives it back: tuples are lists


def finished_before(plan: SegmentPlan, now: dict[str, Any]) -> tuple[list[Strip], bool]:
    """Strips that an earlier run of the same command has left, and whether its outputs are whole.

    Looks at the journal only, and believes it.

    Raises:
        OtherRunError: what is there was made from something else.
    """
    if plan.spec.restart:
        return [], False
    lines = part_journal(plan.spec.output).lines_from(now)
    places = {panel.answered for panel in plan.panels}
    strips = []
    for values in lines:
        if values == _ASSEMBLED:
            return strips, True
        try:
            strip = Strip.from_json(values)
        except ValueError:  # the disk lost it: from here on it is done again
            break
        part = strip.mask
        in_rows = plan.rows[0] <= part.row and part.row + part.height <= plan.rows[1]
        if in_rows and (part.col, part.col + part.width) in places:
            strips.append(strip)
    return strips, False


@dataclass(kw_only=True)
class SegmentWork:
    """A scene on its way; see `opened_work`."""

    plan: SegmentPlan
    journal: AnyJournal
    holds: Sequence[Hold]
    """Places of the outputs' parts, which are this run's."""
    strips: list[Strip]
    """Finished, in any order; those of a plan that `is_lasting` are on the disk."""
    is_assembled: bool
    """The outputs are there already: an earlier run was killed while it tidied up."""
    appeared: set[str] = field(default_factory=set)
    """Outputs that were not there, and are by this run or an earlier one of the same command."""
    found_px: int = field(init=False)
    """Pixels that an earlier run had finished."""

    def __post_init__(self) -> None:
        self.found_px = self.finished_px

    @property
    def finished_px(self) -> int:
        """Pixels of all finished strips."""
        return sum(strip.mask.height * strip.mask.width for strip in self.strips)

    @property
    def share(self) -> str:
        """How much is finished, for a person."""
        return f"{100 * self.finished_share:.0f} %"

    @property
    def finished_share(self) -> float:
        """How much is finished, from 0 to 1."""
        height, width = self.plan.mask.shape
        return self.finished_px / (height * width)

    def open_stretches(self) -> list[Stretch]:
        """What is left to do: for each panel the rows that no strip holds."""
        done: dict[int, list[tuple[int, int]]] = {}
        for strip in self.strips:
            rows = strip.mask.row, strip.mask.row + strip.mask.height
            done.setdefault(strip.mask.col, []).append(rows)
        return [
            self.plan.stretch(panel, rows)
            for panel in self.plan.panels
            for rows in _gaps(self.plan.rows, done.get(panel.answered[0], []))
        ]

    def keep(self, strip: Strip) -> None:
        """Note that a strip is stored."""
        self.check()
        if self.plan.is_lasting:
            self.journal.append(strip.as_json())
        self.strips.append(strip)

    def check(self) -> None:
        """Raises: OutputError: the work is no longer this run's."""
        for hold in self.holds:
            hold.check()

    def confirm(self) -> None:
        """As `check`, after asking where the work lies."""
        for hold in self.holds:
            hold.confirm()

    def assemble(self, parts: RasterParts) -> None:
        """Turn stored strips into a finished raster, unless it is there."""
        if self.is_assembled:
            return
        is_mask = parts.output == self.plan.spec.output
        stored = [strip.mask if is_mask else strip.probability for strip in self.strips]
        placed = sorted((part for part in stored if part), key=lambda part: (part.row, part.col))
        self.check()
        # It takes long, and nothing is to appear that another run may be making by then.
        overwrite = self.plan.spec.overwrite or parts.is_finished()
        parts.assemble(placed, overwrite, lambda _: self._appears(parts))

    def _appears(self, parts: RasterParts) -> None:
        """Note that an output is about to appear."""
        self.confirm()
        name = _named(parts.output)
        if not self.plan.is_lasting and not parts.is_there():
            self.journal.append({_APPEARS: name})
            self.appeared.add(name)


@contextmanager
def opened_work(plan: SegmentPlan, now: dict[str, Any], report: Reporter) -> Iterator[SegmentWork]:
    """What there is to go on from, held for this run alone.

    When the block ends well, everything but the outputs is removed. When it does not, finished
    strips stay for the next run.

    Args:
        plan: of the scene.
        now: see `made_from`.
        report: hears what is found, and what is kept.

    Raises:
        OutputError: another run works on the same output, what is there was made from something
            else, or an output exists that is not to be replaced.
    """
    holds: list[Hold] = []
    with ExitStack() as held:
        for parts in plan.parts:
            holds.append(hold_place(parts.output, report))
            held.callback(holds[-1].leave)  # each of them, whatever becomes of the others
        work = _begun(plan, now, holds, report)
        if work.strips:
            message = f"{work.share} was finished by an earlier run, which goes on here"
            report(Notice(message=message))
        try:
            yield work
            work.confirm()
        except BaseException as error:
            if not plan.is_lasting:
                work.strips.clear()
            for hold in [] if work.strips or work.appeared else holds:
                hold.remove()
            held.close()
            if work.strips and not isinstance(error, TakenError):
                kept = f"what is finished ({work.share}) is kept in {holds[-1].place}"
                report(Notice(message=f"{kept}: run the same command again to go on"))
            elif work.appeared:
                report(Notice(message="outputs are there: run the same command again to go on"))
            report(Kept(share=work.finished_share))
            raise
        work.journal.append(_ASSEMBLED)
        for hold in holds:  # the mask's last, which holds the journal
            hold.remove()


def _begun(
    plan: SegmentPlan, now: dict[str, Any], holds: Sequence[Hold], report: Reporter
) -> SegmentWork:
    """The work with its journal in order and without strips whose files are not as they were."""
    journal = part_journal(plan.spec.output, lasting=plan.is_lasting)
    if plan.spec.restart:
        _drop(plan, journal, report)
    before, lines = journal.read()
    goes_on = before == now and not plan.spec.restart
    appeared = {str(line[_APPEARS]) for line in lines if goes_on and _APPEARS in line}
    strips, is_assembled = finished_before(plan, now)
    is_assembled = is_assembled and all(parts.is_finished() for parts in plan.parts)
    if not is_assembled:
        strips = _stored(plan, strips)
    work = SegmentWork(
        plan=plan, journal=journal, holds=holds, strips=strips, is_assembled=is_assembled,
        appeared=appeared,
    )  # fmt: skip
    is_over = not work.open_stretches()
    for parts in plan.parts:
        # After a kill between the last step and the removal of parts, the outputs are our own.
        own = (is_over or _named(parts.output) in appeared) and parts.is_finished()
        if parts.is_there() and not (plan.spec.overwrite or own):
            raise OutputError(
                f"output {shown_target(parts.output)} exists already",
                hint="--overwrite replaces it",
            )
    known = [strip.as_json() for strip in strips] + [{_APPEARS: name} for name in sorted(appeared)]
    journal.begin(now, known + [_ASSEMBLED] * is_assembled)
    return work


def _stored(plan: SegmentPlan, strips: list[Strip]) -> list[Strip]:
    """The strips whose parts are all there as they were written."""
    found = plan.mask_parts.kept([strip.mask for strip in strips])
    strips = [strip for strip in strips if strip.mask in found]
    if plan.probability_parts is None:
        return strips
    parts = [strip.probability for strip in strips if strip.probability is not None]
    found = plan.probability_parts.kept(parts)
    return [strip for strip in strips if strip.probability in found]


def _drop(plan: SegmentPlan, journal: AnyJournal, report: Reporter) -> None:
    """Remove the probabilities of an earlier run that had them elsewhere."""
    before, _ = journal.read()
    raster = (before or {}).get(_PROBABILITY)
    if not isinstance(raster, list) or not raster or not isinstance(raster[0], str):
        return
    if raster[0] in {_named(parts.output) for parts in plan.parts}:
        return  # it is this run's own, and held already
    with suppress(OutputError):
        hold_place(Path(raster[0]), report).remove()


def _named(output: Path) -> str:
    """What an output is called in a journal."""
    return str(shown_target(same_everywhere(output)))


def _gaps(within: tuple[int, int], done: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Parts of a range that no other range covers."""
    found = []
    at, end = within
    for first, last in sorted(done):
        if first > at:
            found.append((at, min(first, end)))
        at = max(at, last)
    if at < end:
        found.append((at, end))
    return found

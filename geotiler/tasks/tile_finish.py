"""How a data set of chips ends: which chips stay, in which split, and what is written of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geotiler.core.splits import Unit, assigned, kept_empty
from geotiler.errors import InputError
from geotiler.io.chip_folder import CONTACT_SHEET, INDEX, ChipFolder, ChipRecord, RowRecord
from geotiler.io.chip_index import IndexedScene, write_index
from geotiler.io.contact_sheet import write_contact_sheet
from geotiler.progress import Notice, Reporter
from geotiler.specs import SPLITS, TileSpec
from geotiler.tasks.tile_plan import TilePlan
from geotiler.tasks.tile_plan_description import described

ALL = "all"
"""The one list of a data set without a split."""


def finished_data_set(
    plan: TilePlan, folder: ChipFolder, rows: Sequence[RowRecord], report: Reporter
) -> dict[str, Any]:
    """The description of a data set whose chips are written: what stays is decided, and where;
    lists, index, contact sheet and description are written.

    Args:
        plan: what was asked for.
        folder: of the data set.
        rows: finished rows of chips, in any order.
        report: hears notices.

    Raises:
        InputError: no chip is left.
    """
    every = sorted(
        (chip for row in rows for chip in row.chips), key=lambda c: (c.scene, c.row, c.col)
    )
    left_out: dict[str, int] = {}
    for row in rows:
        for reason, count in row.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
    kept = _kept(every, plan.spec)
    if len(kept) < len(every):
        left_out["empty"] = len(every) - len(kept)
    if not kept:
        folder.abandon()
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        raise InputError(
            f"no chip is left of {plan.chips}: {reasons}",
            hint="see --min-valid, --empty-ratio and --label-extent",
        )
    splits = _splits(kept, plan)
    by_split: dict[str, list[ChipRecord]] = {name: [] for name in plan.split_names or [ALL]}
    for chip, split in zip(kept, splits, strict=True):
        by_split[split].append(chip)
    for split, chips in by_split.items():
        folder.write_list(split, (chip.name for chip in chips))
        if not chips:
            message = f"no chip is in {split}: too few blocks have data"
            report(Notice(message=message, warning=True))
    description = described(plan, by_split, left_out)
    classes = {int(key): name for key, name in description["classes"].items()}
    scenes = [
        IndexedScene(name=scene.prefix, transform=scene.frame.transform, crs=scene.frame.crs)
        for scene in plan.scenes
    ]
    write_index(folder.root / INDEX, kept, splits, scenes, classes)
    write_contact_sheet(folder.root / CONTACT_SHEET, folder, by_split, classes)
    folder.remove_chips({chip.name for chip in every} - {chip.name for chip in kept})
    folder.finish(description)
    return description


def _kept(every: Sequence[ChipRecord], spec: TileSpec) -> list[ChipRecord]:
    """The chips without the surplus of empty ones."""
    if spec.empty_ratio is None:
        return list(every)
    empty = [chip.name for chip in every if not chip.has_objects]
    most = round(spec.empty_ratio * (len(every) - len(empty)))
    stay = kept_empty(empty, most, spec.seed)
    return [chip for chip in every if chip.has_objects or chip.name in stay]


def _splits(kept: Sequence[ChipRecord], plan: TilePlan) -> list[str]:
    """The split of each chip."""
    if plan.spec.scene_splits:
        return [plan.scenes[chip.scene].split for chip in kept]
    if plan.shares is None:
        return [ALL] * len(kept)
    members: dict[str, list[ChipRecord]] = {}
    for chip in kept:
        members.setdefault(plan.units[chip.scene, chip.block], []).append(chip)
    units = []
    for name, chips in members.items():
        labelled = max(1, sum(chip.labelled_px for chip in chips))
        objects = sum(sum(chip.class_px.values()) for chip in chips)
        units.append(Unit(name=name, chips=len(chips), objects=objects / labelled))
    numbers = assigned(units, plan.shares, plan.spec.seed)
    split_of = {unit.name: SPLITS[number] for unit, number in zip(units, numbers, strict=True)}
    return [split_of[plan.units[chip.scene, chip.block]] for chip in kept]

"""What `dataset.json` says: how a data set was made, and what is in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from geotiler.io.chip_folder import IMAGES, MASKS, ChipRecord
from geotiler.io.identity import shown_name
from geotiler.specs import MASK_NODATA
from geotiler.tasks.tile_plan import PlannedScene, TilePlan

FORMAT = "geotiler dataset 1"


def described(
    plan: TilePlan, by_split: Mapping[str, Sequence[ChipRecord]], left_out: Mapping[str, int]
) -> dict[str, Any]:
    """The content of `dataset.json`; no time, host, user or absolute path is in it.

    Training reads from it the ground sample distance and what the values of masks mean.
    """
    every = [chip for chips in by_split.values() for chip in chips]
    classes = _classes(plan, every)
    masks = None
    if plan.spec.labels:
        masks = {"folder": MASKS, "background": 0, "ignore": MASK_NODATA}
    bad = {} if plan.labels is None else plan.labels.bad_features
    unmapped = {} if plan.labels is None else plan.labels.unmapped_features
    first = plan.scenes[0]
    return {
        "format": FORMAT,
        "images": {
            "folder": IMAGES,
            "dtype": first.dtype,
            "bands": [name or str(band) for band, name in zip(first.bands, first.band_names,
                                                               strict=True)],
            "invalid": "internal mask; 0, or NaN in floating point",
        },
        "masks": masks,
        "classes": {str(key): name for key, name in sorted(classes.items())},
        "gsd_m": _common_gsd_m(plan.scenes),
        "tile_px": list(plan.spec.tile_px),
        "block_px": None if plan.block_px is None else list(plan.block_px),
        "chips": len(every),
        "with_objects": sum(chip.has_objects for chip in every),
        "splits": {split: _share(chips, classes) for split, chips in by_split.items()},
        "left_out": dict(sorted(left_out.items())),
        "bad_features": {shown_name(path): count for path, count in sorted(bad.items())},
        "bad_scenes": len(plan.spec.scenes) - len(plan.scenes),
        "unmapped_features": {shown_name(path): count for path, count in sorted(unmapped.items())},
        "scenes": [_scene(plan, number, every) for number in range(len(plan.scenes))],
        "made_from": plan.made_from,
    }  # fmt: skip


def _classes(plan: TilePlan, chips: Sequence[ChipRecord]) -> dict[int, str]:
    """Every class that has a name or a pixel."""
    named = {} if plan.labels is None else plan.labels.classes
    found = {key for chip in chips for key in chip.class_px}
    return {key: named.get(key, str(key)) for key in found | set(named)}


def _common_gsd_m(scenes: Sequence[PlannedScene]) -> float | None:
    """One number for all chips; None where it is unknown or scenes differ by more than 2 %."""
    values = [mean_gsd_m(scene.gsd_m) for scene in scenes]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or max(known) > 1.02 * min(known):
        return None
    return round(math.exp(sum(math.log(value) for value in known) / len(known)), 6)


def mean_gsd_m(gsd_m: tuple[float, float] | None) -> float | None:
    """The side of a square with a pixel's area."""
    return None if gsd_m is None else round(math.sqrt(gsd_m[0] * gsd_m[1]), 6)


def _share(chips: Sequence[ChipRecord], classes: Mapping[int, str]) -> dict[str, Any]:
    pixels = sum(chip.height * chip.width for chip in chips)
    return {
        "chips": len(chips),
        "with_objects": sum(chip.has_objects for chip in chips),
        "px": pixels,
        "labelled_px": sum(chip.labelled_px for chip in chips),
        "class_px": {
            name: sum(chip.class_px.get(key, 0) for chip in chips)
            for key, name in sorted(classes.items())
        },
    }


def _scene(plan: TilePlan, number: int, chips: Sequence[ChipRecord]) -> dict[str, Any]:
    scene = plan.scenes[number]
    crs = scene.frame.crs
    authority = None if crs is None else crs.to_authority()
    labels = () if plan.labels is None else plan.labels.of_scene.get(scene.path, ())
    return {
        "name": shown_name(scene.path),
        "chips": sum(chip.scene == number for chip in chips),
        "chips_begin_with": f"{scene.prefix}_r",
        "shape": list(scene.frame.scene_shape),
        "chips_shape": list(scene.frame.shape),
        "crs": ":".join(authority) if authority else (crs.to_wkt() if crs else None),
        "transform": list(scene.frame.transform)[:6],
        "bands": list(scene.bands),
        "gsd_m": None if scene.gsd_m is None else [round(value, 6) for value in scene.gsd_m],
        "labels": [shown_name(path) for path in labels],
    }

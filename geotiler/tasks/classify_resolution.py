"""At which resolution a scene is labelled: what is read of it, and what becomes of its pixels."""

from __future__ import annotations

from geotiler.core.resample import Axis
from geotiler.errors import SpecError
from geotiler.io.raster import Scene
from geotiler.io.scene_values import gsd_notice, no_crs_notice
from geotiler.models.bundle import Bundle
from geotiler.specs import ClassifySpec
from geotiler.tasks.classify_input import Decisions

GSD_TOLERANCE = 1.25
"""A scene's GSD may differ from the model's by this factor before it is resampled."""

COARSEST_RATIO = 2.0
"""Scenes are enlarged by no more than this: there is nothing in them to be seen."""

ROUNDING = 1.01
"""A 20 m pixel is 20.01 m on the ground where the map's scale is not quite 1."""


def gsd_setting(
    spec: ClassifySpec, bundle: Bundle, scene: Scene, decisions: Decisions
) -> tuple[float, float] | None:
    """Size (x, y) that a pixel is taken to have; None: nobody says it."""
    wanted = bundle.card.gsd_m
    gsd_m, origin = (spec.gsd_m, "flag") if spec.gsd_m else (scene.gsd_m, "scene")
    if gsd_m is None and wanted is not None:
        origin = "model card"
        decisions.notices.append(no_crs_notice(scene, wanted, "--scene-gsd"))
    if told := gsd_notice(scene, spec.gsd_m, "--scene-gsd"):
        decisions.notices.append(f"{told}; areas stay those of the georeference")
    decisions.say("gsd_m", [round(value, 4) for value in gsd_m] if gsd_m else wanted, origin)
    return gsd_m


def fitting_overview(
    scene: Scene, gsd_m: tuple[float, float] | None, wanted_m: float | None
) -> int | None:
    """The coarsest overview that is not coarser than the model; None: full resolution.

    Without a CRS there is none: coordinates of the map would be those of the overview.
    """
    if gsd_m is None or wanted_m is None or scene.crs is None:
        return None
    fitting = [
        level
        for level, factor in enumerate(scene.overviews)
        if max(gsd_m) * factor <= wanted_m * ROUNDING
    ]
    return fitting[-1] if fitting else None


def network_axes(
    spec: ClassifySpec, bundle: Bundle, scene: Scene, gsd_m: tuple[float, float] | None
) -> tuple[Axis, Axis]:
    """(row, column) axes from what is read to the network's grid."""
    wanted = bundle.card.gsd_m
    x = y = 1.0
    if gsd_m is not None and wanted is not None:
        x, y = (value / wanted for value in gsd_m)
        if max(x, y) > COARSEST_RATIO * ROUNDING and not spec.insist:
            raise SpecError(
                f"{scene.path} has {max(gsd_m):.3g} m per pixel, model {bundle.card.name!r} was "
                f"trained at {wanted:g} m: enlarging it {max(x, y):.3g} times "
                f"(at most {COARSEST_RATIO:g}) shows nothing new",
                hint="classify --insist does it all the same",
            )
        limit = GSD_TOLERANCE + 1e-3  # a hair of rounding is no reason to resample
        x, y = (1.0 if 1 / limit <= ratio <= limit else _whole(ratio) for ratio in (x, y))
    return Axis.scaled(scene.height, y), Axis.scaled(scene.width, x)


def _whole(ratio: float) -> float:
    """A ratio that is nearly n or 1 / n as exactly that: cells then end on the scene's pixels.

    Pixels of a map are never quite as long on the ground as they say.
    """
    count = round(max(ratio, 1 / ratio))
    exact = float(count) if ratio > 1 else 1 / count
    return exact if exact / ROUNDING <= ratio <= exact * ROUNDING else ratio

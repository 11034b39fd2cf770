"""`geotiler info`: what a scene is, and what a model would take to run over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geotiler.cli.options import (
    AsJson,
    BackendName,
    Device,
    Model,
    ModelBands,
    PrecisionName,
    Quiet,
    SceneFile,
    SceneGsd,
    chosen_bands,
    metres_per_pixel,
)
from geotiler.errors import DeviceError, GeotilerError, MissingExtraError, ModelError
from geotiler.specs import (
    Backend,
    BackendSpec,
    ClassifySpec,
    Precision,
    RadiometrySpec,
    SegmentSpec,
)

if TYPE_CHECKING:
    from geotiler.reports import Report


def info(
    scene: SceneFile,
    model: Model = "buildings",
    bands: ModelBands = None,
    scene_gsd: SceneGsd = None,
    device: Device = "auto",
    backend: BackendName = Backend.AUTO,
    precision: PrecisionName = Precision.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Tell what a scene is, and what a run over it would cost.

    Of a mask that geotiler made it tells classes, colours, model and settings instead. The plan is
    that of `geotiler segment --dry-run`, or of `classify` for a model that labels tiles: the model
    is loaded and tried for about two seconds, nothing is written. A model that does not fit is an
    answer too, with exit code 0.
    """
    numbers, gsd_m = chosen_bands(bands), metres_per_pixel(scene_gsd, "--scene-gsd")
    masks = SegmentSpec(
        scene=scene,
        output=Path("mask.tif"),  # never looked at
        model=model,
        bands=numbers,
        gsd_m=gsd_m,
        device=device,
        backend=backend,
        precision=precision,
    )
    labels = ClassifySpec(
        scene=(scene,),
        output="-",
        model=model,
        radiometry=RadiometrySpec(bands=numbers),
        gsd_m=gsd_m,
        run=BackendSpec(backend=backend, device=device, precision=precision),
    )
    from geotiler.cli.console import emit, emit_sections
    from geotiler.models.registry import find_model
    from geotiler.tasks.describe import describe

    found = describe(scene).as_dict()
    card = find_model(model).card
    wants = {
        "name": f"{card.name} {card.version}",
        "task": card.task,
        "bands": list(card.bands),
        "values": [card.scale.minimum, card.scale.maximum],
        "gsd_m": card.gsd_m,
        "tile_px": card.tile_px,
        "classes": [item.name for item in card.classes],
    }
    if found["made"] is not None:
        plan = _no_scene(found["made"])
    elif card.task == "classification":
        plan = _labels(labels, len(card.bands))
    else:
        plan = _masks(masks, len(card.bands))
    values = {"scene": found, "model": wants, **plan}
    if as_json:
        emit(values, True, "")
    else:
        emit_sections(_readable(values))


def _no_scene(made: dict[str, Any]) -> dict[str, Any]:
    """In the place of a plan, of a raster that is no scene."""
    reason = f"it is a {made['kind']} that geotiler made, no scene"
    return {"fits": False, "reason": reason, "plan": None}


def _made(made: dict[str, Any]) -> dict[str, Any]:
    """The rows of a table about a raster that geotiler made."""
    classes = {
        f"class {item['id']}": " ".join(filter(None, (item["name"], item["color"])))
        for item in made["classes"]
    }
    about = {key: made[key] for key in ("kind", "model", "model_digest", "version")}
    return {**about, **classes, **made["settings"]}


def _plan(cost: Callable[[], Report], among_bands: Callable[[], object] | None) -> dict[str, Any]:
    """Whether a model fits, why not, and the plan if it does.

    Args:
        cost: what a run would take.
        among_bands: tries the model on bands of the scene, whichever; None: they were chosen.
    """
    try:
        plan = cost().as_dict()
    except (ModelError, DeviceError, MissingExtraError):
        raise
    except GeotilerError as error:  # scene and model do not go together
        reasons = dict.fromkeys([str(error), *_beside_bands(among_bands)])
        return {"fits": False, "reason": "; and ".join(reasons), "plan": None}
    for key in ("scene", "shape", "model"):
        del plan[key]
    return {"fits": True, "reason": None, "plan": plan}


def _beside_bands(among_bands: Callable[[], object] | None) -> list[str]:
    """What keeps the model from fitting, whatever bands are chosen; nothing if they were."""
    try:
        if among_bands is not None:
            among_bands()
    except GeotilerError as error:
        return [str(error)]
    return []


def _masks(spec: SegmentSpec, bands: int) -> dict[str, Any]:
    """`_plan` of a model, of so many bands, that makes masks."""
    from geotiler.tasks.segment import estimate
    from geotiler.tasks.segment_plan import plan_segment

    def among_bands() -> object:
        return plan_segment(replace(spec, bands=(1,) * bands), will_write=False)

    return _plan(
        lambda: estimate(spec, will_write=False), among_bands if spec.bands is None else None
    )


def _labels(spec: ClassifySpec, bands: int) -> dict[str, Any]:
    """`_plan` of a model, of so many bands, that labels tiles."""
    from geotiler.tasks.classify import estimate
    from geotiler.tasks.classify_plan import plan_classify

    def among_bands() -> object:
        chosen = replace(spec.radiometry, bands=(1,) * bands)
        return plan_classify(replace(spec, radiometry=chosen))

    return _plan(lambda: estimate(spec), among_bands if spec.radiometry.bands is None else None)


def _bands(names: list[str]) -> str:
    if set(names) == {"unnamed"}:
        return f"{len(names)}, without names"
    return f"{len(names)}: {', '.join(names)}"


def _readable(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Sections of a table."""
    from geotiler.cli.console import told_settings

    scene, plan = dict(values["scene"]), values["plan"]
    share, read_from = scene.pop("nodata_share"), scene.pop("nodata_from")
    scene["nodata_share"] = f"{share:.1%} (from {read_from})"
    scene["bands"] = _bands(scene["bands"])
    height, width = scene["shape"]
    if scene["crs"] is None and scene["bounds"] == [0, 0, width, height]:
        scene["bounds"] = f"0,0,{width},{height} (no CRS: columns and rows, from the top left)"
    if (made := scene.pop("made")) is not None:
        return {"Scene": scene, "Made by geotiler": _made(made)}
    if plan is None:
        return {
            "Scene": scene,
            "Model": values["model"],
            "Fit": {"fits": "no", "": values["reason"]},
        }
    plan = dict(plan)
    settings, notices = plan.pop("settings"), plan.pop("notices")
    fit = told_settings(settings)
    warnings = {f"note {index}": text for index, text in enumerate(notices, start=1)}
    return {
        "Scene": scene,
        "Model": values["model"],
        "Fit": {"fits": "yes", **fit, **warnings},
        "Plan": plan,
    }

"""`geotiler evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geotiler.cli.options import AsJson, ClassNames, Overwrite, Quiet, Verbose
from geotiler.specs import SMALLEST_M2, EvaluateSpec

MOST_SCENES = 12
"""More scenes than this are not listed one by one."""


def evaluate(
    predictions: Annotated[
        list[str],
        typer.Argument(
            metavar="PREDICTION...", help="Masks of class ids, polygons, or a folder of them."
        ),
    ],
    truth: Annotated[
        list[str],
        typer.Option(
            help="Raster of class ids or polygons in any CRS, or a folder; may be given again. One "
            "is for all; of several each prediction takes that of its name, else of its place.",
            show_default=False,
        ),
    ],
    class_: ClassNames = None,
    attribute: Annotated[
        str, typer.Option(help="Attribute of polygons that holds a class's name or id.")
    ] = "class",
    grid: Annotated[
        str | None,
        typer.Option(
            help="Raster whose pixels are counted where both are polygons.", show_default=False
        ),
    ] = None,
    boundary: Annotated[
        int, typer.Option(help="Pixels from an outline that the boundary IoU counts.")
    ] = 3,
    min_area: Annotated[
        float,
        typer.Option(
            help="Smaller objects are left out on both sides, in m²; in pixels where nothing tells "
            "their size."
        ),
    ] = SMALLEST_M2,
    pixels_only: Annotated[
        bool, typer.Option("--pixels-only", help="Do not compare objects.")
    ] = False,
    probability: Annotated[
        list[str] | None,
        typer.Option(
            help="Probability raster of the scene, or a folder: tells what other thresholds give.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="PNG of that sweep over thresholds.", show_default=False)
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Table of all scores.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compare masks or polygons with the truth, in pixels and in objects."""
    spec = EvaluateSpec(
        predictions=tuple(predictions),
        truths=tuple(truth),
        classes=tuple(class_) if class_ else None,
        attribute=attribute,
        grid=grid,
        boundary_px=boundary,
        objects=not pixels_only,
        least_area_m2=min_area,
        probabilities=tuple(probability or ()),
        plot=plot,
        csv=csv,
        overwrite=overwrite,
    )
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.evaluate import evaluate as run

    with reporter(quiet) as report:
        values = run(spec, report=report).as_dict()
    emit(values if as_json else _shown(values, verbose), as_json, "geotiler evaluate")


def _shown(values: dict[str, Any], in_full: bool) -> dict[str, Any]:
    """The scores of all scenes, and one line for each scene if there are several."""
    scenes = values.pop("scenes")
    classes = values.pop("classes")
    for name, result in classes.items():
        sweep = result.pop("sweep")
        if sweep:
            values["average_precision", name] = sweep["average_precision"]
            best = sweep["best"]
            values["best_threshold", name] = f"{best['threshold']:g} (IoU {best['iou']:.4g})"
    shown = {key if isinstance(key, str) else f"{key[1]}: {key[0]}": v for key, v in values.items()}
    for name, result in classes.items():  # of one class alone the same stands above
        shown[name] = {k: v for k, v in result.items() if len(classes) > 1 or k not in values}
    if len(scenes) > 1 and (in_full or len(scenes) <= MOST_SCENES):
        shown["scene"] = {scene["prediction"]: _line(scene["classes"]) for scene in scenes}
    return shown


def _line(classes: dict[str, Any]) -> str:
    """The scores of one scene, one class after the other."""
    told = []
    for name, result in classes.items():
        scores = {"IoU": result["iou"], "F1": result["f1"]}
        if result["objects"] is not None:
            scores["objects F1"] = result["objects"]["f1"]
        parts = [f"{key} {'none' if v is None else format(v, '.4g')}" for key, v in scores.items()]
        told.append((f"{name} " if len(classes) > 1 else "") + ", ".join(parts))
    return "; ".join(told)

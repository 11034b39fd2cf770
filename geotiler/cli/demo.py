"""`geotiler demo`: the whole way from a scene to buildings, on a scene that is rendered first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geotiler.cli.options import AsJson, Model, Quiet, Seed
from geotiler.errors import OutputError
from geotiler.machine import return_large_blocks

if TYPE_CHECKING:
    from geotiler.progress import Reporter

_MARK = "demo.json"
"""A folder that holds this file was made by the demo, which may then write over its own files."""

_FILES = ("scene.tif", "truth.geojson", "mask.tif", "buildings.geojson", "preview.png")


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write; made if needed.")] = Path("demo"),
    height: Annotated[int, typer.Option(help="Rows of the scene, in pixels.")] = 4573,
    width: Annotated[int, typer.Option(help="Columns of the scene, in pixels.")] = 4418,
    seed: Seed = 7,
    model: Model = "buildings",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Render an example scene, find its buildings, and score them against the known truth.

    Writes scene.tif, truth.geojson, mask.tif, buildings.geojson, preview.png and demo.json. The
    scene is synthetic: what is scored here says that everything works, not how well the model
    does on real imagery.
    """
    from geotiler.cli.console import emit, reporter
    from geotiler.models.registry import find_model

    _check_ours(folder)
    find_model(model)  # before anything is written
    _claim(folder)
    with reporter(quiet) as report:
        summary = _run(folder, height, width, seed, model, report)
    (folder / _MARK).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    emit(summary, as_json, "geotiler demo")


def _check_ours(folder: Path) -> None:
    """Raises: OutputError: an address, or files of somebody else under the demo's names."""
    from geotiler.io.outputs import check_is_local  # loads GDAL

    check_is_local(folder)
    if (folder / _MARK).is_file():
        return
    for name in _FILES:
        if (folder / name).exists():
            raise OutputError(
                f"{folder / name} exists and was not made by the demo",
                hint="name another folder: geotiler demo FOLDER",
            )


def _claim(folder: Path) -> None:
    """Make the folder and mark it as the demo's. Raises: OutputError: it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Written first, so that an interrupted demo can be run again.
        (folder / _MARK).write_text("{}\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror}",
            hint="name another folder: geotiler demo FOLDER",
        ) from error


def _run(
    folder: Path, height: int, width: int, seed: int, model: str, report: Reporter
) -> dict[str, Any]:
    """What was made and measured, ready for JSON."""
    from geotiler.specs import EvaluateSpec, PreviewSpec, RenderSpec, SegmentSpec, VectorizeSpec
    from geotiler.tasks.evaluate import evaluate
    from geotiler.tasks.preview import preview
    from geotiler.tasks.render import render
    from geotiler.tasks.segment import segment
    from geotiler.tasks.vectorize import vectorize

    return_large_blocks()

    scene, truth, mask, buildings, picture = (folder / name for name in _FILES)
    render(
        RenderSpec(
            output=scene, truth=truth, height=height, width=width, seed=seed, overwrite=True
        ),
        report=report,
    )
    segmented = segment(
        SegmentSpec(scene=str(scene), output=mask, model=model, overwrite=True), report=report
    ).as_dict()
    vectorized = vectorize(
        VectorizeSpec(mask=str(mask), output=str(buildings), overwrite=True), report=report
    ).as_dict()
    asked = EvaluateSpec(predictions=(str(mask),), truths=(str(truth),), objects=False)
    scores = evaluate(asked, report=report).as_dict()
    preview(
        PreviewSpec(
            scene=str(scene),
            output=picture,
            layers=(str(mask),),
            truth=str(truth),
            width_px=min(1000, width),  # no more than there is
            detail_px=600,
            overwrite=True,
        ),
        report=report,
    )
    return _summary(folder, height * width, segmented, vectorized, scores)


def _summary(
    folder: Path,
    pixels: int,
    segmented: dict[str, Any],
    vectorized: dict[str, Any],
    scores: dict[str, Any],
) -> dict[str, Any]:
    from geotiler.machine import peak_memory_bytes

    return {
        "folder": str(folder),
        "pixels": pixels,
        "segment_seconds": segmented["seconds"],
        "segment_mpx_per_s": segmented["mpx_per_s"],
        # Of all steps, rendering included: one process did them all.
        "peak_memory_bytes": peak_memory_bytes(),
        "buildings": vectorized["polygons"],
        "synthetic_iou": scores["iou"],
        "synthetic_f1": scores["f1"],
    }

"""`geotiler preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotiler.cli.options import (
    AsJson,
    Bounds,
    BoundsCrs,
    Overwrite,
    Quiet,
    SceneFile,
    four_bounds,
)
from geotiler.specs import PreviewSpec


def preview(
    scene: SceneFile,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Picture (.png), or page (.html) that needs no network.",
            show_default=False,
        ),
    ],
    layers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MASK|VECTOR]...", help="What to draw over it, in this order."),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            help="What is truly there, raster or polygons: shows hits, misses and false alarms.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(help="Width of the picture in pixels.", show_default="1600, 2048 in a page"),
    ] = None,
    detail: Annotated[
        int, typer.Option(help="Show a square of so many scene pixels beside it; 0 for none.")
    ] = 0,
    bounds: Bounds = None,
    bounds_crs: BoundsCrs = None,
    attribution: Annotated[
        str | None, typer.Option(help="Whose imagery it is.", show_default="the scene's own tag")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look at a scene with masks, polygons and truth over it, as a picture or a page."""
    spec = PreviewSpec(
        scene=scene,
        output=output,
        layers=tuple(layers or ()),
        truth=truth,
        width_px=width,
        detail_px=detail,
        bounds=four_bounds(bounds),
        bounds_crs=bounds_crs,
        attribution=attribution,
        overwrite=overwrite,
    )
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.preview import preview as run

    with reporter(quiet) as report:
        values = run(spec, report=report).as_dict()
    emit(values, as_json, "geotiler preview")

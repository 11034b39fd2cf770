"""`geotiler render`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotiler.cli.options import AsJson, Overwrite, Quiet, Seed
from geotiler.specs import RenderSpec


def render(
    output: Annotated[Path, typer.Argument(help="GeoTIFF to write.")],
    truth: Annotated[
        Path | None, typer.Option(help="Also write the footprints, as GeoJSON.", show_default=False)
    ] = None,
    height: Annotated[int, typer.Option(help="Rows, in pixels.")] = 4573,
    width: Annotated[int, typer.Option(help="Columns, in pixels.")] = 4418,
    gsd: Annotated[float, typer.Option(help="Metres per pixel.")] = 0.5,
    seed: Seed = 7,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Render a synthetic aerial scene with known buildings, of any size."""
    spec = RenderSpec(
        output=output,
        truth=truth,
        height=height,
        width=width,
        gsd_m=gsd,
        seed=seed,
        overwrite=overwrite,
    )
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.render import render as run

    with reporter(quiet) as report:
        values = run(spec, report=report).as_dict()
    emit(values, as_json, "geotiler render")

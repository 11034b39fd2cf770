"""`geotiler evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from geotiler.cli.options import AsJson, Quiet
from geotiler.specs import EvaluateSpec


def evaluate(
    mask: Annotated[str, typer.Argument(help="Mask of class ids; nodata is left out.")],
    truth: Annotated[
        str,
        typer.Option(help="Raster of class ids or polygons, in any CRS.", show_default=False),
    ],
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="Class name or id; may be given again.", show_default="all classes"
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare a mask with the truth: IoU, F1, precision and recall in pixels."""
    spec = EvaluateSpec(mask=mask, truth=truth, classes=tuple(class_) if class_ else None)
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.evaluate import evaluate as run

    with reporter(quiet) as report:
        values = run(spec, report=report).as_dict()
    emit(values, as_json, "geotiler evaluate")

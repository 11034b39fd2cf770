"""`geotiler vectorize`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from geotiler.cli.options import AsJson, Overwrite, Quiet
from geotiler.errors import SpecError
from geotiler.specs import VectorizeSpec


def vectorize(
    mask: Annotated[str, typer.Argument(help="Mask of class ids; 0 and nodata are left out.")],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .geojson (EPSG:4326), .gpkg, .fgb or .parquet (the mask's CRS), "
            "or - for GeoJSON on stdout.",
            show_default=False,
        ),
    ],
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="Class name or id; may be given again.", show_default="all classes"
        ),
    ] = None,
    min_area: Annotated[
        float, typer.Option(help="Drop smaller polygons, in m² (pixels without a CRS).")
    ] = 10.0,
    min_hole: Annotated[
        float, typer.Option(help="Fill smaller holes, in m² (pixels without a CRS).")
    ] = 2.0,
    simplify: Annotated[
        float | None,
        typer.Option(
            help="Tolerance in metres (pixels without a CRS); 0 keeps every corner.",
            show_default="one pixel",
        ),
    ] = None,
    eight_connected: Annotated[
        bool, typer.Option("--eight-connected", help="Join pixels that touch at a corner only.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn a mask into polygons with id, class, area_m2 and perimeter_m."""
    to_stdout = output == "-"
    if to_stdout and as_json:
        raise SpecError("stdout cannot hold both polygons and report", "leave out --json or -o -")
    spec = VectorizeSpec(
        mask=mask,
        output=output,
        classes=tuple(class_) if class_ else None,
        min_area_m2=min_area,
        min_hole_m2=min_hole,
        simplify_m=simplify,
        eight_connected=eight_connected,
        overwrite=overwrite,
    )
    from geotiler.cli.console import emit, reporter
    from geotiler.progress import Notice
    from geotiler.tasks.vectorize import vectorize as run

    with reporter(quiet) as report:
        result = run(spec, report=report, stream=sys.stdout if to_stdout else None)
        if to_stdout:
            sys.stdout.flush()
            report(Notice(message=f"{result.polygons} polygons in {result.seconds:g} s"))
            return
    emit(result.as_dict(), as_json, "geotiler vectorize")

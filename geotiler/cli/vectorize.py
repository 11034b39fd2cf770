"""`geotiler vectorize`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from geotiler.cli.options import AsJson, ClassNames, HashContent, Overwrite, Quiet, Restart
from geotiler.errors import SpecError
from geotiler.specs import SMALLEST_HOLE_M2, SMALLEST_M2, OutlinesFrom, Regularize, VectorizeSpec


def vectorize(
    mask: Annotated[
        str,
        typer.Argument(
            help="Mask of class ids, 0 and nodata left out; or probabilities, as written by "
            "segment --probability."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .geojson or .geojsonl (EPSG:4326), .gpkg, .fgb, .parquet or .shp "
            "(the mask's CRS), or - for GeoJSON on stdout.",
            show_default=False,
        ),
    ],
    class_: ClassNames = None,
    regularize: Annotated[
        Regularize,
        typer.Option(
            help="How outlines are drawn; auto leaves masks of several classes without gaps."
        ),
    ] = Regularize.AUTO,
    max_deviation: Annotated[
        float,
        typer.Option(help="Refuse regular outlines further from the mask's, in pixels on average."),
    ] = 0.75,
    outlines_from: Annotated[
        OutlinesFrom,
        typer.Option(help="Outlines along pixels (mask) or between them (probability)."),
    ] = OutlinesFrom.AUTO,
    probability: Annotated[
        str | None,
        typer.Option(
            help="Probabilities on the mask's grid: outlines between pixels, mean_probability.",
            show_default="none",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Where MASK holds probabilities of one class.", show_default="its tags, else 0.5"
        ),
    ] = None,
    min_area: Annotated[
        float, typer.Option(help="Drop smaller polygons, in m² (pixels without a CRS).")
    ] = SMALLEST_M2,
    min_hole: Annotated[
        float, typer.Option(help="Fill smaller holes, in m² (pixels without a CRS).")
    ] = SMALLEST_HOLE_M2,
    sieve: Annotated[
        int,
        typer.Option(help="Patches of fewer pixels, of any class, join what is around them first."),
    ] = 0,
    simplify: Annotated[
        float | None,
        typer.Option(
            help="Tolerance of what is not regularized, in metres (pixels without a CRS); 0 keeps "
            "every corner.",
            show_default="one pixel",
        ),
    ] = None,
    separate: Annotated[
        bool,
        typer.Option(
            "--separate",
            help="Part houses that touch, where the probability drops between them; needs "
            "probabilities.",
        ),
    ] = False,
    snap_neighbours: Annotated[
        bool,
        typer.Option(
            "--snap-neighbours",
            help="Walls less than two pixels apart become one; holds all polygons in memory.",
        ),
    ] = False,
    eight_connected: Annotated[
        bool, typer.Option("--eight-connected", help="Join pixels that touch at a corner only.")
    ] = False,
    layer: Annotated[
        str | None, typer.Option(help="Layer of a GeoPackage.", show_default="the file's name")
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Add to an existing .gpkg or .geojsonl.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(help="Processes that draw; for many thousands of polygons. Same result."),
    ] = 1,
    restart: Restart = False,
    hash_content: HashContent = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn a mask into polygons that look drawn, with area_m2, perimeter_m, orientation and status.

    status says how each one was drawn: right_angles, any_angle, circle, cut (back from a
    neighbour), or simplified, where nothing regular lies near enough to the mask's outline.
    """
    to_stdout = output == "-"
    if to_stdout and as_json:
        raise SpecError("stdout cannot hold both polygons and report", "leave out --json or -o -")
    spec = VectorizeSpec(
        mask=mask,
        output=output,
        classes=tuple(class_) if class_ else None,
        min_area_m2=min_area,
        min_hole_m2=min_hole,
        sieve_px=sieve,
        simplify_m=simplify,
        regularize=regularize,
        max_deviation_px=max_deviation,
        outlines_from=outlines_from,
        probability=probability,
        threshold=threshold,
        separate=separate,
        snap_neighbours=snap_neighbours,
        workers=workers,
        eight_connected=eight_connected,
        layer=layer,
        append=append,
        overwrite=overwrite,
        restart=restart,
        hash_content=hash_content,
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
    values = result.as_dict()
    if not as_json:
        values[f"area_{values.pop('area_unit')}"] = values.pop("area")
    emit(values, as_json, "geotiler vectorize")

"""`geotiler segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotiler.cli.options import (
    AsJson,
    DryRun,
    Output,
    Overwrite,
    Quiet,
    Verbose,
    numbers,
    pair,
    whole_numbers,
)
from geotiler.specs import Backend, Scale, SegmentSpec


def segment(
    scene: Annotated[str, typer.Argument(help="Raster of any size, anything GDAL opens.")],
    output: Output,
    model: Annotated[
        str, typer.Option(help="Shipped model, model folder, or .onnx beside its card.")
    ] = "buildings",
    tile: Annotated[
        str, typer.Option(help="Tile side in pixels, or HEIGHT,WIDTH, or auto.")
    ] = "auto",
    overlap: Annotated[
        int | None, typer.Option(help="Pixels shared by neighbouring tiles.", show_default="card")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Tiles per forward pass.", show_default="by device")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability of a one-class model.", show_default="card")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="Bands from 1, as 4,3,2.", show_default="by name or order")
    ] = None,
    gsd: Annotated[
        str | None,
        typer.Option(help="Metres per pixel of the scene, as 0.3 or X,Y.", show_default="from CRS"),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="Raw range MIN,MAX, or auto (scene-wide 2-98 %).", show_default="card"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    backend: Annotated[Backend, typer.Option(help="What runs the network.")] = Backend.AUTO,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the network.", show_default="all cores")
    ] = None,
    probability: Annotated[
        Path | None, typer.Option(help="Also write the probability raster.", show_default=False)
    ] = None,
    probability_dtype: Annotated[
        str, typer.Option(help="uint8 (round(254 p)) or float32.")
    ] = "uint8",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Segment a scene of any size into a mask: a Cloud-Optimized GeoTIFF (or .png)."""
    spec = SegmentSpec(
        scene=scene,
        output=output,
        model=model,
        tile_px=_tile(tile),
        overlap_px=overlap,
        batch=batch,
        threshold=threshold,
        bands=whole_numbers(bands, "--bands", (0, 65_535)),
        gsd_m=pair(numbers(gsd, "--gsd", (1, 2))),
        scale=_scale(scale),
        auto_scale=scale == "auto",
        backend=backend,
        device=device,
        probability=probability,
        probability_dtype=probability_dtype,
        overwrite=overwrite,
        threads=threads,
    )
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.segment import estimate
    from geotiler.tasks.segment import segment as run

    with reporter(quiet) as report:
        if dry_run:
            values = estimate(spec).as_dict()
            emit(values, as_json, "geotiler segment would do", detailed=True)
            return
        values = run(spec, report=report).as_dict()
    emit(values, as_json, "geotiler segment")


def _tile(text: str) -> tuple[int, int] | None:
    if text == "auto":
        return None
    sides = whole_numbers(text, "--tile", (1, 2))
    assert sides is not None
    return sides[0], sides[-1]


def _scale(text: str | None) -> Scale | None:
    if text is None or text == "auto":
        return None
    values = numbers(text, "--scale", (2, 2))
    assert values is not None
    return Scale(minimum=values[0], maximum=values[1])

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
    bands_option,
    chosen_bands,
    metres_per_pixel,
    overlap_option,
    scene_gsd_option,
    tile_sides,
)
from geotiler.cli.options import scale as read_scale
from geotiler.specs import Backend, SegmentSpec


def segment(
    scene: Annotated[str, typer.Argument(help="Raster of any size, anything GDAL opens.")],
    output: Output,
    model: Annotated[
        str, typer.Option(help="Shipped model, model folder, or .onnx beside its card.")
    ] = "buildings",
    tile: Annotated[
        str, typer.Option(help="Tile side in pixels, or HEIGHT,WIDTH, or auto.")
    ] = "auto",
    overlap: Annotated[int | None, overlap_option("tiles", "card")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Tiles per forward pass.", show_default="by device")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability of a one-class model.", show_default="card")
    ] = None,
    bands: Annotated[str | None, bands_option("by name or order")] = None,
    scene_gsd: Annotated[str | None, scene_gsd_option("from CRS", "--gsd")] = None,
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
        tile_px=None if tile == "auto" else tile_sides(tile),
        overlap_px=overlap,
        batch=batch,
        threshold=threshold,
        bands=chosen_bands(bands),
        gsd_m=metres_per_pixel(scene_gsd, "--scene-gsd"),
        scale=read_scale(scale),
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

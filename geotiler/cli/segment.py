"""`geotiler segment`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from geotiler.cli.options import (
    Aoi,
    AsJson,
    BackendName,
    Bounds,
    BoundsCrs,
    Device,
    DryRun,
    HashContent,
    Model,
    ModelBands,
    Overwrite,
    PrecisionName,
    Quiet,
    RawRange,
    Restart,
    SceneGsd,
    Threads,
    Verbose,
    chosen_bands,
    four_bounds,
    metres_per_pixel,
    overlap_option,
    tile_sides,
)
from geotiler.cli.options import scale as read_scale
from geotiler.cli.scenes import is_named, made_folder, named_scenes, told_of
from geotiler.cli.session import as_typed
from geotiler.errors import SpecError
from geotiler.machine import return_large_blocks
from geotiler.specs import Backend, Engine, Precision, SegmentSpec


def segment(
    scenes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCENE...", help="Rasters of any size, anything GDAL opens; or 'tiles/*.tif'."
        ),
    ] = None,
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="File to write; for several scenes a folder.", show_default=False
        ),
    ],
    list_file: Annotated[
        Path | None,
        typer.Option(
            "--scenes",
            help="Text file with a scene per line; relative ones as on the command line.",
            show_default=False,
        ),
    ] = None,
    model: Model = "buildings",
    tile: Annotated[
        str,
        typer.Option(
            metavar="PX|H,W|auto", help="Tile side in pixels, or height and width; auto fits it."
        ),
    ] = "auto",
    overlap: Annotated[
        int | None, overlap_option("tiles", "card, at most a quarter of --tile")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Tiles per forward pass.", show_default="by device")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability of a one-class model.", show_default="card")
    ] = None,
    bands: ModelBands = None,
    scene_gsd: SceneGsd = None,
    scale: RawRange = None,
    device: Device = "auto",
    backend: BackendName = Backend.AUTO,
    precision: PrecisionName = Precision.AUTO,
    tta: Annotated[
        int,
        typer.Option(help="Mirror images averaged: 1, 2 or 4. So many times slower, and better."),
    ] = 1,
    threads: Threads = None,
    probability: Annotated[
        Path | None,
        typer.Option(
            help="Also write the probability raster; for several scenes a folder.",
            show_default=False,
        ),
    ] = None,
    probability_dtype: Annotated[
        str, typer.Option(help="uint8 (round(254 p)) or float32.")
    ] = "uint8",
    aoi: Aoi = None,
    bounds: Bounds = None,
    bounds_crs: BoundsCrs = None,
    mosaic: Annotated[
        bool,
        typer.Option("--mosaic", help="Take the scenes, which lie on one grid, for a single one."),
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="This process, or a cluster of dask workers.")
    ] = Engine.LOCAL,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Its address, as tcp://host:8786.", show_default="workers started here"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that dask starts here.", show_default="one per core"),
    ] = None,
    asset: Annotated[
        str | None,
        typer.Option(help="Asset of a STAC item (.json) to segment.", show_default="the only one"),
    ] = None,
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Read virtual rasters that point to addresses, too."),
    ] = False,
    restart: Restart = False,
    hash_content: HashContent = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Segment scenes of any size into masks: Cloud-Optimized GeoTIFFs (or .png)."""
    paths = named_scenes(scenes or [], list_file)
    spec = SegmentSpec(
        scene=paths[0],
        output=Path(output),
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
        precision=precision,
        tta=tta,
        probability=probability,
        probability_dtype=probability_dtype,
        overwrite=overwrite,
        aoi=aoi,
        bounds=four_bounds(bounds),
        bounds_crs=bounds_crs,
        mosaic=tuple(paths) if mosaic else (),
        engine=engine,
        scheduler=scheduler,
        workers=workers,
        asset=asset,
        allow_remote=allow_remote,
        restart=restart,
        hash_content=hash_content,
        threads=threads,
    )
    several = not mosaic and (len(paths) > 1 or list_file is not None or paths != scenes)
    if several or (not mosaic and output.endswith(("/", os.sep))):
        return _several(spec, paths, dry_run=dry_run, as_json=as_json, quiet=quiet)
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.segment import estimate
    from geotiler.tasks.segment import segment as run

    return_large_blocks()
    with reporter(quiet) as report:
        if dry_run:
            values = estimate(spec).as_dict()
            emit(values, as_json, "geotiler segment would do", detailed=True)
            return 0
        values = run(spec, report=report).as_dict()
    emit(values, as_json, "geotiler segment")
    return 0


def _several(
    spec: SegmentSpec, paths: list[str], *, dry_run: bool, as_json: bool, quiet: bool
) -> int:
    """Segment scenes into the folder that the specification names as its output."""
    from geotiler.cli.console import emit, reporter
    from geotiler.io.vector_formats import DRIVERS
    from geotiler.tasks.segment_many import estimate_many, named_outputs, segment_many

    files = (".tif", ".tiff", ".png", *DRIVERS)
    if spec.output.suffix.lower() in files and not spec.output.is_dir():
        from geotiler.io.part_place import shown_target

        raise SpecError(
            f"several scenes need a folder, got -o {shown_target(spec.output)}",
            hint="-o masks/; or --mosaic takes them for one scene",
        )
    return_large_blocks()
    specs = named_outputs(spec, paths)
    for folder in {spec.output, spec.probability} - {None}:
        made_folder(folder, only_check=dry_run)
    with reporter(quiet) as report:
        work = estimate_many if dry_run else segment_many
        found = work(specs, report=report)
    values = found.as_dict()
    for scene in values["scenes"]:
        scene["error"] = scene["error"] and as_typed(scene["error"])
    if quiet:  # what failed is told all the same, as an error of a single scene is
        for scene, path in zip(values["scenes"], paths, strict=True):
            if scene["error"]:
                told = told_of(scene["error"], path, scene["scene"])
                typer.echo(f"geotiler: {told}", err=True)
    title = "geotiler segment would do" if dry_run else "geotiler segment"
    emit(values if as_json else _table(values, paths), as_json, title)
    return found.exit_code


def _table(values: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """A numbered line for each scene in the place of its report; each names its scene once."""
    for number, (scene, path) in enumerate(zip(values.pop("scenes"), paths, strict=True), start=1):
        error = (scene["error"] or "").removeprefix(f"{path} ")
        if is_named(error, path):  # within the sentence
            values[str(number)] = f"{scene['status']}: {error}"
            continue
        what = error or scene["output"]
        cost = scene.get("estimate")
        if cost:
            left = cost["windows"] - cost["skipped"]
            windows = "1 window" if left == 1 else f"{left:,} windows"
            what = "; ".join([f"{what}, {windows}, {cost['seconds']:,.0f} s", *cost["notices"]])
        values[str(number)] = f"{scene['scene']} {scene['status']}: {what}"
    return values

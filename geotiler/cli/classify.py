"""`geotiler classify`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
)
from geotiler.cli.options import scale as read_scale
from geotiler.cli.scenes import told_of
from geotiler.cli.session import as_typed
from geotiler.errors import GeotilerError, SpecError
from geotiler.specs import (
    Backend,
    BackendSpec,
    ClassifyImagesSpec,
    ClassifySpec,
    Precision,
    RadiometrySpec,
)

if TYPE_CHECKING:
    from geotiler.tasks.classify_images import ImageLabel

STDOUT = "-"


def classify(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Images; with -o one scene, or one file for each of its bands."),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Map of a scene: .geojson (EPSG:4326), .gpkg, .fgb, .parquet, - for GeoJSON on "
            "stdout; or a raster of classes, .tif or .png.",
            show_default="label each input as one image",
        ),
    ] = None,
    model: Model = "landuse",
    mlflow_model: Annotated[
        Path | None,
        typer.Option(
            help="Images: folder of an MLflow model to ask instead; its code is run.",
            show_default=False,
        ),
    ] = None,
    topk: Annotated[
        int | None, typer.Option(help="Images: how many classes to list.", show_default="3")
    ] = None,
    csv: Annotated[
        str | None,
        typer.Option(
            "--csv",
            help="Images: write a table with commas, or - to print it, instead of JSON.",
            show_default=False,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Scenes: side of a cell of the map, in model pixels; less than a tile overlaps "
            "tiles and blends them.",
            show_default="one tile",
        ),
    ] = None,
    dissolve: Annotated[
        bool, typer.Option("--dissolve", help="Scenes: merge neighbouring cells of one class.")
    ] = False,
    confidence: Annotated[
        Path | None,
        typer.Option(help="Scenes: also write this raster of confidence.", show_default=False),
    ] = None,
    aoi: Aoi = None,
    bounds: Bounds = None,
    bounds_crs: BoundsCrs = None,
    min_valid: Annotated[
        float | None,
        typer.Option(help="Scenes: least share of valid pixels of a tile.", show_default="0.5"),
    ] = None,
    scene_gsd: SceneGsd = None,
    insist: Annotated[
        bool,
        typer.Option(
            "--insist",
            help="Scenes: go on when smaller than a tile, or more than 2 times coarser than the "
            "model.",
        ),
    ] = False,
    bands: ModelBands = None,
    scale: RawRange = None,
    dn_offset: Annotated[
        float | None,
        typer.Option(
            help="Added to raw values first: -1000 for Sentinel-2 since 2022.",
            show_default="from metadata",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Tiles per forward pass.")] = 16,
    device: Device = "auto",
    backend: BackendName = Backend.AUTO,
    precision: PrecisionName = Precision.AUTO,
    threads: Threads = None,
    restart: Restart = False,
    hash_content: HashContent = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Say what images show, or make a land-use map of a scene (with -o)."""
    radiometry = RadiometrySpec(
        bands=chosen_bands(bands),
        scale=read_scale(scale),
        auto_scale=scale == "auto",
        dn_offset=dn_offset,
    )
    run = BackendSpec(
        backend=backend, device=device, precision=precision, batch=batch, threads=threads
    )
    for_scenes = {
        "--stride": stride,
        "--dissolve": dissolve or None,
        "--confidence": confidence,
        "--aoi": aoi,
        "--bounds": bounds,
        "--bounds-crs": bounds_crs,
        "--min-valid": min_valid,
        "--scene-gsd": scene_gsd,
        "--insist": insist or None,
        "--restart": restart or None,
        "--hash-content": hash_content or None,
        "--overwrite": overwrite or None if csv in (None, STDOUT) else None,
        "--dry-run": dry_run or None,
    }
    if output is None:
        _refuse(for_scenes, "is for maps of scenes", "name one, as -o landuse.geojson")
        images = ClassifyImagesSpec(
            images=tuple(inputs),
            model=model,
            topk=3 if topk is None else topk,
            radiometry=radiometry,
            run=run,
        )
        return _label(images, csv, overwrite, quiet, mlflow_model)
    for_images = {"--topk": topk, "--csv": csv, "--mlflow-model": mlflow_model}
    _refuse(for_images, "is for images", "leave it or -o out")
    scene = ClassifySpec(
        scene=tuple(inputs),
        output=output,
        model=model,
        stride_px=stride,
        dissolve=dissolve,
        confidence=confidence,
        radiometry=radiometry,
        gsd_m=metres_per_pixel(scene_gsd, "--scene-gsd"),
        aoi=aoi,
        bounds=four_bounds(bounds),
        bounds_crs=bounds_crs,
        min_valid=0.5 if min_valid is None else min_valid,
        insist=insist,
        run=run,
        overwrite=overwrite,
        restart=restart,
        hash_content=hash_content,
    )
    _map(scene, dry_run, as_json, quiet, verbose)
    return 0


def _refuse(flags: dict[str, object], why: str, hint: str) -> None:
    """Raises: SpecError: a flag was given that says something about another use."""
    for flag, value in flags.items():
        if value is not None:
            raise SpecError(f"{flag} {why}", hint=hint)


def _label(
    spec: ClassifyImagesSpec,
    table: str | None,
    overwrite: bool,
    quiet: bool,
    mlflow_model: Path | None,
) -> int:
    """Print what images show: JSON for one, JSON lines for many; or make a table of it.

    Of several, one that cannot be labelled stops no other: it is told at the end, and the exit
    code is that of the first one.
    """
    import json

    from geotiler.cli.console import reporter
    from geotiler.io.identity import shown_name
    from geotiler.io.outputs import check_output
    from geotiler.io.table import write_csv
    from geotiler.tasks.classify_images import classify_images
    from geotiler.tasks.classify_mlflow import classify_with_mlflow

    if table not in (None, STDOUT):
        check_output(Path(table), overwrite)
    failures: list[tuple[str, GeotilerError]] = []
    hear = None if len(spec.images) == 1 else lambda path, error: failures.append((path, error))
    with reporter(quiet) as report:
        if mlflow_model is None:
            labels = classify_images(spec, report=report, failed=hear)
        else:
            labels = classify_with_mlflow(mlflow_model, spec.images, spec.topk, failed=hear)
        if table == STDOUT:
            _print_table(labels)
        elif table is not None:
            rows = [_row(label) for label in labels]
            if rows:  # a table of nothing has no columns
                write_csv(Path(table), rows, overwrite=overwrite)
        else:
            indent = 2 if len(spec.images) == 1 else None
            for label in labels:
                text = json.dumps(
                    label.as_dict(), indent=indent, ensure_ascii=False, allow_nan=False
                )
                print(text)
        sys.stdout.flush()
    for path, error in failures:
        print(f"geotiler: {told_of(as_typed(str(error)), path, shown_name(path))}", file=sys.stderr)
    return failures[0][1].exit_code if failures else 0


def _print_table(labels: Iterable[ImageLabel]) -> None:
    """A line for each image as soon as it is known."""
    import csv

    table: csv.DictWriter[str] | None = None
    for label in labels:
        row = _row(label)
        if table is None:
            table = csv.DictWriter(sys.stdout, fieldnames=list(row), lineterminator="\n")
            table.writeheader()
        table.writerow(row)


def _row(label: ImageLabel) -> dict[str, Any]:
    """An image in a table."""
    return {
        "image": label.image,
        "predicted_class": label.predicted_class,
        "confidence": label.probabilities[label.predicted_class],
        **{f"p_{name}": value for name, value in label.probabilities.items()},
    }


def _map(spec: ClassifySpec, dry_run: bool, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Make the map of a scene and print the report."""
    to_stdout = spec.output == STDOUT and not dry_run
    if to_stdout and as_json:
        raise SpecError("stdout cannot hold both polygons and report", "leave out --json or -o -")
    from geotiler.cli.console import emit, reporter
    from geotiler.progress import Notice
    from geotiler.tasks.classify import classify as run
    from geotiler.tasks.classify import estimate

    with reporter(quiet) as report:
        if dry_run:
            values = estimate(spec).as_dict()
            emit(values, as_json, "geotiler classify would do", detailed=True)
            return
        result = run(spec, report=report, stream=sys.stdout if to_stdout else None)
        if to_stdout:
            sys.stdout.flush()
            report(Notice(message=f"{result.polygons} polygons in {result.seconds:g} s"))
            return
    values = result.as_dict()
    emit(values if as_json else _shown(values), as_json, "geotiler classify")


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    """The report with one line for each class that was found, the commonest first."""
    cells: dict[str, int] = values.pop("class_cells")
    areas: dict[str, float] = values.pop("class_area_m2") or {}
    unknown = cells.pop("nodata")
    parts = areas or cells  # by ground, since the last cells are narrower
    whole = sum(parts.values())
    shown: dict[str, Any] = {}
    for key, value in values.items():
        if key == "mean_confidence":  # the classes before what is said of all of them
            for name in sorted(filter(cells.get, cells), key=lambda name: -parts[name]):
                area = f", {areas[name] / 1e6:,.4g} km²" if name in areas else ""
                share = f"{100 * parts[name] / whole:.1f} %, {cells[name]:,} cells"
                shown[f"class: {name}"] = share + area
            shown["without a label"] = f"{unknown:,} cells" if unknown else None
        shown[key] = value
    return shown

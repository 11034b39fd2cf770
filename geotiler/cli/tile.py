"""`geotiler tile`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geotiler.cli.options import (
    AsJson,
    DryRun,
    Overwrite,
    Quiet,
    Restart,
    Verbose,
    bands_option,
    chosen_bands,
    metres_per_pixel,
    numbers,
    overlap_option,
    scene_gsd_option,
    tile_sides,
)
from geotiler.errors import SpecError
from geotiler.specs import ClassRule, SplitBy, TileSpec

if TYPE_CHECKING:
    from geotiler.io.plain_folder import PlainFolder

MOST_SCENES = 12
"""Labels of more scenes than this are not listed one by one."""

DEFAULT_SPLIT = (0.7, 0.15, 0.15)


def tile(
    scenes: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENE...",
            help="Rasters, anything GDAL opens; or a folder with images/, masks/ and split lists.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder to write.", show_default="SCENE_chips, or chips"
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="Polygons or a mask of class ids, in any CRS; may be given again. Goes with the "
            "scene of its name, else with those that it overlaps.",
            show_default="no masks",
        ),
    ] = None,
    attribute: Annotated[
        str | None,
        typer.Option(help="Attribute that tells a polygon's class.", show_default="all class 1"),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Values of the attribute and their ids, as building=1,road=2; house|shed=1 takes "
            "two as one, 255 leaves out.",
            show_default="every value",
        ),
    ] = None,
    label_extent: Annotated[
        str | None,
        typer.Option(
            help="Polygons in which labels are complete; outside, masks say 255.",
            show_default="everywhere",
        ),
    ] = None,
    tile: Annotated[
        str,
        typer.Option(metavar="PX|H,W", help="Side of a chip in pixels, or height and width."),
    ] = "512",
    overlap: Annotated[
        int | None, overlap_option("chips", "64, or an eighth of smaller tiles")
    ] = None,
    gsd: Annotated[
        str | None,
        typer.Option(
            metavar="M|X,Y",
            help="Metres per pixel of the chips, as 0.3: resamples.",
            show_default="as it is",
        ),
    ] = None,
    scene_gsd: Annotated[str | None, scene_gsd_option("from CRS")] = None,
    bands: Annotated[str | None, bands_option("all but alpha")] = None,
    min_valid: Annotated[
        float, typer.Option(help="Least share of valid pixels of a chip; 0: one pixel.")
    ] = 0.0,
    empty_ratio: Annotated[
        float | None,
        typer.Option(
            help="Most chips without objects for each chip with some.", show_default="keep all"
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C|none",
            help="Shares of train, val and test, or none.",
            show_default="0.7,0.15,0.15 with labels, else none",
        ),
    ] = None,
    split_by: Annotated[
        SplitBy, typer.Option(help="What stays in one split: blocks of chips, or scenes.")
    ] = SplitBy.BLOCK,
    block: Annotated[
        int | None, typer.Option(help="Side of a block in pixels.", show_default="fitted")
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses blocks and empty chips.")] = 0,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out and count bad scenes and features instead of stopping."
        ),
    ] = False,
    restart: Restart = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Cut scenes and labels into chips to train on, with splits that share no ground."""
    sides = tile_sides(tile)
    inputs = _inputs(scenes, labels, split)
    spec = TileSpec(
        scenes=inputs.images,
        output=output or _default_output(scenes),
        labels=inputs.masks,
        attribute=attribute,
        classes=_classes(classes),
        label_extent=label_extent,
        tile_px=sides,
        overlap_px=min(64, min(sides) // 8) if overlap is None else overlap,
        gsd_m=metres_per_pixel(gsd, "--gsd"),
        scene_gsd_m=metres_per_pixel(scene_gsd, "--scene-gsd"),
        bands=chosen_bands(bands),
        min_valid=min_valid,
        empty_ratio=empty_ratio,
        split=None if inputs.splits else _split(split, bool(inputs.masks)),
        is_split_asked=split is not None,
        split_by=split_by,
        block_px=block,
        seed=seed,
        scene_splits=inputs.splits,
        black_border=inputs.images != tuple(scenes),
        skip_bad=skip_bad,
        overwrite=overwrite,
        restart=restart,
    )
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.tile import estimate
    from geotiler.tasks.tile import tile as run

    with reporter(quiet) as report:
        if dry_run:
            would = estimate(spec).as_dict()
            if not (as_json or verbose) and len(would["labels"]) > MOST_SCENES:
                del would["labels"]
            emit(would, as_json, "geotiler tile would do")
            return
        values = run(spec, report=report).as_dict()
    emit(values if as_json or verbose else _short(values), as_json, "geotiler tile")


def _inputs(scenes: list[str], labels: list[str] | None, split: str | None) -> PlainFolder:
    """Scenes, labels and the splits that lists say.

    Raises:
        SpecError: a folder of images beside other scenes or labels.
    """
    from geotiler.io.plain_folder import PlainFolder, is_plain_folder, read_plain_folder

    if not any(is_plain_folder(path) for path in scenes):
        return PlainFolder(images=tuple(scenes), masks=tuple(labels or ()), splits=())
    if len(scenes) > 1 or labels:
        raise SpecError(
            "a folder of images brings its own masks and is tiled alone",
            hint="geotiler tile FOLDER -o chips/",
        )
    found = read_plain_folder(scenes[0])
    return found if split is None else replace(found, splits=())


def _default_output(scenes: list[str]) -> Path:
    return Path(f"{Path(scenes[0]).stem}_chips" if len(scenes) == 1 else "chips")


def _split(text: str | None, has_labels: bool) -> tuple[float, ...] | None:
    if text is None:
        return DEFAULT_SPLIT if has_labels else None
    return None if text == "none" else numbers(text, "--split", (2, 3))


def _classes(text: str | None) -> tuple[ClassRule, ...]:
    """Rules from NAME=ID,NAME|NAME=ID."""
    if text is None:
        return ()
    rules = []
    for item in text.split(","):
        names, separator, number = item.rpartition("=")
        values = tuple(name.strip() for name in names.split("|"))
        if not separator or not all(values) or not number.strip().isdecimal():
            raise SpecError(
                f"--classes takes NAME=ID with commas between them, got {item!r}",
                hint="--classes building=1,road=2",
            )
        rules.append(ClassRule(id=int(number), name=values[0], values=values))
    return tuple(rules)


def _short(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is zero."""
    return {key: value for key, value in values.items() if value not in (0, {})}

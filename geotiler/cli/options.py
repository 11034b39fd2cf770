"""Options that mean one thing in every command, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geotiler.errors import SpecError
from geotiler.specs import Backend, Precision, Scale

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices, no table.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say where each setting came from.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done and what it costs, and stop.")
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Drop what an interrupted run has left, and begin anew."),
]
HashContent = Annotated[
    bool,
    typer.Option(
        "--hash-content",
        help="Tell a scene by its bytes, not by path and time, when going on with a run.",
    ),
]
PrecisionName = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="What the network computes in; bfloat16 is faster on CPUs that have it.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)]

SceneFile = Annotated[str, typer.Argument(help="Raster of any size, anything GDAL opens.")]
Model = Annotated[
    str,
    typer.Option(help="Shipped model, model folder or its address, or .onnx beside its card."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
BackendName = Annotated[Backend, typer.Option("--backend", help="What runs the network.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads of the network.", show_default="all cores")
]
RawRange = Annotated[
    str | None,
    typer.Option(
        metavar="MIN,MAX|auto",
        help="Raw range, or auto (from the scene-wide 2-98 %).",
        show_default="card",
    ),
]
ClassNames = Annotated[
    list[str] | None,
    typer.Option(
        "--class", help="Class name or id; may be given again.", show_default="all classes"
    ),
]
Seed = Annotated[int, typer.Option(help="Another seed is another town.")]


Bounds = Annotated[
    str | None,
    typer.Option(
        metavar="W,S,E,N",
        help="LEFT,BOTTOM,RIGHT,TOP in the scene's CRS (geotiler info tells its extent), without "
        "one in pixels, columns and rows from the top left: only the part that they touch.",
        show_default="all",
    ),
]
Aoi = Annotated[
    str | None,
    typer.Option(
        help="Vector file of polygons: only what they touch is computed.", show_default="all"
    ),
]
BoundsCrs = Annotated[
    str | None,
    typer.Option(metavar="CRS", help="Of --bounds, as EPSG:4326.", show_default="the scene's"),
]


def bands_option(default: str) -> Any:
    """`--bands`; `default` says in words what is taken without it."""
    return typer.Option(metavar="B,B,...", help="Bands from 1, as 4,3,2.", show_default=default)


def overlap_option(what: str, default: str) -> Any:
    """`--overlap`; `what` is shared by neighbours, `default` in words."""
    return typer.Option(
        metavar="PX", help=f"Pixels that neighbouring {what} share.", show_default=default
    )


def scene_gsd_option(default: str, *names: str) -> Any:
    """`--scene-gsd`, the resolution that the scene has; `names` are accepted besides."""
    return typer.Option(
        "--scene-gsd", *names, metavar="M|X,Y", help="Metres per pixel of the scene, as 0.3.",
        show_default=default,
    )  # fmt: skip


ModelBands = Annotated[str | None, bands_option("by name or order")]
SceneGsd = Annotated[str | None, scene_gsd_option("from CRS", "--gsd")]


_EXAMPLES = {
    "--bands": "bands are counted from 1, as --bands 3,2,1; geotiler info lists them",
    "--bounds": "--bounds LEFT,BOTTOM,RIGHT,TOP, with commas and without spaces",
    "--scale": "--scale MIN,MAX, as 0,3000",
    "--scene-gsd": "--scene-gsd 0.3, or X,Y",
    "--gsd": "--gsd 0.3, or X,Y",
    "--tile": "--tile 512, or HEIGHT,WIDTH",
    "--split": "--split 0.7,0.15,0.15",
}
"""Flag → how its value looks."""


def numbers(text: str | None, flag: str, count: tuple[int, int]) -> tuple[float, ...] | None:
    """Comma-separated numbers of an option's value.

    Args:
        text: the value; None stays None.
        flag: named in messages.
        count: least and most numbers.

    Raises:
        SpecError: not numbers, or not as many.
    """
    if text is None:
        return None
    try:
        values = tuple(float(item) for item in text.split(",") if item.strip())
    except ValueError as error:
        raise SpecError(
            f"{flag} takes numbers with commas between them, got {text!r}",
            hint=_EXAMPLES.get(flag),
        ) from error
    if not count[0] <= len(values) <= count[1]:
        wanted = str(count[0]) if count[0] == count[1] else f"{count[0]} to {count[1]}"
        raise SpecError(
            f"{flag} takes {wanted} numbers, got {len(values)} in {text!r}",
            hint=_EXAMPLES.get(flag),
        )
    return values


def whole_numbers(text: str | None, flag: str, count: tuple[int, int]) -> tuple[int, ...] | None:
    """As `numbers`, for whole ones. Raises: SpecError: a fraction."""
    values = numbers(text, flag, count)
    if values is None:
        return None
    if not all(value.is_integer() for value in values):
        raise SpecError(f"{flag} takes whole numbers, got {text!r}", hint=_EXAMPLES.get(flag))
    return tuple(int(value) for value in values)


def four_bounds(text: str | None) -> tuple[float, float, float, float] | None:
    """The value of `--bounds`."""
    values = numbers(text, "--bounds", (4, 4))
    return None if values is None else (values[0], values[1], values[2], values[3])


def chosen_bands(text: str | None) -> tuple[int, ...] | None:
    """The value of `--bands`."""
    return whole_numbers(text, "--bands", (0, 65_535))


def metres_per_pixel(text: str | None, flag: str) -> tuple[float, float] | None:
    """Two numbers (x, y), or one for both."""
    values = numbers(text, flag, (1, 2))
    return None if values is None else (values[0], values[-1])


def tile_sides(text: str) -> tuple[int, int]:
    """(height, width) of `--tile`; one number is both."""
    values = whole_numbers(text, "--tile", (1, 2))
    assert values is not None
    return values[0], values[-1]


def scale(text: str | None) -> Scale | None:
    """MIN,MAX of an option; None where it is absent or auto."""
    if text is None or text == "auto":
        return None
    values = numbers(text, "--scale", (2, 2))
    assert values is not None
    return Scale(minimum=values[0], maximum=values[1])

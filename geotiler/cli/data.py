"""`geotiler data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotiler.cli.options import AsJson, Overwrite, Quiet
from geotiler.specs import EurosatSpec

app = typer.Typer(
    help="Fetch or copy a data set to train on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    """Fetch or copy a data set to train on."""


@app.command(short_help="EuroSAT: 27,000 Sentinel-2 tiles of 10 classes.")
def eurosat(
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Zip or folder of the data set.", show_default="download it"),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path(
        "data/eurosat"
    ),
    lists: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the lists eurosat-spatial-{train,val,test}.txt.",
            show_default="beside the source, or in it",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="Only so many tiles of each class and part.", show_default="all"),
    ] = None,
    subset: Annotated[
        bool, typer.Option("--subset", help="Accept a source that is not complete.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """EuroSAT: 27,000 Sentinel-2 tiles of 10 classes, with spatial and random split lists."""
    spec = EurosatSpec(
        output=output, source=source, lists=lists, limit=limit, subset=subset, overwrite=overwrite
    )
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.data import eurosat as run

    with reporter(quiet) as report:
        values = run(spec, report=report).as_dict()
    emit(values, as_json, "geotiler data eurosat")

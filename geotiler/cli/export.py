"""`geotiler export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geotiler.cli.options import AsJson, Overwrite, Quiet
from geotiler.specs import ExportSpec


def export(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a model folder.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="ONNX file to write.", show_default=False)
    ],
    check: Annotated[
        list[str] | None,
        typer.Option(
            help="Image whose tiles graph and network must answer alike; may be given again.",
            show_default="a rendered scene",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Largest allowed difference of a probability.")
    ] = 1e-3,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a model as an ONNX graph, checked against the network."""
    spec = ExportSpec(
        model=model,
        output=output,
        check=tuple(check or ()),
        tolerance=tolerance,
        overwrite=overwrite,
    )
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.export import export as run

    with reporter(quiet) as report:
        values = run(spec, report=report).as_dict()
    emit(values, as_json, "geotiler export")

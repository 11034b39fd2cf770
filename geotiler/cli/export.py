"""`geotiler export`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from geotiler.cli.options import AsJson, Overwrite, Quiet
from geotiler.specs import ExportSpec, ExportTarget


def export(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or a model folder.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File or folder to write.", show_default=False),
    ],
    to: Annotated[
        ExportTarget, typer.Option(help="What to write: a graph, or a folder for mlflow serve.")
    ] = ExportTarget.ONNX,
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
    """Write a model for other programs, checked against the network."""
    spec = ExportSpec(
        model=model,
        output=output,
        target=to,
        check=tuple(check or ()),
        tolerance=tolerance,
        overwrite=overwrite,
    )
    # Copying a folder needs no bar, and an export tells nobody.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.export import export as run

    with reporter(quiet) as report:
        values = run(spec, report=report).as_dict()
    emit(values, as_json, "geotiler export")

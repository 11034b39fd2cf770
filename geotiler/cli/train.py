"""`geotiler train`."""

from __future__ import annotations

from typing import Annotated

import typer

from geotiler.cli.options import AsJson, Quiet


def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK] [OVERRIDES]...",
            help="A task of configs/ (default: buildings) and Hydra overrides such as "
            "train.lr=1e-3 or data.root=chips.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on chips and write its model folder."""
    words = list(arguments or [])
    # A word with = in it is an override, so that `geotiler train model=linknet` names no task.
    task = words.pop(0) if words and "=" not in words[0] else "buildings"
    from geotiler.cli.console import emit, reporter
    from geotiler.progress import Notice
    from geotiler.tasks.train import train as run

    with reporter(quiet) as report:
        try:
            values = run(task, words, report=report).as_dict()
        except SystemExit as stop:  # how Lightning answers Ctrl-C
            report(Notice(message="the same command with resume=true goes on"))
            raise KeyboardInterrupt from stop
    emit(values, as_json, f"geotiler train {task}")

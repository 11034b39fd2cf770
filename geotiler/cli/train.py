"""`geotiler train`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from geotiler.cli.options import AsJson, Quiet
from geotiler.errors import SpecError

_SERVICES = ("WANDB_", "COMET_", "MLFLOW_")
"""What the variables of logging services begin with; nothing else is taken from .env."""


def train(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK] [OVERRIDES]...",
            help="A task of configs/ (default: buildings) and Hydra overrides such as "
            "model=linknet, data.root=chips or train.optimizer.lr=5e-4.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the output folder.")
    ] = False,
    show_config: Annotated[
        bool,
        typer.Option(
            "--cfg",
            help="Print the configuration, with --resume that of the run that would go on, as "
            "YAML (--json: JSON) and stop.",
            allow_from_autoenv=False,
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    show_help: Annotated[
        bool,
        typer.Option(
            "--help",
            "-h",
            help="Show this message, the groups and the configuration.",
            allow_from_autoenv=False,
        ),
    ] = False,
) -> None:
    """Train a model on chips; leaves outputs/NAME/ with plots, scores and the model folder."""
    task, overrides = task_and_overrides(arguments or [])
    if resume:
        overrides.append("resume=true")
    if show_help:
        print(context.get_help())
        print(_groups(task, overrides))
        return
    if show_config:
        _show(task, overrides, resume, as_json)
        return
    _run(task, overrides, as_json, quiet)


def task_and_overrides(words: Sequence[str]) -> tuple[str, list[str]]:
    """The task that a command line names, and its overrides: a word with = in it is one.

    Raises:
        SpecError: two words without =.
    """
    overrides = [word for word in words if "=" in word or word.startswith("~")]
    tasks = [word for word in words if word not in overrides]
    if len(tasks) > 1:
        raise SpecError(
            f"one task at a time, got {' and '.join(tasks)}",
            hint="overrides have a = in them, as model=linknet",
        )
    return (tasks[0] if tasks else "buildings"), overrides


def _show(task: str, overrides: list[str], resume: bool, as_json: bool) -> None:
    """Print what a run, or one that goes on, is configured to do."""
    from geotiler.cli.console import emit
    from geotiler.training.compose import composed_text, composed_values
    from geotiler.training.resumption import resumed_text, resumed_values

    if as_json:
        emit((resumed_values if resume else composed_values)(task, overrides), as_json, "")
    else:
        print((resumed_text if resume else composed_text)(task, overrides), end="")


def _run(task: str, overrides: list[str], as_json: bool, quiet: bool) -> None:
    from geotiler.cli.console import emit, reporter
    from geotiler.tasks.train import train as run

    keys = _keys()
    with reporter(quiet) as report:
        try:
            values = run(task, overrides, keys=keys, report=report).as_dict()
        except SystemExit as stop:  # how Lightning answers Ctrl-C
            raise KeyboardInterrupt from stop
    if as_json:
        emit(values, as_json, "")
        return
    splits = values.pop("splits", {})
    emit(values, as_json, f"geotiler train {task}")
    if splits:
        print("", *_table(splits), sep="\n", flush=True)


def _table(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines of one table: a row per split, a column per score."""
    columns = list(next(iter(splits.values())))
    rows = [["split", *columns]]
    for split, scores in splits.items():
        rows.append([split, *(_cell(scores[column]) for column in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _groups(task: str, overrides: list[str]) -> str:
    """Tasks, groups with their options, and the composed configuration, as text."""
    from geotiler.training.compose import composed_text, group_options, task_names

    lines = ["", f"Tasks: {', '.join(task_names())}", "", "Groups (GROUP=OPTION):"]
    lines += [
        f"  {group:<10} {', '.join(options)}" for group, options in group_options(task).items()
    ]
    lines += ["", f"Configuration of {task} (KEY=VALUE):"]
    lines += [f"  {line}" for line in composed_text(task, overrides).splitlines()]
    return "\n".join(lines)


def _keys() -> set[str]:
    """Logging services whose key is known, from the environment or from .env in this folder."""
    from dotenv import dotenv_values

    for name, value in dotenv_values(Path(".env")).items():
        if name.startswith(_SERVICES) and value:
            os.environ.setdefault(name, value)
    return {
        service
        for service, name in (("wandb", "WANDB_API_KEY"), ("comet", "COMET_API_KEY"))
        if os.environ.get(name)
    }

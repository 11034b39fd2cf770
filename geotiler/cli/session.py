"""What every command shares: where settings come from, and how a run is shown.

The precedence of a setting is decided here and nowhere else:
flag > GEOTILER_COMMAND_FLAG > --config FILE > model card or scene > default.
The first three are the parser's; card and scene are the task's, which sees `None`.
"""

from __future__ import annotations

import functools
import inspect
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from geotiler.cli.options import Verbose
from geotiler.errors import InputError, SpecError
from geotiler.progress import Event, Kept, StageAdvanced, StageStarted
from geotiler.spelling import nearest, settings_renamed

PREFIX = "GEOTILER_"
_OTHER_VARIABLES = {"GEOTILER_TRACEBACK", "GEOTILER_DATA"}
_OF_SERVE = "GEOTILER_SERVE_"
"""Begins the settings of the service, which reads and checks them itself."""
_NEAR = 0.9
"""Similarity from which a variable is taken for a mistyped one."""


class Progress(StrEnum):
    """How progress is shown on stderr."""

    AUTO = "auto"
    JSON = "json"
    NONE = "none"


@dataclass
class Heard:
    """The stage that a run was last heard to be in."""

    stage: str = ""
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    kept: float | None = None
    """Share of the work that stays for the next run; None: the task does not tell."""

    def __call__(self, event: Event) -> None:
        """Follow an event; any thread may call."""
        if isinstance(event, StageStarted):
            self.stage, self.done, self.total = event.stage, 0.0, event.total
            self.kept = None  # what was told of another scene
            self.unit = event.unit if event.unit.endswith("px") else f"{event.unit}s"
        elif isinstance(event, StageAdvanced) and event.stage == self.stage:
            self.done += event.amount
        elif isinstance(event, Kept):
            self.kept = event.share

    def when_interrupted(self) -> str:
        """How far it came and how to go on, to be put behind "interrupted"; may be empty."""
        if not self.stage:
            return ""
        done = f"{self.done:,.0f} of {self.total:,.0f} {self.unit}"
        if self.stage == "training":
            if not self.kept:
                shorter = "train.steps_per_epoch=N makes it shorter"
                return f": {done} done; nothing is kept before the first epoch ends ({shorter})"
            return f": {done} done; the same command with --resume goes on from the last epoch"
        if self.kept == 0:  # rows are stored when all windows that touch them are done
            return f" after {done}: no row was finished, so nothing is kept"
        if self.kept is not None:
            share = f"{100 * self.kept:.0f} %"
            return f" after {done}: {share} is kept; the same command goes on from there"
        text = f": {done} done"
        return f"{text}; {_GOES_ON[self.stage]}" if self.stage in _GOES_ON else text


_GOES_ON = {
    "tile": "the same command goes on from there",
}
"""Stage → how a run that is interrupted in it goes on, where the task does not tell."""


@dataclass
class Session:
    """What the running command was told besides its task."""

    quiet: bool = False
    as_json: bool = False
    verbose: bool = False
    progress: Progress = Progress.AUTO
    values: dict[str, Any] = field(default_factory=dict)
    """Flag without dashes → value."""
    origins: dict[str, str] = field(default_factory=dict)
    """Flag without dashes → flag, the variable, the file, or default."""
    flags: dict[str, str] = field(default_factory=dict)
    """Every name of a flag without dashes → the flag as the help shows it."""
    heard: Heard = field(default_factory=Heard)


current = Session()
"""Of the command that runs; one process runs one at a time."""


def shared(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """The command with `--config`, `--progress` and `--verbose`.

    All are remembered in `current` while it runs; a command that wants to know whether it is to
    say more takes `verbose` itself.
    """
    signature = inspect.signature(command, eval_str=True)
    takes_context = "context" in signature.parameters
    takes_verbose = "verbose" in signature.parameters

    @functools.wraps(command)
    def run(
        *arguments: Any,
        context: typer.Context,
        config: Path | None,
        progress: Progress,
        **rest: Any,
    ) -> int | None:
        global current
        current = Session(
            quiet=bool(rest.get("quiet")),
            as_json=bool(rest.get("as_json")),
            verbose=bool(rest.get("verbose")),
            progress=progress,
            values={
                _flag(each): context.params.get(each.name) for each in _options(context.command)
            },
            origins=_origins(context, config),
            flags={
                name.lstrip("-"): f"--{_flag(each)}"
                for each in _options(context.command)
                for name in (*each.opts, *each.secondary_opts)
            },
        )
        if takes_context:
            rest["context"] = context
        if not takes_verbose:
            del rest["verbose"]
        return command(*arguments, **rest)

    kind = inspect.Parameter.KEYWORD_ONLY
    own = [
        item.replace(kind=kind) for name, item in signature.parameters.items() if name != "context"
    ]
    added = [
        inspect.Parameter("context", kind, annotation=typer.Context),
        inspect.Parameter("config", kind, annotation=_Config, default=None),
        inspect.Parameter("progress", kind, annotation=_Progress, default=Progress.AUTO),
    ]
    if not takes_verbose:
        added.append(inspect.Parameter("verbose", kind, annotation=Verbose, default=False))
    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in (*own, *added)}
    return run


def name_variables(command: Any, words: tuple[str, ...] = ()) -> None:
    """Give every option of a command tree the variable that sets it, named as the flag is."""
    for option in _options(command):
        if option.name in ("config", "progress"):
            option.envvar = PREFIX + option.name.upper()
        elif words and option.name != "help" and option.allow_from_autoenv:
            option.envvar = PREFIX + "_".join((*words, _flag(option))).upper().replace("-", "_")
        option.show_envvar = False
    for name, child in getattr(command, "commands", {}).items():
        name_variables(child, (*words, name))


def unknown_variables(command: Any) -> Iterator[str]:
    """A line for each GEOTILER_ variable that no option reads but that nearly is one."""
    known = _OTHER_VARIABLES | set(_variables(command))
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and not name.startswith(_OF_SERVE) and name not in known:
            near = nearest(name, known, cutoff=_NEAR)
            if near:
                yield f"the variable {name} is not read, did you mean {near}?"


def origin(setting: str, told: str) -> str:
    """Where a setting came from, when the task can only tell that it was asked for.

    Args:
        setting: its name in a report, which may end in a unit.
        told: what the task says; anything but "flag" is returned as it is.
    """
    if told != "flag":
        return told
    for ending in ("", "_px", "_m", "_m2"):
        found = current.origins.get(setting.removesuffix(ending).replace("_", "-"))
        if found not in (None, "default"):
            return str(found)
    return told


_OTHER_NAMES = {"least_area": "min-area"}
"""Setting without its unit → flag, where the flag is not called so."""


def as_typed(message: str) -> str:
    """A message whose settings are named as the running command's flags.

    Below the command line they are in backticks and called as in Python: `overlap_px`.
    """

    def flag(setting: str) -> str | None:
        return current.flags.get(_OTHER_NAMES.get(setting, setting).replace("_", "-"))

    return settings_renamed(message, flag)


def _variables(command: Any) -> Iterator[str]:
    yield from (option.envvar for option in _options(command) if option.envvar)
    for child in getattr(command, "commands", {}).values():
        yield from _variables(child)


def _options(command: Any) -> list[Any]:
    return [item for item in command.params if item.param_type_name == "option"]


def _flag(option: Any) -> str:
    """The longest flag of an option, without its dashes."""
    return max(option.opts, key=len).lstrip("-")


def _origins(context: typer.Context, config: Path | None) -> dict[str, str]:
    names = {
        "COMMANDLINE": lambda option: "flag",
        "ENVIRONMENT": lambda option: str(option.envvar),
        "DEFAULT_MAP": lambda option: f"--config {config}",
    }
    found = {}
    for option in _options(context.command):
        source = getattr(context.get_parameter_source(option.name), "name", "DEFAULT")
        found[_flag(option)] = names.get(source, lambda option: "default")(option)
    return found


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Let a file's settings stand in for defaults, before the other options are read.

    Raises:
        InputError: it cannot be read. SpecError: it sets what the command does not know.
    """
    if path is None:
        return None
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"--config {path} is not TOML: {error}", hint='as in [segment], then tile = "512"'
        ) from error
    _check_sections(content, context, path)
    section = content.get(context.info_name or "", {})
    if not isinstance(section, dict):
        raise SpecError(f"--config {path}: {context.info_name} must be a table, as [segment]")
    context.default_map = _defaults(section, context.command, path)
    return path


def _check_sections(content: Mapping[str, Any], context: typer.Context, path: Path) -> None:
    """Raises: SpecError: a section of no command, or settings outside of any."""
    root: Any = context.find_root().command
    known = {str(context.info_name), *getattr(root, "commands", {})}
    for key, value in content.items():
        if key in known:
            continue
        if not isinstance(value, dict):
            raise SpecError(
                f"--config {path}: {key!r} stands in no section",
                hint=f"settings of this command come below [{context.info_name}]",
            )
        near = nearest(key, known)
        raise SpecError(
            f"--config {path}: [{key}] is no command of geotiler",
            hint=f"did you mean [{near}]?" if near else "sections are named as commands",
        )


def _defaults(section: Mapping[str, Any], command: Any, path: Path) -> MutableMapping[str, Any]:
    by_flag = {_flag(option): option for option in _options(command)}
    values = {}
    for key, value in section.items():
        flag = key.replace("_", "-")
        if flag not in by_flag or flag in ("config", "help"):
            near = nearest(flag, by_flag)
            raise SpecError(
                f"--config {path}: {command.name} has no setting {key!r}",
                hint=f"did you mean {near!r}?" if near else f"geotiler {command.name} --help",
            )
        option = by_flag[flag]
        values[option.name] = _typed(value, bool(getattr(option, "multiple", False)))
    return values


def _typed(value: Any, is_repeated: bool) -> Any:
    """As it would be typed: numbers as text, lists with commas or as repeated flags."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        texts = [str(item) for item in value]
        return texts if is_repeated else ",".join(texts)
    return [str(value)] if is_repeated else str(value)


_Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file with settings below flags and variables: [segment], then tile = 512.",
        is_eager=True,
        callback=_read_config,
        show_default=False,
    ),
]
_Progress = Annotated[
    Progress,
    typer.Option("--progress", help="On stderr: auto, json (a line for each event) or none."),
]

"""The `geotiler` command: verbs, and how errors become one line and an exit code."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from geotiler import __version__
from geotiler.cli import (
    classify,
    completion,
    data,
    demo,
    evaluate,
    export,
    info,
    models,
    preview,
    render,
    segment,
    serve,
    session,
    tile,
    train,
    vectorize,
)
from geotiler.cli.session import name_variables, shared, unknown_variables
from geotiler.errors import GeotilerError, SpecError
from geotiler.spelling import nearest, plain

_INTERRUPTED = (130, 143)
"""Exit codes of runs that were asked to end."""


class _Root(TyperGroup):
    """The root of all commands: options may come from the environment, `help X` is `X --help`."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        if args[:1] == ["help"]:  # as git and cargo have it
            args = [*args[1:], "--help"]
        name_variables(self)
        for line in unknown_variables(self):
            print(f"warning: {line}", file=sys.stderr)
        return super().make_context(info_name, args, *more, **extra)


app = typer.Typer(
    cls=_Root,
    help="From a raster of any size to buildings and land use on a map.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --version: what a report of a defect needs.")
    ] = False,
) -> None:
    """From a raster of any size to buildings and land use on a map."""
    if version and as_json:
        from geotiler.cli.versions import versions

        print(json.dumps(versions(), indent=2))
    elif version:
        print(f"geotiler {__version__}")
    elif context.invoked_subcommand is None:
        raise SpecError("--json needs a command, or --version", hint="see geotiler --help")
    else:
        return
    raise typer.Exit


# The line of each in the list of commands, short enough for a terminal of 80 columns.
for _verb, _line in (
    (info.info, "Tell what a scene is, and what a run over it would cost."),
    (tile.tile, "Cut scenes and labels into chips to train on."),
    (segment.segment, "Segment scenes of any size into masks."),
    (vectorize.vectorize, "Turn a mask into polygons that look drawn."),
    (classify.classify, "Say what images show, or map the land use of a scene."),
    (evaluate.evaluate, "Compare masks or polygons with the truth."),
    (preview.preview, "Look at a scene with masks and polygons over it."),
    (render.render, "Render a synthetic scene with known buildings."),
    (export.export, "Write a model for other programs."),
    (demo.demo, "Go the whole way on a scene that is rendered first."),
):
    app.command(short_help=_line)(shared(_verb))
# --help shows more than flags there, so that the command has its own.
app.command(short_help="Train a model on chips.", context_settings={"help_option_names": []})(
    shared(train.train)
)
app.command(short_help="Serve the models over HTTP, with a page to try them.")(serve.serve)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.command(short_help="Print a script that completes commands in a shell.")(completion.completion)
app.command(short_help="Print the manual page.")(completion.man)


_terminated: list[int] = []


def run(arguments: list[str] | None = None) -> None:
    """Entry point: run the command line and exit with its code.

    A request to terminate ends the work as Ctrl-C does: what is finished is kept.
    """
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main(arguments))


def _terminate(number: int, frame: object) -> None:
    _terminated.append(number)
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Exit code of a command line; errors are one line on stderr.

    Set GEOTILER_TRACEBACK=1 to see where an error came from.
    """
    if "_GEOTILER_COMPLETE" in os.environ:  # a shell asks what may follow
        from typer.completion import completion_init

        completion_init()
    try:
        outcome: Any = app(args=arguments, prog_name="geotiler", standalone_mode=False)
        code = outcome if isinstance(outcome, int) else 0
        return _interrupted() if code == 130 else code  # the parser caught it silently
    except GeotilerError as error:
        _maybe_raise(error)
        return _say(session.as_typed(str(error)), error.exit_code)
    except SystemExit as error:  # the parser's answer to a reader of stdout that left, as `head`
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return _left()
    except KeyboardInterrupt:
        return _interrupted()
    except MemoryError:
        return _say("not enough memory (try a smaller --tile or --batch 1)", 6)
    except BrokenPipeError:
        return _left()
    except OSError as error:  # what tasks do not translate is the standard output's
        if error.errno == errno.ENOSPC:
            return _say("standard output cannot be written: no space left", 4)
        _maybe_raise(error)
        return _say(f"a defect of geotiler: {type(error).__name__}: {error}", 1)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help, as it is
            print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
            return 2
        if hasattr(error, "format_message"):  # the parser's own errors: a flag, a value
            return _say(
                _usage(error, sys.argv[1:] if arguments is None else arguments),
                int(getattr(error, "exit_code", 2)),
            )
        if type(error).__name__ == "Abort":
            return _interrupted()
        _maybe_raise(error)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return _say(f"a defect of geotiler: {reason} (GEOTILER_TRACEBACK=1 shows where)", 1)


def _left() -> int:
    """Exit code when nobody reads stdout any more; what is still buffered goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]
    return 141


def _usage(error: Any, arguments: list[str]) -> str:
    """One line for an error of the parser; a mistyped flag is answered with the nearest one."""
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "geotiler")
    wrong = getattr(error, "option_name", None)
    if wrong and context is not None:
        known = [flag for item in context.command.params for flag in item.opts if flag[:1] == "-"]
        # Of a single letter every other one is as near.
        near = nearest(wrong, known, cutoff=0.5) if wrong.startswith("--") else None
        place = _place_to_write(context.command) if wrong in ("-o", "--output") else None
        if place:
            return f"no such option {wrong}: give it without, {path} {place} (see {path} --help)"
        if near:
            return f"no such option {wrong}, did you mean {near}? (see {path} --help)"
        return f"no such option {wrong} (see {path} --help)"
    message = plain(" ".join(str(error.format_message()).split()))
    got = _given(getattr(error, "param", None), arguments)
    if got is not None and repr(got) not in message:
        message += f", got {got!r}"
    return f"{message} (see {path} --help)"


def _place_to_write(command: Any) -> str | None:
    """The argument that says where a command writes, as its help names it; None: there is none."""
    for item in command.params:
        if item.param_type_name == "argument" and item.name in ("folder", "output"):
            return str(item.name).upper()
    return None


def _given(option: Any, arguments: list[str]) -> str | None:
    """The last value that an option was given, which counts; None where it was given none."""
    found = None
    for word, following in zip(arguments, [*arguments[1:], None], strict=True):
        flag, separator, value = word.partition("=")
        if flag.startswith("-") and flag in getattr(option, "opts", ()):
            found = value if separator else following
    return found


def _interrupted() -> int:
    if _terminated:
        return _say("terminated", 128 + _terminated[-1])
    return _say("interrupted", 130)


def _say(text: str, code: int) -> int:
    if code in _INTERRUPTED:
        text += session.current.heard.when_interrupted()
    print(f"geotiler: {' '.join(text.split())}", file=sys.stderr)
    return code


def _maybe_raise(error: BaseException) -> None:
    if os.environ.get("GEOTILER_TRACEBACK"):
        raise error

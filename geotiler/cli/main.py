"""The `geotiler` command: verbs, and how errors become one line and an exit code."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from typing import Annotated, Any

import typer

from geotiler import __version__
from geotiler.cli import (
    data,
    demo,
    evaluate,
    export,
    models,
    render,
    segment,
    tile,
    train,
    vectorize,
)
from geotiler.errors import GeotilerError

app = typer.Typer(
    help="From a raster of any size to buildings and land use on a map.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={
        "auto_envvar_prefix": "GEOTILER",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    add_completion=False,
)


def _version(shown: bool) -> None:
    if shown:
        print(f"geotiler {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            callback=_version,
            is_eager=True,
            allow_from_autoenv=False,  # a container may well set GEOTILER_VERSION
        ),
    ] = False,
) -> None:
    """From a raster of any size to buildings and land use on a map."""


app.command()(tile.tile)
app.command()(segment.segment)
app.command()(vectorize.vectorize)
app.command()(evaluate.evaluate)
# --help shows more than flags there, so that the command has its own.
app.command(context_settings={"help_option_names": []})(train.train)
app.command()(export.export)
app.command()(render.render)
app.command()(demo.demo)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")


def run(arguments: list[str] | None = None) -> None:
    """Entry point: run the command line and exit with its code."""
    sys.exit(main(arguments))


def main(arguments: list[str] | None = None) -> int:
    """Exit code of a command line; errors are one line on stderr.

    Set GEOTILER_TRACEBACK=1 to see where an error came from.
    """
    try:
        outcome: Any = app(args=arguments, prog_name="geotiler", standalone_mode=False)
        code = outcome if isinstance(outcome, int) else 0
        return _say("interrupted", 130) if code == 130 else code  # the parser caught it silently
    except GeotilerError as error:
        _maybe_raise(error)
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except MemoryError:
        return _say("not enough memory (try a smaller --tile or --batch 1)", 6)
    except BrokenPipeError:  # the reader of stdout left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
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
            return _say(_usage(error), int(getattr(error, "exit_code", 2)))
        if type(error).__name__ == "Abort":
            return _say("interrupted", 130)
        _maybe_raise(error)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return _say(f"a defect of geotiler: {reason} (GEOTILER_TRACEBACK=1 shows where)", 1)


def _usage(error: Any) -> str:
    """One line for an error of the parser; a mistyped flag is answered with the nearest one."""
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "geotiler")
    wrong = getattr(error, "option_name", None)
    if wrong and context is not None:
        known = [flag for item in context.command.params for flag in item.opts if flag[:1] == "-"]
        near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
        if near:
            return f"no such option {wrong}, did you mean {near[0]}? (see {path} --help)"
        return f"no such option {wrong} (see {path} --help)"
    message = " ".join(str(error.format_message()).split())
    return f"{message} (see {path} --help)"


def _say(text: str, code: int) -> int:
    print(f"geotiler: {' '.join(text.split())}", file=sys.stderr)
    return code


def _maybe_raise(error: BaseException) -> None:
    if os.environ.get("GEOTILER_TRACEBACK"):
        raise error

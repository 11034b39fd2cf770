"""Every command with its arguments and options, read from the command line itself.

One source for the man page and for the reference of the documentation: neither can go stale.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Item:
    """An argument or an option."""

    names: str
    """As typed, with the value's name."""
    help: str
    default: str | None
    variable: str | None
    """That sets it from the environment."""


@dataclass(frozen=True, kw_only=True)
class CommandPage:
    """What there is to know of one command."""

    name: str
    """With its groups, as "geotiler models list"."""
    help: str
    arguments: tuple[Item, ...]
    options: tuple[Item, ...]


def pages(command: Any, name: str = "geotiler") -> Iterator[CommandPage]:
    """A page for every command that does something, in the order of the help."""
    children = getattr(command, "commands", {})
    if not children:
        context = command.make_context(name, [], resilient_parsing=True)
        yield CommandPage(
            name=name,
            help=str(command.help or "").strip(),
            arguments=tuple(_argument(one) for one in command.params if _kind(one) == "argument"),
            options=tuple(
                _option(one, context) for one in command.params if _kind(one) == "option"
            ),
        )
    for child_name, child in children.items():
        if not child.hidden:
            yield from pages(child, f"{name} {child_name}")


def _kind(parameter: Any) -> str:
    return str(parameter.param_type_name)


def _argument(parameter: Any) -> Item:
    metavar = parameter.metavar or parameter.name.upper()
    return Item(names=metavar, help=_help(parameter), default=_default(parameter), variable=None)


def _option(parameter: Any, context: Any) -> Item:
    names, _ = parameter.get_help_record(context)
    return Item(
        names=" ".join(names.split()),
        help=_help(parameter),
        default=_default(parameter),
        variable=parameter.envvar,
    )


def _help(parameter: Any) -> str:
    return " ".join(str(getattr(parameter, "help", "") or "").split())


def _default(parameter: Any) -> str | None:
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    value = parameter.default
    if callable(value) or value is None or value is False or shown is False:
        return None
    return str(getattr(value, "value", value))


def man_page(command: Any, version: str) -> str:
    """The manual page of the whole command line, in roff."""
    month = datetime.date.today().strftime("%B %Y")
    lines = [
        f'.TH GEOTILER 1 "{month}" "geotiler {version}"',
        ".SH NAME",
        r"geotiler \- from a raster of any size to buildings and land use on a map",
        ".SH SYNOPSIS",
        r"\fBgeotiler\fR \fICOMMAND\fR [\fIARGUMENTS\fR]",
        ".SH COMMANDS",
    ]
    for page in pages(command):
        words = " ".join(f"[{one.names}]" if one.default else one.names for one in page.arguments)
        lines += [f'.SS "{_roff(page.name)} {_roff(words)}"', _roff(page.help)]
        for item in (*page.arguments, *page.options):
            lines += [".TP", rf"\fB{_roff(item.names)}\fR", _roff(_told(item)) or r"\&"]
    lines += [
        ".SH ENVIRONMENT",
        "GEOTILER_COMMAND_FLAG sets a flag of a command, as GEOTILER_SEGMENT_DEVICE=cuda; a flag",
        "on the command line wins. GEOTILER_CONFIG names a TOML file with settings below both.",
        "GEOTILER_TRACEBACK=1 shows where an error came from.",
        ".SH EXIT STATUS",
        "0 done, 1 a defect, 2 usage, 3 input, 4 output, 5 model, 6 device or memory,",
        "7 a package is missing, 130 interrupted.",
    ]
    return "\n".join(lines) + "\n"


def markdown(command: Any) -> str:
    """The reference of the whole command line, in Markdown."""
    lines = ["# Commands", ""]
    for page in pages(command):
        arguments = " ".join(one.names for one in page.arguments)
        lines += [f"## {page.name}", "", page.help, "", "```text"]
        lines += [f"{page.name} {arguments} [OPTIONS]".replace("  ", " "), "```", ""]
        lines += ["| | | default |", "|---|---|---|"]
        for item in (*page.arguments, *page.options):
            default = "" if item.default is None else f"`{item.default}`"
            cells = (f"`{item.names}`", item.help, default)
            lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _told(item: Item) -> str:
    told = item.help
    if item.default is not None:
        told += f" Default: {item.default}."
    if item.variable:
        told += f" Variable: {item.variable}."
    return told.strip()


def _roff(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    lines = (rf"\&{line}" if line.startswith((".", "'")) else line for line in escaped.splitlines())
    return "\n".join(lines)

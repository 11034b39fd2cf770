"""Writes the reference of the commands while the documentation is built."""

from __future__ import annotations

from typing import Any

import typer
from mkdocs.structure.files import File, Files

from geotiler.cli.main import app
from geotiler.cli.reference import markdown


def on_files(files: Files, config: Any) -> Files:
    """The files of the documentation, with a page made of the command line itself."""
    content = markdown(typer.main.get_command(app))
    files.append(File.generated(config, "commands.md", content=content))
    return files

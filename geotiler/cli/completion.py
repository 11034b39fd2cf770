"""`geotiler completion` and `geotiler man`: what shells and readers want to have installed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """Shells that complete commands and flags."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that the script is for.")],
) -> None:
    """Print a script that completes commands and flags in a shell.

    bash: eval "$(geotiler completion bash)" in ~/.bashrc. zsh: the same with zsh in ~/.zshrc.
    fish: geotiler completion fish > ~/.config/fish/completions/geotiler.fish
    """
    from typer.completion import get_completion_script

    script = get_completion_script(
        prog_name="geotiler", complete_var="_GEOTILER_COMPLETE", shell=shell.value
    )
    print(script)


def man(context: typer.Context) -> None:
    """Print the manual page: geotiler man > geotiler.1, then man ./geotiler.1."""
    from geotiler import __version__
    from geotiler.cli.reference import man_page

    print(man_page(context.find_root().command, __version__), end="")

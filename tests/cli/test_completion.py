"""Shell scripts that the shells accept and that answer; a manual page that man formats."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from geotiler.cli.main import app, main
from geotiler.cli.reference import markdown, pages


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_the_variable_and_parses(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_GEOTILER_COMPLETE" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_bash_completes_commands_and_flags() -> None:
    code = "from geotiler.cli.main import run; run()"
    for words, expected in (("geotiler seg", "segment"), ("geotiler segment --thr", "--threshold")):
        asked = {
            **os.environ,
            "_GEOTILER_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = subprocess.run(
            [sys.executable, "-c", code], env=asked, capture_output=True, text=True, check=False
        )
        assert expected in done.stdout.split(), done.stderr


def test_the_manual_and_the_reference_hold_every_command_and_flag(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["man"]) == 0
    manual = capsys.readouterr().out
    found = list(pages(typer.main.get_command(app)))
    assert {"geotiler segment", "geotiler models list"} <= {page.name for page in found}
    plain = manual.replace(r"\-", "-")
    reference = markdown(typer.main.get_command(app)).replace(r"\|", "|")
    for page in found:
        assert page.name in plain
        for option in page.options:
            assert option.names in plain
            assert option.names in reference
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    (tmp_path / "geotiler.1").write_text(manual)
    done = subprocess.run(
        ["man", "--warnings", "-l", str(tmp_path / "geotiler.1")],
        capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""
    assert "--threshold" in done.stdout

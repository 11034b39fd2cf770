"""The script that makes the shipped weights says what `geotiler train` takes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from geotiler.training.compose import compose
from geotiler.training.config import Config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "make_weights.sh"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs bash")


@pytest.fixture
def commands(tmp_path: Path) -> list[list[str]]:
    """Arguments of every command that the script calls; each leaves what it would leave."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("geotiler", "python"):
        recorder = bin_folder / name
        recorder.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, shlex, sys\n"
            f"open({str(tmp_path / 'said')!r}, 'a').write(shlex.join(sys.argv) + '\\n')\n"
            "named = [a[5:] + '/model' for a in sys.argv if a.startswith('name=')]\n"
            "for folder in ['outputs/' + n for n in named] or sys.argv[-1:]:\n"
            "    pathlib.Path(folder).mkdir(parents=True)\n"
            "    pathlib.Path(folder, 'card.json').touch()\n"
        )
        recorder.chmod(0o755)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    for _ in range(2):  # the second time everything is there
        subprocess.run(
            ["bash", str(SCRIPT), "chips", "tiles.zip", "encoder.safetensors"],
            check=True, cwd=tmp_path, env={**os.environ, "PATH": path},
        )  # fmt: skip
    return [shlex.split(line)[1:] for line in (tmp_path / "said").read_text().splitlines()]


def test_every_run_composes_and_starts_from_what_is_there(commands: list[list[str]]) -> None:
    made: set[str] = set()
    runs = {}
    for words in commands:
        if words[0] == "train":
            config = compose(words[1], words[2:])
            starts = {config.init} - {None}
            made.add(f"{config.output}/model")
            assert config.name not in runs, "a finished run is made once more"
            runs[config.name] = config
        else:
            starts = {word for word in words[1:3] if word.startswith("outputs/")}
            made.add(words[-1])
        assert {str(start) for start in starts} <= made
    assert {
        "outputs/buildings-0.3.0",
        "outputs/buildings-accurate-0.2.0",
        "outputs/landuse-0.2.0",
    } <= made
    assert runs["landuse"].weights == "encoder.safetensors"
    accurate = runs["elsewhere-accurate"]
    assert isinstance(accurate, Config)
    assert (accurate.train.crop_px, accurate.train.batch) == (320, 10), "not train=finetune"


def test_it_says_what_it_takes() -> None:
    told = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "DATA/buildings" in told.stderr

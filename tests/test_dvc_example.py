"""The DVC pipeline of examples/dvc runs from a data set to an exported model, and only once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dvc") is None, reason="no dvc: pip install dvc"),
]


@pytest.fixture
def dvc(tmp_path: Path) -> Callable[..., str]:
    """DVC in a copy of the example beside a copy of the configurations."""
    place = tmp_path / "examples" / "dvc"
    left_out = shutil.ignore_patterns("tiles", "run", "cache", "tmp", "dvc.lock")
    shutil.copytree(ROOT / "examples" / "dvc", place, ignore=left_out)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    # The commands of the stages are those of this interpreter, working on this checkout.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["dvc", *arguments], cwd=place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def _shortened(place: Path, **changes: str) -> None:
    """Replace the first value of some keys of params.yaml."""
    lines = (place / "params.yaml").read_text().splitlines()
    for index, line in enumerate(lines):
        key, _, rest = line.partition(":")
        if key.strip() in changes and rest.strip():
            lines[index] = f"{key}: {changes[key.strip()]}"
    (place / "params.yaml").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("source", ["drawn", pytest.param("real", marks=pytest.mark.data)])
def test_the_pipeline_runs_what_changed_and_keeps_what_it_made(
    dvc: Callable[..., str],
    landuse_tiles: Path,
    tmp_path: Path,
    source: str,
    request: pytest.FixtureRequest,
) -> None:
    place = tmp_path / "examples" / "dvc"
    tiles = landuse_tiles
    if source == "real":
        tiles = request.getfixturevalue("real_data") / "eurosat" / "EuroSAT_RGB.zip"
    short = {"source": str(tiles), "flags": '"--subset"', "limit": "2"}
    _shortened(place, **short, steps="4", steps_per_epoch="2")
    dvc("repro")
    metrics = json.loads((place / "metrics.json").read_text())
    card = json.loads((place / "run" / "model" / "card.json").read_text())
    assert metrics["tiles"] == 20
    # The exported graph was scored by scikit-learn, the card by the training run.
    assert metrics["accuracy"] == pytest.approx(card["metrics"][0]["value"], abs=1e-4)
    assert (place / "landuse.onnx").stat().st_size == json.loads(
        (place / "export.json").read_text()
    )["size_bytes"]
    assert "up to date" in dvc("repro")
    dvc("push")
    shutil.rmtree(place / "run")
    shutil.rmtree(place / ".dvc" / "cache")
    dvc("pull")
    assert json.loads((place / "run" / "model" / "card.json").read_text()) == card
    _shortened(place, lr="1e-3")
    assert sorted(json.loads(dvc("status", "--json"))) == ["train"]
    config = tmp_path / "configs" / "landuse.yaml"
    config.write_text(config.read_text().replace("Land use and", "Land"))
    _shortened(place, lr="2e-3")
    assert sorted(json.loads(dvc("status", "--json"))) == ["train"]

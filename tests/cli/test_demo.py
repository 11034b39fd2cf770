"""The demo goes the whole way, can be repeated, and touches nothing that is not its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from geotiler.models.bundle import Bundle

SMALL = ["--height", "500", "--width", "640"]
FILES = {
    "scene.tif", "truth.geojson", "mask.tif", "mask.qml", "buildings.geojson", "buildings.qml",
    "preview.png", "demo.json",
}  # fmt: skip


def _geotiler(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from geotiler.cli.main import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_writes_its_files_and_can_be_repeated(tmp_path: Path, tiny_bundle: Bundle) -> None:
    words = ["demo", *SMALL, "--model", str(tiny_bundle.folder)]
    first = _geotiler(*words, "--json", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "--width" not in first.stderr  # the picture's, which nobody gave
    assert {path.name for path in (tmp_path / "demo").iterdir()} == FILES
    summary = json.loads(first.stdout)
    assert summary["pixels"] == 500 * 640
    assert summary["buildings"] > 0
    assert 0 < summary["synthetic_iou"] <= 1
    assert json.loads((tmp_path / "demo" / "demo.json").read_text(encoding="utf-8")) == summary
    mask = (tmp_path / "demo" / "mask.tif").read_bytes()

    second = _geotiler(*words, folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "demo" / "mask.tif").read_bytes() == mask
    assert "synthetic" in second.stdout


def test_files_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mask.tif").write_bytes(b"mine")
    done = _geotiler("demo", ".", *SMALL, folder=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "mask.tif" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mask.tif"]
    assert (tmp_path / "mask.tif").read_bytes() == b"mine"


def test_an_unknown_model_leaves_nothing_behind(tmp_path: Path) -> None:
    done = _geotiler("demo", *SMALL, "--model", "nope", folder=tmp_path)
    assert done.returncode == 5, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, tiny_bundle: Bundle) -> None:
    (tmp_path / "file").write_bytes(b"")
    words = ["demo", "file/demo", *SMALL, "--model", str(tiny_bundle.folder)]
    done = _geotiler(*words, folder=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr

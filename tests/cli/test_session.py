"""flag > GEOTILER_COMMAND_FLAG > --config FILE > model card > default, and who is told which."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import typer
from affine import Affine

from geotiler.cli.main import app, main
from geotiler.models.bundle import Bundle

SOURCES = ("flag", "variable", "file")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=70, width=90, dtype="uint8",
        crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
    ) as out:  # fmt: skip
        out.write(np.random.default_rng(2).integers(0, 256, (3, 70, 90), dtype=np.uint8))
    return path


def _settings(
    scene: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str], *more: str
) -> dict[str, Any]:
    command = ["segment", str(scene), "-o", "mask.tif", "--model", str(bundle.folder), "--dry-run"]
    assert main([*command, "--json", *more]) == 0, capsys.readouterr().err
    settings: dict[str, Any] = json.loads(capsys.readouterr().out)["settings"]
    return settings


@pytest.mark.parametrize(
    "given", [set(c) for n in range(4) for c in itertools.combinations(SOURCES, n)], ids=str
)
def test_the_nearest_word_wins_and_is_named(
    given: set[str], scene: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    more: list[str] = []
    if "flag" in given:
        more += ["--overlap", "8"]
    if "variable" in given:
        monkeypatch.setenv("GEOTILER_SEGMENT_OVERLAP", "9")
    if "file" in given:
        Path("run.toml").write_text("[segment]\noverlap = 10\n")
        more += ["--config", "run.toml"]
    expected = {
        "flag": {"value": 8, "origin": "flag"},
        "variable": {"value": 9, "origin": "GEOTILER_SEGMENT_OVERLAP"},
        "file": {"value": 10, "origin": "--config run.toml"},
        None: {"value": 32, "origin": "model card"},
    }
    nearest = next((source for source in SOURCES if source in given), None)
    assert _settings(scene, tiny_bundle, capsys, *more)["overlap_px"] == expected[nearest]


def test_a_file_may_hold_numbers_lists_and_switches(
    scene: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "[segment]\nbands = [3, 2, 1]\nscale = [0, 100]\ntile = 64\nprobability-dtype = 'float32'"
    )
    Path("run.toml").write_text(text + "\n[vectorize]\nmin-area = 3\n")
    found = _settings(scene, tiny_bundle, capsys, "--config", "run.toml")
    assert found["bands"] == {"value": [3, 2, 1], "origin": "--config run.toml"}
    assert found["scale"]["value"] == [0.0, 100.0]
    assert found["tile_px"]["value"] == [64, 64]


def test_a_variable_may_name_the_file(
    scene: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    Path("run.toml").write_text("[segment]\noverlap = 11\n")
    monkeypatch.setenv("GEOTILER_CONFIG", "run.toml")
    assert _settings(scene, tiny_bundle, capsys)["overlap_px"]["value"] == 11


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("[segment]\noverlp = 1\n", 2, "'overlap'"),
        ("[segment]\noverlap = 'many'\n", 2, "--overlap"),
        ("segment = 3\n", 2, "table"),
        ("[segement]\noverlap = 1\n", 2, "did you mean [segment]?"),
        ("[weather]\nrain = 1\n", 2, "[weather] is no command"),
        ("overlap = 1\n", 2, "below [segment]"),
        ("overlap 3", 3, "TOML"),
        (None, 3, "run.toml"),
    ],
)
def test_bad_files_are_one_line(
    scene: Path, capsys: pytest.CaptureFixture[str], text: str | None, code: int, reason: str
) -> None:
    if text is not None:
        Path("run.toml").write_text(text)
    assert main(["segment", str(scene), "-o", "m.tif", "--config", "run.toml"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not Path("m.tif").exists()


def _walk(command: Any, path: tuple[str, ...] = ()) -> Any:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, (*path, name))


def test_every_variable_is_named_as_its_flag() -> None:
    root = typer.main.get_command(app)
    with root.make_context("geotiler", ["models", "list"]):
        pass
    found = {
        (path, option.name): option
        for path, command in _walk(root)
        for option in command.params
        if option.param_type_name == "option"
    }
    assert len(found) > 40
    for (path, name), option in found.items():
        if not path or name == "help" or not option.allow_from_autoenv:
            assert option.envvar is None
        elif name not in ("config", "progress"):
            flag = max(option.opts, key=len).removeprefix("--")
            words = "_".join((*path, flag)).upper().replace("-", "_")
            assert option.envvar == f"GEOTILER_{words}"
    assert found[("vectorize",), "class_"].envvar == "GEOTILER_VECTORIZE_CLASS"
    assert found[("segment",), "as_json"].envvar == "GEOTILER_SEGMENT_JSON"


def test_a_mistyped_variable_is_told_and_others_are_left_in_peace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOTILER_SEGMENT_TREHSOLD", "0.4")
    monkeypatch.setenv("GEOTILER_SEGMENT_TILE", "512")
    monkeypatch.setenv("GEOTILER_VERSION", "1.0-of-an-image")
    assert main(["models", "list"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "GEOTILER_SEGMENT_TREHSOLD" in line
    assert line.endswith("did you mean GEOTILER_SEGMENT_THRESHOLD?")

"""What a mistake is told: one line that names what was typed, and the exit code of its kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geotiler.cli.main import main
from geotiler.cli.scenes import named_scenes
from geotiler.errors import InputError, SpecError
from geotiler.specs import SegmentSpec

SETTING = re.compile(r"\b[a-z]+(_[a-z]+)*_(px|m|m2|deg)\b|`")
"""How settings are called below the command line."""

MISTAKES = {
    "segment s.tif -o m.tif --overlap 600 --tile 512": "--overlap must be smaller than the tile",
    "segment s.tif -o m.tif --overlap -1": "--overlap must be at least 0",
    "segment s.tif -o m.tif --tile 500": "--tile must be a multiple of 32",
    "segment s.tif -o m.tif --batch 0": "--batch must be at least 1",
    "segment s.tif -o m.tif --threads 0": "--threads must be at least 1",
    "segment s.tif -o m.tif --threshold 50": "--threshold must lie between 0 and 1",
    "segment s.tif -o m.tif --bands 0,1,2": "--bands are counted from 1",
    "segment s.tif -o m.tif --gsd 0": "--scene-gsd must be positive",
    "segment s.tif -o m.tif --scale 9,1": "--scale minimum must be below",
    "segment s.tif -o m.tif --bounds 1,2,1,3": "--bounds must enclose an area",
    "segment s.tif -o m.tif --probability-dtype int8": "--probability-dtype must be uint8",
    "vectorize m.tif -o m.gpkg --min-area -1": "--min-area must be at least 0",
    "vectorize m.tif -o m.gpkg --min-hole -1": "--min-hole must be at least 0",
    "vectorize m.tif -o m.gpkg --sieve -1": "--sieve must be at least 0",
    "vectorize m.tif -o m.gpkg --simplify -1": "--simplify must be at least 0",
    "vectorize m.tif -o m.gpkg --max-deviation nan": "--max-deviation must be at least 0",
    "vectorize m.tif -o m.gpkg --threshold 1": "--threshold must lie between 0 and 1",
    "vectorize m.tif -o m.gpkg --workers 0": "--workers must be at least 1",
    "classify s.tif -o c.tif --stride 0": "--stride must be at least 1",
    "classify s.tif -o c.tif --min-valid 2": "--min-valid must lie in 0 to 1",
    "classify s.tif --topk 0": "--topk must be at least 1",
    "tile s.tif -o chips --tile 8": "--tile must be at least 16",
    "tile s.tif -o chips --overlap 512": "--overlap must be smaller than the tile, 512",
    "tile s.tif -o chips --block 8": "--block must be at least the tile",
    "tile s.tif -o chips --gsd 0": "--gsd must be positive",
    "tile s.tif -o chips --scene-gsd 0": "--scene-gsd must be positive",
    "tile s.tif -o chips --split 1,1": "--split takes shares",
    "evaluate m.tif --truth t.tif --min-area -1": "--min-area must be at least 0",
    "evaluate m.tif --truth t.tif --boundary 0": "--boundary must be at least 1",
    "preview s.tif -o p.png --width 5": "--width must be at least 64",
    "preview s.tif -o p.png --detail -5": "--detail must be at least 0",
    "render r.tif --height 0": "--height must be at least 1",
    "segment a.tif b.tif -o two.gpkg": "several scenes need a folder, got -o two.gpkg",
    "demo -o d": "no such option -o: give it without, geotiler demo FOLDER",
    "render --output r.tif": "no such option --output: give it without, geotiler render OUTPUT",
    "train -o d": "no such option -o (see geotiler train --help)",
    "render r.tif --gsd 50": "--gsd must be 0.05 to 5 metres",
    "export buildings -o m.onnx --tolerance 2": "--tolerance must lie between 0 and 1",
}
"""Command line → how its message begins."""


@pytest.mark.parametrize("line", MISTAKES)
def test_a_message_names_the_flag_that_was_typed(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"geotiler: {MISTAKES[line]}"), told
    assert told.count("\n") == 1
    assert not SETTING.search(told), told
    assert not list(tmp_path.iterdir())


def test_python_is_told_the_argument() -> None:
    with pytest.raises(SpecError, match="`overlap_px` must be at least 0, got -1"):
        SegmentSpec(scene="s.tif", output=Path("m.tif"), overlap_px=-1)


WRONG_FORMATS = {
    "segment s.tif -o m.jpg": "no raster format",
    "segment s.tif -o m.tif --probability p.shp": "no raster format",
    "segment s.tif -o b.geojson": "-o b.tif, then geotiler vectorize b.tif -o b.geojson",
    "segment s.tif -o b.gpkg": "geotiler vectorize",
    "classify s.tif -o m.jpg": "no raster format",
    "classify s.tif -o m.gpkg --confidence c.jpg": "no raster format",
    "vectorize s.tif -o b.jpg": "no vector format",
    "vectorize s.tif -o b.fgb --layer x": "no layers",
    "vectorize s.tif -o b.fgb --append": "cannot be added to",
    "preview s.tif -o p.jpg": "neither a .png nor a .html",
    "render r.png": "a scene is a GeoTIFF",
    "render r.tif --truth t.jpg": "no vector format",
    "export buildings -o m.jpg": "no .onnx file",
    "export buildings -o m.jpg --to stac": "no .json file",
}
"""Command line → part of its message."""


@pytest.mark.parametrize("line", WRONG_FORMATS)
def test_an_output_of_a_format_that_is_not_written_is_a_mistake_of_usage(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everywhere the same code, whatever else is there."""
    monkeypatch.chdir(tmp_path)
    assert main(["render", "s.tif", "--height", "96", "--width", "96", "-q"]) == 0
    before = {path.name for path in tmp_path.iterdir()}
    assert main(line.split()) == 2
    assert WRONG_FORMATS[line] in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_names_of_a_list_are_relative_to_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "here.tif").touch()
    listed = tmp_path / "lists" / "scenes.txt"
    listed.write_text(f"here.tif\n{tmp_path / 'lists' / 'beside.tif'}\n/vsimem/x.tif\nnone.tif\n")
    (tmp_path / "lists" / "beside.tif").touch()
    assert named_scenes([], listed)[0] == "here.tif"
    assert len(named_scenes([], listed)) == 4  # what is nowhere is told with the other failures
    listed.write_text("beside.tif\n")
    with pytest.raises(InputError, match=r"lies beside the list \(.*where the command runs"):
        named_scenes([], listed)
    monkeypatch.chdir(tmp_path / "lists")
    assert named_scenes([], Path("scenes.txt")) == ["beside.tif"]

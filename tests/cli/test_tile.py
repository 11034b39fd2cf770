"""`geotiler tile` on the command line: defaults that work, errors of one line with an exit code."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.cli.main import main

HOUSE = (
    '{"type": "FeatureCollection", "crs": null, "features": [{"type": "Feature", "properties": '
    '{"class": "building"}, "geometry": {"type": "Polygon", "coordinates": '
    "[[[20, 20], [60, 20], [60, 50], [20, 50], [20, 20]]]}}]}"
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scene in pixels and a house on it."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(0, 255, (3, 300, 200), dtype=np.uint8)
    with rasterio.open(
        "scene.tif", "w", driver="GTiff", height=300, width=200, count=3, dtype="uint8",
        transform=Affine.identity(),
    ) as scene:  # fmt: skip
        scene.write(values)
    Path("houses.geojson").write_text(HOUSE)
    return tmp_path


def run(line: str) -> int:
    return main(["tile", *shlex.split(line)])


def test_a_scene_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scene.tif") == 0
    assert "scene_chips" in capsys.readouterr().out
    assert (Path("scene_chips") / "all.txt").read_text() == "scene_r000000_c000000\n"


def test_labels_make_a_data_set_with_splits(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--labels houses.geojson --tile 64 --overlap 8 --attribute class -o set --json -q"
    assert run(f"scene.tif {words} --classes building=1") == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["splits"]) == {"train", "val", "test"}
    assert report["class_px"]["building"] >= 40 * 30
    names = {path.name for path in Path("set").iterdir()}
    assert names == {
        "images", "masks", "index.parquet", "dataset.json", "contact_sheet.png", "train.txt",
        "val.txt", "test.txt",
    }  # fmt: skip


def test_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scene.tif --tile 64 --dry-run --json") == 0
    assert json.loads(capsys.readouterr().out)["chips"] == 6 * 4
    assert not Path("scene_chips").exists()


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("scene.tif --tile 0", 2, "--tile must be at least 16"),
        ("scene.tif --tile 64 --overlap 64", 2, "--overlap must be smaller than the tile, 64"),
        ("scene.tif --split 0.7,0.7", 2, "add up to 1"),
        ("scene.tif --split a,b", 2, "--split takes numbers"),
        ("scene.tif --gsd -1", 2, "positive metres"),
        ("scene.tif --gsd 0.5", 2, "--scene-gsd"),
        ("scene.tif --min-valid 2", 2, "--min-valid must lie in 0 to 1"),
        ("scene.tif --empty-ratio 1", 2, "--empty-ratio says something about labels"),
        ("scene.tif --attribute class", 2, "--labels"),
        ("scene.tif --bands 9", 2, "band 9"),
        ("scene.tif --bands 0", 2, "counted from 1"),
        ("scene.tif --block 10", 2, "--block must be at least the tile"),
        ("scene.tif --labels houses.geojson --classes a=1,A=2", 2, "class names collide"),
        ("scene.tif --labels houses.geojson --classes a=1,b=1", 2, "a|b=1"),
        ("scene.tif --labels houses.geojson --classes a", 2, "NAME=ID"),
        ("scene.tif --labels houses.geojson --classes a=254", 2, "expected 1 to 253"),
        ("scene.tif --labels houses.geojson --split 0.5,0.5", 2, "cannot be split"),
        ("none.tif", 3, "no such file"),
        ("houses.geojson", 3, "is a vector file, expected a raster"),
        ("scene.tif --labels none.gpkg", 3, "no such file"),
        ("scene.tif -o houses.geojson", 4, "is a file"),
        ("scene.tif -o a/b/c", 4, "does not exist"),
        ("scene.tif --tiel 64", 2, "did you mean --tile"),
        ("", 2, "SCENE"),
    ],
)
def test_mistakes_are_one_line_and_a_code(
    line: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (error,) = captured.err.strip().splitlines()
    assert message in error
    assert {path.name for path in Path().iterdir()} == {"scene.tif", "houses.geojson"}


@pytest.fixture
def pictures(place: Path) -> Path:
    """A folder of five pictures with masks and lists; one picture has a black band."""
    rng = np.random.default_rng(1)
    folder = place / "pictures"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(5):
        image = rng.integers(40, 255, (80, 90, 3), dtype=np.uint8)
        mask = np.zeros((80, 90), np.uint8)
        mask[10:30, 20 : 40 + number] = 255
        if number == 4:
            image[:, :15] = 0
        cv2.imwrite(str(folder / "images" / f"p{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"p{number}.png"), mask)
    (folder / "train.txt").write_text("p0\np3\np4\n")
    (folder / "val.txt").write_text("p1\n")
    return folder


def test_a_plain_folder_keeps_its_splits_and_its_black_bands_are_nodata(pictures: Path) -> None:
    assert run("pictures --scene-gsd 0.3 --classes building=1 -o set -q") == 0
    assert (Path("set") / "train.txt").read_text().split() == [
        f"p{number}_r000000_c000000" for number in (0, 3, 4)
    ]
    assert (Path("set") / "val.txt").read_text() == "p1_r000000_c000000\n"
    assert not (Path("set") / "test.txt").exists()
    facts = json.loads((Path("set") / "dataset.json").read_text())
    assert (facts["gsd_m"], facts["classes"]) == (0.3, {"1": "building"})
    with rasterio.open("set/masks/p4_r000000_c000000.tif") as chip:
        labels = chip.read(1)
    assert (labels[:, :15] == 255).all()
    expected = cv2.imread(str(pictures / "masks" / "p4.png"), cv2.IMREAD_GRAYSCALE) // 255
    np.testing.assert_array_equal(labels[:, 20:], expected[:, 20:])
    with rasterio.open("set/images/p3_r000000_c000000.tif") as chip:
        image = cv2.imread(str(pictures / "images" / "p3.png"))
        np.testing.assert_array_equal(chip.read(), image[..., ::-1].transpose(2, 0, 1))


def test_a_plain_folder_is_split_anew_on_demand(pictures: Path) -> None:
    assert run("pictures --split 0.5,0.5 -o set -q") == 0
    names = [(Path("set") / f"{split}.txt").read_text().split() for split in ("train", "val")]
    assert sorted(name[:2] for part in names for name in part) == ["p0", "p1", "p3", "p4"]
    assert all(names)
    assert run("pictures scene.tif -o other -q") == 2

"""`geotiler classify` as typed: JSON for images, maps for scenes, errors in one line."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geotiler.cli.main import main
from geotiler.models.bundle import Bundle
from geotiler.models.predictor import open_predictor
from geotiler.specs import Backend

SIDE = 64


def _pixels(seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    """(3, row, col): a colour with some grain."""
    random = np.random.default_rng(seed)
    colour = random.integers(20, 235, (3, 1, 1))
    grain = random.integers(-20, 21, (3, side, side))
    return (colour + grain).astype(np.uint8)


def _write(path: Path, image: NDArray[Any], driver: str = "GTiff", **profile: Any) -> Path:
    count, height, width = image.shape
    with rasterio.open(
        path, "w", driver=driver, count=count, height=height, width=width, dtype=image.dtype,
        **profile,
    ) as out:  # fmt: skip
        out.write(image)
    return path


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three images of the size of a tile."""
    return [
        _write(tmp_path / f"{name}.png", _pixels(seed), "PNG")
        for seed, name in enumerate(("one", "two", "three"), start=3)
    ]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Two by three tiles at 10 m."""
    rows = [np.concatenate([_pixels(10 * r + c) for c in range(3)], axis=2) for r in range(2)]
    transform = Affine(10, 0, 300_000, 0, -10, 5_400_000)
    return _write(
        tmp_path / "scene.tif", np.concatenate(rows, axis=1), crs="EPSG:32633", transform=transform
    )


def _expected(bundle: Bundle, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities straight from the network, scaled by hand."""
    card = bundle.card
    unit = image.astype(np.float64) / 255
    mean, std = (np.reshape(v, (3, 1, 1)) for v in (card.mean, card.std))
    tile = ((unit - mean) / std).astype(np.float32)
    answer: NDArray[np.float32] = open_predictor(bundle, backend=Backend.ONNX, device="cpu")(
        tile[None]
    )[0]
    return answer


def test_an_image_is_one_json_object(
    images: list[Path], tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", str(images[0]), "--model", str(tiny_landuse.folder)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["image", "predicted_class", "probabilities", "topk"]
    expected = _expected(tiny_landuse, _pixels(3))
    names = [item.name for item in tiny_landuse.card.classes]
    assert list(answer["probabilities"]) == names
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected, atol=2e-5)
    order = np.argsort(-expected)
    assert answer["predicted_class"] == names[order[0]]
    assert [item["class"] for item in answer["topk"]] == [names[i] for i in order[:3]]
    for item in answer["topk"]:
        assert item["probability"] == answer["probabilities"][item["class"]]


def test_many_images_are_json_lines_in_their_order(
    images: list[Path], tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_landuse.folder)]
    paths = [str(path) for path in images]
    assert main(["classify", *paths, *model, "--topk", "20", "--batch", "2"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == paths
    for seed, line in enumerate(lines, start=3):
        found = list(line["probabilities"].values())
        np.testing.assert_allclose(found, _expected(tiny_landuse, _pixels(seed)), atol=2e-5)
        assert len(line["topk"]) == 10


@pytest.mark.parametrize("table", [[], ["--csv", "-"]])
def test_one_bad_image_does_not_stop_the_others(
    table: list[str], images: list[Path], tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither one that cannot be opened, nor one that shows nothing when it is read."""
    folder = images[0].parent
    words, empty = _words(folder), _empty(folder)
    model = ["--model", str(tiny_landuse.folder), "--batch", "2", "--quiet", *table]
    assert main(["classify", *map(str, images), *model]) == 0
    alone = capsys.readouterr().out
    paths = [words, str(images[0]), empty, *map(str, images[1:])]
    assert main(["classify", *paths, *model]) == 3
    captured = capsys.readouterr()
    assert captured.out == alone
    first, second = captured.err.splitlines()
    assert first.startswith("geotiler: ")
    assert (words in first, empty in second) == (True, True)
    assert first.count("words.jpg") == second.count("empty.tif") == 1


def test_images_of_which_none_is_one_make_no_table(
    tmp_path: Path, tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    gray, words = _gray(tmp_path), _words(tmp_path)
    table = tmp_path / "labels.csv"
    command = ["classify", gray, words, "--model", str(tiny_landuse.folder), "--csv", str(table)]
    assert main(command) == 2  # that of the first one
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2
    assert not table.exists()


def test_an_image_of_much_less_ground_than_a_tile_is_labelled_with_a_word(
    tmp_path: Path, tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    close = Affine(0.3, 0, 300_000, 0, -0.3, 5_400_000)
    model = ["--model", str(tiny_landuse.folder)]
    paths = [
        str(_write(tmp_path / f"{i}.tif", _pixels(i, 440), crs="EPSG:32633", transform=close))
        for i in range(3)
    ]
    assert main(["classify", *paths, *model]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{paths[0]} is 132 m wide" in line
    assert "640 m" in line
    assert "2 more images" in line
    for name, profile in {
        "fits": {"crs": "EPSG:32633", "transform": Affine(8, 0, 300_000, 0, -8, 5_400_000)},
        "nowhere": {"transform": close},
    }.items():
        path = _write(tmp_path / f"{name}.tif", _pixels(4), **profile)
        assert main(["classify", str(path), *model]) == 0
        assert capsys.readouterr().err == ""


def test_a_table_has_a_row_for_each_image(
    images: list[Path], tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(path) for path in images]
    assert main(["classify", *paths, "--model", str(tiny_landuse.folder), "--csv", "-"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["image"] for row in rows] == paths
    for seed, row in enumerate(rows, start=3):
        expected = _expected(tiny_landuse, _pixels(seed))
        assert float(row["confidence"]) == pytest.approx(expected.max(), abs=2e-5)
        assert float(row["p_Forest"]) == pytest.approx(expected[1], abs=2e-5)
        assert row["predicted_class"] == tiny_landuse.card.classes[expected.argmax()].name


def test_a_table_is_written_to_a_file_and_never_over_one(
    images: list[Path], tiny_landuse: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["classify", *map(str, images), "--model", str(tiny_landuse.folder), "--csv"]
    assert main([*command, "-"]) == 0
    printed = capsys.readouterr().out
    table = tmp_path / "labels.csv"
    assert main([*command, str(table)]) == 0
    assert capsys.readouterr().out == ""
    assert table.read_text() == printed
    table.write_text("mine")
    assert main([*command, str(table)]) == 4
    assert table.read_text() == "mine"
    assert main([*command, str(table), "--overwrite"]) == 0
    assert table.read_text() == printed


def test_a_larger_image_is_averaged_to_a_tile(
    tmp_path: Path, tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each pixel four times is the same picture, but for its triangle kernel's blur."""
    flat = np.repeat(np.repeat(np.full((3, SIDE, SIDE), 90, np.uint8), 4, axis=1), 4, axis=2)
    answers = []
    for name, image in (("small", flat[:, :SIDE, :SIDE]), ("large", flat), ("wide", flat[:, :99])):
        path = _write(tmp_path / f"{name}.tif", image)
        assert main(["classify", str(path), "--model", str(tiny_landuse.folder)]) == 0
        answers.append(json.loads(capsys.readouterr().out)["probabilities"])
    for answer in answers[1:]:
        assert list(answer.values()) == pytest.approx(list(answers[0].values()), abs=1e-5)


def test_one_label_for_a_whole_scene_is_given_with_a_word(
    scene: Path, tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", str(scene), "--model", str(tiny_landuse.folder)]) == 0
    captured = capsys.readouterr()
    assert "covers 2×3 tiles" in captured.err
    assert json.loads(captured.out)["predicted_class"]


def test_a_map_in_the_place_of_the_labels(
    scene: Path, tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a tile of a scene is called is what it is called as an image."""
    model = ["--model", str(tiny_landuse.folder)]
    target = scene.parent / "map.tif"
    assert main(["classify", str(scene), "-o", str(target), *model, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["settings"]["stride_px"] == {"value": 64, "origin": "model card"}
    assert (report["tiles"], report["cells"]) == (6, [2, 3])
    with rasterio.open(target) as found:
        classes = found.read(1)
    for row in range(2):
        for col in range(3):
            expected = _expected(tiny_landuse, _pixels(10 * row + col))
            assert classes[row, col] == tiny_landuse.card.classes[expected.argmax()].id


def test_classes_are_told_with_their_share_of_the_ground(
    scene: Path, tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last column of cells is narrower: shares of the cells would be others."""
    with rasterio.open(scene) as whole:
        narrow, transform = whole.read()[..., :168], whole.transform
    part = _write(scene.parent / "narrow.tif", narrow, crs="EPSG:32633", transform=transform)
    command = ["classify", str(part), "-o", str(scene.parent / "map.tif"), "--overwrite"]
    command += ["--model", str(tiny_landuse.folder)]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert main(command) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("class: ")]
    found = {name: count for name, count in report["class_cells"].items() if count}
    assert len(lines) == len(found)
    ground = {name: report["class_area_m2"][name] for name in found}
    shares = {name: area / sum(ground.values()) for name, area in ground.items()}
    assert any(shares[name] != pytest.approx(found[name] / 6) for name in found)
    areas = []
    for line in lines:
        name, told = line.removeprefix("class: ").split(maxsplit=1)
        area = ground[name] / 1e6
        assert told == f"{100 * shares[name]:.1f} %, {found[name]} cells, {area:.4g} km²"
        areas.append(area)
    assert areas == sorted(areas, reverse=True)


def test_polygons_on_stdout(
    scene: Path, tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_landuse.folder)]
    assert main(["classify", str(scene), "-o", "-", *model, "--dissolve"]) == 0
    captured = capsys.readouterr()
    features = json.loads(captured.out)["features"]
    assert sum(item["properties"]["cells"] for item in features) == 6
    assert f"{len(features)} polygons" in captured.err


def test_a_dry_run_says_what_it_would_do(
    scene: Path, tiny_landuse: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    target = scene.parent / "map.gpkg"
    command = ["classify", str(scene), "-o", str(target), "--model", str(tiny_landuse.folder)]
    assert main([*command, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["tiles"] == 6
    assert {"seconds", "memory_bytes", "settings"} <= plan.keys()
    assert not target.exists()


def _words(folder: Path) -> str:
    (folder / "words.jpg").write_text("not an image")
    return str(folder / "words.jpg")


def _truncated(folder: Path) -> str:
    content = (folder / "scene.tif").read_bytes()
    (folder / "damaged.tif").write_bytes(content[: len(content) // 2])
    return str(folder / "damaged.tif")


def _gray(folder: Path) -> str:
    return str(_write(folder / "gray.png", _pixels(1)[:1], "PNG"))


def _empty(folder: Path) -> str:
    return str(_write(folder / "empty.tif", np.zeros((3, 64, 64), np.uint8), nodata=0))


def _huge(folder: Path) -> str:
    return str(_write(folder / "huge.tif", np.zeros((3, 10, 5000), np.uint8)))


def _small(folder: Path) -> str:
    return str(_write(folder / "small.tif", _pixels(2, 30)))


BAD: dict[str, tuple[list[str | Callable[[Path], str]], int, str]] = {
    "missing image": (["none.jpg"], 3, "no such file: none.jpg"),
    "not an image": ([_words], 3, "words.jpg"),
    "damaged image": ([_truncated], 3, "damaged.tif"),
    "wrong channel count": ([_gray], 2, "1 band without"),
    "nothing valid in it": ([_empty], 3, "no valid pixel"),
    "a scene taken for an image": ([_huge], 3, "-o landuse.geojson"),
    "no classes": (["one.png", "--topk", "0"], 2, "--topk"),
    "a map's flag": (["one.png", "--stride", "32"], 2, "--stride"),
    "another map's flag": (["one.png", "--dissolve"], 2, "--dissolve"),
    "an area of images": (["one.png", "--aoi", "area.gpkg"], 2, "--aoi is for maps"),
    "bounds of images": (["one.png", "--bounds", "1,2,3,4"], 2, "--bounds is for maps"),
    "two areas": (
        ["scene.tif", "-o", "m.tif", "--aoi", "a.gpkg", "--bounds", "1,2,3,4"],
        2,
        "exclude",
    ),
    "no area": (["scene.tif", "-o", "m.tif", "--aoi", "none.gpkg"], 3, "none.gpkg"),
    "an area beside it": (["scene.tif", "-o", "m.tif", "--bounds", "1,2,3,4"], 3, "does not touch"),
    "half bounds": (["scene.tif", "-o", "m.tif", "--bounds", "1,2"], 2, "LEFT,BOTTOM,RIGHT,TOP"),
    "an image's flag": (["scene.tif", "-o", "m.tif", "--csv", "t.csv"], 2, "--csv"),
    "merged pixels": (["scene.tif", "-o", "m.tif", "--dissolve"], 2, "--dissolve"),
    "gaps between tiles": (["scene.tif", "-o", "m.tif", "--stride", "65"], 2, "--stride 64"),
    "no stride": (["scene.tif", "-o", "m.tif", "--stride", "0"], 2, "--stride 32"),
    "share above 1": (["scene.tif", "-o", "m.tif", "--min-valid", "2"], 2, "--min-valid"),
    "endless offset": (["scene.tif", "-o", "m.tif", "--dn-offset", "inf"], 2, "--dn-offset"),
    "half a scale": (["scene.tif", "-o", "m.tif", "--scale", "5"], 2, "--scale"),
    "no batch": (["one.png", "--batch", "0"], 2, "--batch"),
    "smaller than a tile": ([_small, "-o", "m.tif"], 2, "30×30 px"),
    "damaged scene": ([_truncated, "-o", "m.geojson"], 3, "damaged.tif"),
    "two scenes": (["scene.tif", "scene.tif", "-o", "m.tif"], 3, "one scene at a time"),
    "nameless format": (["scene.tif", "-o", "m"], 2, ".tif"),
    "no such folder": (["scene.tif", "-o", "none/m.gpkg"], 4, "mkdir -p none"),
    "existing output": (["scene.tif", "-o", "one.png"], 4, "--overwrite"),
    "the scene itself": (["scene.tif", "-o", "scene.tif", "--overwrite"], 2, "another name"),
    "report and polygons": (["scene.tif", "-o", "-", "--json"], 2, "--json"),
    "unknown model": (["one.png", "--model", "castles"], 5, "--model"),
    "a model of pixels": (["one.png", "--model", "buildings"], 2, "expected classification"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    kind: str, images: list[Path], scene: Path, tiny_landuse: Bundle,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(scene.parent)
    words, code, reason = BAD[kind]
    arguments = [word(scene.parent) if callable(word) else word for word in words]
    before = {entry.name: entry.read_bytes() for entry in scene.parent.iterdir()}
    if "--model" not in arguments:
        arguments += ["--model", str(tiny_landuse.folder)]
    assert main(["classify", *arguments, "--quiet"]) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("geotiler: ")
    assert reason in line
    assert {entry.name: entry.read_bytes() for entry in scene.parent.iterdir()} == before


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_inference_does_not_import_torch(
    scene: Path, images: list[Path], tiny_landuse: Bundle, backend: str
) -> None:
    common = ["--model", str(tiny_landuse.folder), "--backend", backend]
    script = (
        "import json, sys\nfrom geotiler.cli.main import main\n"
        f"assert main({['classify', str(images[0]), *common]!r}) == 0\n"
        f"assert main({['classify', str(scene), '-o', str(scene.parent / 'm.gpkg'), *common]!r})"
        " == 0\n"
        "print(json.dumps(sorted(set(m.split('.')[0] for m in sys.modules))), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not loaded & {"torch", "torchvision", "segmentation_models_pytorch", "lightning", "cv2"}

"""`geotiler info` tells what a scene is and what a run over it costs, before anything is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling

from geotiler.cli.console import _rows
from geotiler.cli.main import main
from geotiler.models.bundle import Bundle


def _scene(path: Path, count: int = 3, gsd_m: float = 0.5, dtype: str = "uint8") -> Path:
    values = np.random.default_rng(3).integers(1, 200, (count, 256, 320)).astype(dtype)
    values[:, :64] = 0
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=256, width=320, dtype=dtype, nodata=0,
        crs="EPSG:32633", transform=Affine(gsd_m, 0, 5e5, 0, -gsd_m, 5e6), tiled=True,
        blockxsize=64, blockysize=64, compress="deflate",
    ) as out:  # fmt: skip
        out.write(values)
        out.build_overviews([2, 4], Resampling.nearest)
    return path


def _info(scene: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    assert main(["info", str(scene), "--model", str(bundle.folder), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_scene_is_what_was_written(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _scene(tmp_path / "scene.tif")
    scene = _info(path, tiny_bundle, capsys)["scene"]
    assert scene["shape"] == [256, 320]
    assert scene["bands"] == ["red", "green", "blue"]
    assert scene["dtypes"] == ["uint8"]
    assert scene["crs"] == "EPSG:32633"
    # A metre of UTM is 0.9996 to 1.001 metres of ground.
    assert scene["gsd_m"] == pytest.approx([0.5, 0.5], rel=0.002)
    assert scene["ground_m"] == pytest.approx([128, 160], rel=0.002)
    assert scene["bounds"] == [500_000, 5_000_000 - 128, 500_160, 5_000_000]
    way = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    west, south = way.transform(500_000, 5_000_000 - 128)
    # The meridian of a zone is straight in it, and the edge of 160 m beside it nearly so.
    assert scene["bounds_lonlat"][:2] == pytest.approx([west, south], abs=1e-7)
    assert scene["nodata_share"] == pytest.approx(0.25, abs=0.01)
    assert scene["overviews"] == [2, 4]
    assert scene["nodata_from"] == "overviews"
    assert scene["file_bytes"] == path.stat().st_size
    assert (scene["compression"], scene["block_px"]) == ("deflate", [64, 64])


def test_the_plan_is_that_of_a_dry_run(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _scene(tmp_path / "scene.tif")
    found = _info(path, tiny_bundle, capsys)
    command = ["segment", str(path), "-o", str(tmp_path / "m.tif"), "--dry-run", "--json"]
    assert main([*command, "--model", str(tiny_bundle.folder)]) == 0
    dry = json.loads(capsys.readouterr().out)
    assert found["fits"] is True
    measured = {"seconds", "memory_bytes"}
    for key in found["plan"].keys() - measured:
        assert found["plan"][key] == dry[key], key
    assert found["plan"].keys() <= dry.keys()
    assert found["plan"]["seconds"] > 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"count": 2}, "--bands"), ({"gsd_m": 10.0}, "10 m per pixel")],
)
def test_what_does_not_fit_is_told_and_no_failure(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any], reason: str,
) -> None:  # fmt: skip
    path = _scene(tmp_path / "scene.tif", **changes)
    found = _info(path, tiny_bundle, capsys)
    assert (found["fits"], found["plan"]) == (False, None)
    assert reason in found["reason"]
    assert main(["info", str(path), "--model", str(tiny_bundle.folder)]) == 0
    table = capsys.readouterr().out
    assert reason in table
    assert "EPSG:32633" in table


def test_every_misfit_is_told_at_once(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _scene(tmp_path / "coarse.tif", count=8, gsd_m=30)
    found = _info(path, tiny_bundle, capsys)
    assert found["fits"] is False
    assert "--bands 1,2,3" in found["reason"]
    assert "30 m per pixel" in found["reason"]
    chosen = _info(path, tiny_bundle, capsys, "--bands", "1,2,3")["reason"]
    assert "--bands" not in chosen
    assert found["reason"].endswith(chosen)
    fine = _info(_scene(tmp_path / "fine.tif", count=8), tiny_bundle, capsys)["reason"]
    assert "per pixel" not in fine


def test_the_table_says_units_and_where_each_setting_came_from(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _scene(tmp_path / "scene.tif", count=8)
    command = ["info", str(path), "--model", str(tiny_bundle.folder)]
    assert main([*command, "--bands", "1,2,3"]) == 0
    table = dict(
        line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line
    )
    table = {name: text.strip() for name, text in table.items()}
    assert table["shape"] == "256 rows × 320 columns"
    # Scene, model and plan have a line "bands" each; the last one is the plan's.
    assert table["bands"] == "1, 2, 3 (by flag)"
    assert table["gsd"].endswith("(from the scene's georeference)")
    assert " m in x" in table["gsd"]
    assert table["bounds"] == "500000,4999872,500160,5000000 (left,bottom,right,top)"
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "8 bands without names" in told
    assert told.count("unnamed") == 0


def test_flags_of_the_plan_are_those_of_segment(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _scene(tmp_path / "scene.tif", count=4, dtype="uint16")
    settings = _info(path, tiny_bundle, capsys, "--bands", "3,2,1")["plan"]["settings"]
    assert settings["bands"] == {"value": [3, 2, 1], "origin": "flag"}
    assert settings["scale"]["origin"] == "scene"


def test_a_scene_in_coordinates_of_its_own_has_no_place_in_degrees(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _scene(tmp_path / "scene.tif")
    with rasterio.open(path, "r+") as out:
        out.crs = CRS.from_wkt(
            'LOCAL_CS["site",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
        )
    assert _info(path, tiny_bundle, capsys)["scene"]["bounds_lonlat"] is None
    bundle = ["--model", str(tiny_bundle.folder), "-o", str(tmp_path / "mask.tif")]
    for words in (["--bounds", "1,2,3,4"], ["--bounds", "1,2,3,4", "--bounds-crs", "EPSG:4326"]):
        assert main(["segment", str(path), *bundle, *words]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert "does not touch" in line or "no known place" in line


def test_a_mask_is_described_as_one(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    scene, mask = _scene(tmp_path / "scene.tif"), tmp_path / "mask.tif"
    model = ["--model", str(tiny_bundle.folder)]
    probability = tmp_path / "p.tif"
    command = ["segment", str(scene), "-o", str(mask), "--probability", str(probability), *model]
    assert main([*command, "--threshold", "0.25", "--quiet"]) == 0
    found = _info(mask, tiny_bundle, capsys)
    assert (found["fits"], found["plan"]) == (False, None)
    assert "mask" in found["reason"]
    made, card = found["scene"]["made"], tiny_bundle.card
    assert (made["kind"], made["model"]) == ("mask", f"{card.name} {card.version}")
    assert made["model_digest"] == tiny_bundle.digest
    assert made["settings"]["threshold"] == 0.25
    named = {item["id"]: (item["name"], item["color"]) for item in made["classes"]}
    assert named[card.classes[0].id] == (card.classes[0].name, card.classes[0].color.lower())
    assert _info(probability, tiny_bundle, capsys)["scene"]["made"]["kind"] == "probability"
    assert _info(scene, tiny_bundle, capsys)["scene"]["made"] is None
    assert main(["info", str(mask), *model]) == 0
    table = capsys.readouterr().out
    assert f"{card.classes[0].name} {card.classes[0].color.lower()}" in table
    assert "expand" not in table
    assert f"{mask.stat().st_size / 1e3:.0f} KB" in table


def test_tags_that_anybody_wrote_are_no_trouble(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _scene(tmp_path / "scene.tif", count=1)
    with rasterio.open(path, "r+") as out:
        out.update_tags(
            GEOTILER_MODEL="x", GEOTILER_CLASSES="[1]", GEOTILER_CONTENT="?",
            GEOTILER_SETTINGS='{"scale": ["a", "b"], "gsd_m": NaN, "bounds": [1, null, 2, 3]}',
        )  # fmt: skip
    made = _info(path, tiny_bundle, capsys)["scene"]["made"]
    assert (made["kind"], made["classes"]) == ("mask", [])
    assert "gsd_m" not in made["settings"]
    assert main(["info", str(path), "--model", str(tiny_bundle.folder)]) == 0


def test_bounds_without_a_crs_are_said_to_be_pixels(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    with rasterio.open(
        tmp_path / "plain.tif", "w", driver="GTiff", count=3, height=90, width=120, dtype="uint8"
    ) as out:
        out.write(np.ones((3, 90, 120), np.uint8))
    assert main(["info", str(tmp_path / "plain.tif"), "--model", str(tiny_bundle.folder)]) == 0
    assert "0,0,120,90 (no CRS: columns and rows, from the top left)" in capsys.readouterr().out


@pytest.mark.parametrize(("gsd", "told"), [("1.0", True), ("0.5", False), ("0.5,0.8", True)])
def test_a_resolution_given_against_the_georeference_is_told(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str], gsd: str, told: bool
) -> None:
    path = _scene(tmp_path / "scene.tif")
    notes = _info(path, tiny_bundle, capsys, "--scene-gsd", gsd)["plan"]["notices"]
    assert any("--scene-gsd" in note and "0.5" in note for note in notes) == told


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 KB"), (999_499, "999 KB"), (999_500, "1 MB")],
)
def test_sizes_have_a_unit_that_shows_them(count: int, text: str) -> None:
    assert dict(_rows({"file_bytes": count})) == {"file": text}


@pytest.mark.parametrize(("scene", "model", "code"), [("no.tif", None, 3), (None, "castle", 5)])
def test_what_cannot_be_opened_is_an_error(
    tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str],
    scene: str | None, model: str | None, code: int,
) -> None:  # fmt: skip
    path = scene or str(_scene(tmp_path / "scene.tif"))
    assert main(["info", path, "--model", model or str(tiny_bundle.folder)]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_of_a_model_that_labels_tiles_the_plan_is_that_of_classify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(scene: Path, *more: str) -> Any:
        assert main(["info", str(scene), "--model", "landuse", "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)

    found = told(_scene(tmp_path / "scene.tif", gsd_m=10))
    assert found["fits"]
    assert found["plan"]["cells"] == [4, 5]
    assert found["plan"]["tiles"] == 20
    coarse = _scene(tmp_path / "coarse.tif", count=5, gsd_m=60)
    refused = told(coarse)
    assert not refused["fits"]
    # Bands are what is told first; that it would not fit with any is told, too.
    assert "5 bands" in refused["reason"]
    assert "60 m per pixel" in refused["reason"]
    assert "5 bands" not in told(coarse, "--bands", "3,2,1")["reason"]


def test_a_resolution_of_one_number_or_two_is_told_with_its_unit() -> None:
    rows = dict(_rows({"gsd_m": 0.5, "scene": {"gsd_m": [0.5, 0.25]}, "class_px": {"a": 1234}}))
    assert rows == {
        "gsd": "0.5 m", "scene: gsd": "0.5 m in x, 0.25 m in y", "class: a": "1,234 px",
    }  # fmt: skip


def test_nodata_of_a_large_scene_without_overviews_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geotiler.tasks import describe

    values = np.ones((1, 512, 512), np.uint8)
    values[:, :, :128] = 0
    with rasterio.open(
        tmp_path / "plain.tif", "w", driver="GTiff", count=1, height=512, width=512,
        dtype="uint8", nodata=0,
    ) as out:  # fmt: skip
        out.write(values)
    exact = describe.describe(str(tmp_path / "plain.tif"))
    assert (exact.nodata_share, exact.nodata_from) == (0.25, "all pixels")
    monkeypatch.setattr(describe, "READ_WHOLE_PX", 1000)
    sampled = describe.describe(str(tmp_path / "plain.tif"))
    assert sampled.nodata_from == "samples"
    assert sampled.nodata_share == pytest.approx(0.25, abs=0.05)

"""What geotiler writes, opened by a real QGIS: it loads, is styled, and draws.

Needs the system's PyQGIS (Debian: apt-get install python3-qgis); skips without. `make test-system`
runs these.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.io.part_layout import RasterLayout
from geotiler.io.parts import Parts, hold_parts
from geotiler.io.scene_tags import CLASSES_TAG
from geotiler.models.bundle import Bundle
from geotiler.models.registry import find_model
from geotiler.specs import ClassifySpec, RenderSpec, VectorizeSpec
from geotiler.tasks.classify import classify
from geotiler.tasks.render import render
from geotiler.tasks.vectorize import vectorize

HERE = Path(__file__).parent
SYSTEM_PYTHON = Path("/usr/bin/python3")
FIELD, LAKE = (200, 160, 30), (20, 60, 220)

pytestmark = pytest.mark.slow


def _qgis(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    kept = {"PATH", "HOME", "LANG", "TMPDIR"}
    environment = {name: value for name, value in os.environ.items() if name in kept}
    return subprocess.run(
        [str(SYSTEM_PYTHON), *map(str, arguments)],
        env={**environment, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def _has_qgis() -> None:
    if not SYSTEM_PYTHON.exists() or sys.platform != "linux":
        pytest.skip("no system Python of Debian's kind")
    found = _qgis("-c", "import qgis.core")
    if found.returncode:
        pytest.skip("PyQGIS is not installed for /usr/bin/python3")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A mask with two classes, its probability, and its polygons in three formats."""
    folder = tmp_path_factory.mktemp("qgis")
    ids = np.zeros((1, 300, 400), np.uint8)
    ids[0, 50:150, 50:200] = 1
    ids[0, 200:280, 250:390] = 2
    ids[0, :20] = 255
    shared: dict[str, Any] = {
        "shape": (300, 400),
        "transform": Affine(0.5, 0, 690_000, 0, -0.5, 5_340_000),
        "crs": rasterio.CRS.from_epsg(32632),
    }
    names = json.dumps({"0": "none", "1": "field & wood", "2": "lake"})
    layout = RasterLayout(
        dtype="uint8", nodata=255, bands=("class",), tags={CLASSES_TAG: names},
        colours={0: (242, 242, 238), 1: FIELD, 2: LAKE}, **shared,
    )  # fmt: skip
    found = {"mask": folder / "mask.tif", "probability": folder / "p.tif"}
    _assembled(Parts(found["mask"], layout), ids)
    ramp = np.tile(np.linspace(0, 254, 400).astype(np.uint8), (1, 300, 1))
    layout = RasterLayout(
        dtype="uint8", nodata=255, scale=1 / 254, categorical=False, bands=("field",), **shared
    )
    _assembled(Parts(found["probability"], layout), ramp)
    for suffix in ("gpkg", "geojson", "fgb"):
        found[suffix] = folder / f"polygons_{suffix}.{suffix}"
        vectorize(VectorizeSpec(mask=str(found["mask"]), output=str(found[suffix])))
    return found


def _assembled(parts: Parts, values: np.ndarray) -> None:
    folder = hold_parts(parts.output)
    parts.assemble([parts.write(0, 0, values)], False)
    folder.remove()


def _look(picture: Path, *layers: Path) -> tuple[dict[str, Any], np.ndarray]:
    done = _qgis(HERE / "qgis_look.py", picture, *layers)
    assert done.returncode == 0, done.stderr
    drawn = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
    return json.loads(done.stdout.splitlines()[-1]), drawn


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + bytes(colour).hex()


def test_a_mask_is_coloured_and_named_without_a_click(
    outputs: dict[str, Path], tmp_path: Path
) -> None:
    seen, drawn = _look(tmp_path / "look.png", outputs["mask"])
    assert seen["mask.tif"]["valid"]
    assert ["field & wood", _hex(FIELD)] in seen["mask.tif"]["legend"]
    assert ["lake", _hex(LAKE)] in seen["mask.tif"]["legend"]
    colours = {tuple(each) for each in drawn.reshape(-1, 3).tolist()}
    assert {FIELD, LAKE} <= colours


def test_a_probability_is_drawn_from_zero_to_one(outputs: dict[str, Path], tmp_path: Path) -> None:
    seen, drawn = _look(tmp_path / "look.png", outputs["probability"])
    legend = seen["p.tif"]["legend"]
    assert (legend[0][0], legend[-1][0]) == ("0", "1")
    row = drawn[225].astype(int).sum(axis=1)
    assert row[30] > row[300] > row[580], "the ramp darkens from left to right"


@pytest.mark.parametrize("kind", ["gpkg", "geojson", "fgb"])
def test_polygons_are_coloured_by_class_in_every_format(
    outputs: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    seen, drawn = _look(tmp_path / "look.png", outputs[kind])
    layer = seen[outputs[kind].name]
    assert layer["valid"]
    assert layer["features"] == 2
    assert sorted(layer["legend"]) == [["field & wood", _hex(FIELD)], ["lake", _hex(LAKE)]]
    assert (np.abs(drawn.astype(int) - FIELD).max(axis=2) < 12).any()


def test_a_raster_and_polygons_of_one_name_are_both_styled(
    outputs: dict[str, Path], tmp_path: Path
) -> None:
    """QGIS looks for one `town.qml` for both."""
    town = tmp_path / "town.tif"
    for suffix in (".tif", ".qml"):
        shutil.copyfile(outputs["mask"].with_suffix(suffix), town.with_suffix(suffix))
    polygons = town.with_suffix(".geojson")
    vectorize(VectorizeSpec(mask=str(town), output=str(polygons)))
    seen, _ = _look(tmp_path / "look.png", town, polygons)
    assert ["lake", _hex(LAKE)] in seen["town.tif"]["legend"]
    assert seen["town.tif"]["renderer"] == "paletted"
    assert ["lake", _hex(LAKE)] in seen["town.geojson"]["legend"]
    assert seen["town.geojson"]["renderer"] == "categorizedSymbol"


@pytest.mark.parametrize("suffix", ["gpkg", "geojson"])
def test_areas_of_land_use_are_drawn_in_the_colours_of_their_classes(
    tmp_path: Path, suffix: str
) -> None:
    scene, output = tmp_path / "scene.tif", tmp_path / f"use.{suffix}"
    pixels = np.random.default_rng(4).integers(1, 255, (3, 128, 192), dtype=np.uint8)
    pixels[:, :, :64] = np.array([[[20]], [[40]], [[60]]])  # water
    with rasterio.open(
        scene, "w", driver="GTiff", count=3, height=128, width=192, dtype="uint8",
        crs="EPSG:32632", transform=Affine(10, 0, 690_000, 0, -10, 5_340_000),
    ) as out:  # fmt: skip
        out.write(pixels)
    classify(ClassifySpec(scene=(str(scene),), output=str(output)))
    seen, drawn = _look(tmp_path / "look.png", output)
    layer = seen[output.name]
    assert layer["renderer"] == "categorizedSymbol"
    colours = {(each.name, each.color) for each in find_model("landuse").card.classes}
    assert {(name, colour) for name, colour in layer["legend"]} == colours
    assert len({tuple(each) for each in drawn.reshape(-1, 3).tolist()}) > 2


def _processed(scene: Path, bundle: Bundle, folder: Path, **changes: str) -> dict[str, Any]:
    command = folder / "geotiler"
    code = "from geotiler.cli.main import run; run()"
    package = HERE.parents[1]
    command.write_text(
        f"#!/bin/sh\nPYTHONPATH='{package}' exec '{sys.executable}' -c '{code}' \"$@\"\n"
    )
    command.chmod(0o755)
    parameters = {
        "SCENE": str(scene),
        "MODEL": str(bundle.folder),
        "MIN_AREA": 10,
        "COMMAND": str(command),
        "MASK": str(folder / "mask.tif"),
        "BUILDINGS": str(folder / "buildings.gpkg"),
        **changes,
    }
    script = HERE.parents[1] / "examples" / "qgis" / "geotiler_segment.py"
    done = _qgis(HERE / "qgis_processing.py", script, json.dumps(parameters))
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_the_processing_script_runs_the_command_line(tmp_path: Path, tiny_bundle: Bundle) -> None:
    scene = tmp_path / "scene.tif"
    render(RenderSpec(output=scene, height=160, width=200, seed=5))
    found = _processed(scene, tiny_bundle, tmp_path)
    assert Path(found["MASK"]).is_file()
    assert Path(found["BUILDINGS"]).is_file()
    told = _processed(scene, tiny_bundle, tmp_path, MODEL="castle")
    assert "castle" in told["error"]

"""Every command that the README shows runs, on small files made for it."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geotiler.cli.main import main
from geotiler.models.bundle import Bundle
from geotiler.resources import weights_dir
from geotiler.specs import RenderSpec
from geotiler.tasks.render import render

ROOT = Path(__file__).resolve().parents[1]
SIDE = 384

# What makes a training run of hours take seconds; the command itself stays the README's.
SHORT_TRAINING = [
    "train.steps=2", "train.steps_per_epoch=2", "train.batch=2", "train.crop_px=64",
    "train.workers=0", "data.rendered.share=0",
]  # fmt: skip


SHORT_LANDUSE = [
    "train.steps=2", "train.steps_per_epoch=2", "train.batch=8", "model.image_size=64",
    "train.precision=32-true",
]  # fmt: skip


def _commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|console|sh)\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip().startswith("geotiler ")]


def _prepare_landuse(folder: Path, tiles: Path) -> None:
    """A small EuroSAT with its lists beside it, and weights to start from."""
    from safetensors.torch import save_file

    from geotiler.models.build import build_network

    shutil.make_archive(str(folder / "EuroSAT_RGB"), "zip", tiles)
    for path in tiles.glob("*.txt"):
        shutil.copy(path, folder)
    network = build_network("torchvision", "mobilenet_v2", {})
    save_file(network.state_dict(), folder / "mobilenet_v2.safetensors")


def _prepare(folder: Path, chips: Path) -> None:
    """The files that the README's commands start from."""
    import cv2
    import rasterio

    from geotiler.io.raster import open_scene
    from geotiler.specs import Window

    scenes = {
        "scene": ["footprints.geojson", "houses.gpkg"],
        "a": ["a.geojson"],
        "b": ["b.geojson"],
    }
    for seed, (stem, truths) in enumerate(scenes.items(), start=3):
        for truth in truths:
            spec = RenderSpec(
                output=folder / f"{stem}.tif", truth=folder / truth, height=SIDE, width=SIDE,
                seed=seed, overwrite=True,
            )  # fmt: skip
            render(spec)
    _map_kinds(folder)
    with open_scene(str(folder / "scene.tif")) as scene:
        window = Window(row=0, col=0, height=SIDE, width=SIDE)
        pixels = scene.read(window)
        transform, crs = scene.transform, scene.crs
    cv2.imwrite(str(folder / "photo.jpg"), np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    with rasterio.open(
        folder / "uint16.tif", "w", driver="GTiff", count=4, height=SIDE, width=SIDE,
        dtype="uint16", crs=crs, transform=transform,
    ) as file:  # fmt: skip
        file.write(np.concatenate([pixels, pixels[:1]]).astype(np.uint16) * 12)
    (folder / "folder").symlink_to(chips)
    _land(folder)


def _land(folder: Path) -> None:
    """Images and scenes for a classifier: two tiles, a stack, and a file for each band."""
    import rasterio
    from affine import Affine

    random = np.random.default_rng(8)
    pixels = random.integers(200, 3000, (3, SIDE, SIDE), dtype=np.uint16)
    place = {
        "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint16", "crs": "EPSG:32633",
        "transform": Affine(10, 0, 300_000, 0, -10, 5_400_000),
    }  # fmt: skip
    with rasterio.open(folder / "sentinel2.tif", "w", driver="GTiff", **place) as file:
        file.write(pixels)
    for name, plane in zip(("B04", "B03", "B02"), pixels, strict=True):
        with rasterio.open(
            folder / f"{name}.jp2", "w", driver="JP2OpenJPEG", **{**place, "count": 1}
        ) as file:
            file.write(plane, 1)
    for name in ("tile", "other"):
        with rasterio.open(
            folder / f"{name}.jpg", "w", driver="JPEG", count=3, height=64, width=64, dtype="uint8"
        ) as file:
            file.write(random.integers(0, 256, (3, 64, 64), dtype=np.uint8))


def _map_kinds(folder: Path) -> None:
    """osm.geojson, the houses of a.tif and b.tif with an attribute; mapped.geojson, their area."""
    import json

    features = []
    for stem in ("a", "b"):
        features += json.loads((folder / f"{stem}.geojson").read_text())["features"]
    kinds = itertools.cycle(["house", "shed", "road"])
    for feature, kind in zip(features, kinds, strict=False):
        feature["properties"]["kind"] = kind
    collection = {"type": "FeatureCollection", "features": features}
    (folder / "osm.geojson").write_text(json.dumps(collection))
    points = [
        point for item in features for ring in item["geometry"]["coordinates"] for point in ring
    ]
    west, east = (pick(x for x, _ in points) for pick in (min, max))
    south, north = (pick(y for _, y in points) for pick in (min, max))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    area = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    collection = {"type": "FeatureCollection", "features": [area]}
    (folder / "mapped.geojson").write_text(json.dumps(collection))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, chip_folder: Path, landuse_tiles: Path) -> Path:
    """A folder in which the README is followed from top to bottom."""
    folder = tmp_path_factory.mktemp("readme")
    _prepare(folder, chip_folder)
    _prepare_landuse(folder, landuse_tiles)
    return folder


def _serve_for_a_moment(words: list[str]) -> None:
    """Starts a service as the README does, on a free port, until it says that it runs."""
    code = "from geotiler.cli.main import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if "running on" in line:
                break
        assert "running on" in said, said
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode in (0, -15), said


@pytest.mark.parametrize("command", _commands())
def test_the_readme_is_true(
    command: str,
    desk: Path,
    tiny_landuse: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "mlflow" in command:
        pytest.importorskip("mlflow", reason="an extra of its own")
    monkeypatch.chdir(desk)
    words = shlex.split(command)[1:]
    if ">" in words:  # the shell's part of the line
        words = words[: words.index(">")]
    if words[0] == "train":
        words += SHORT_LANDUSE if words[1] == "landuse" else SHORT_TRAINING
    if words[0] == "data":
        words.append("--subset")
    if words[0] == "tile":
        words += ["--tile", "64", "--overlap", "16"]
    if words[0] == "classify" and not (weights_dir() / "landuse").is_dir():
        words += ["--model", str(tiny_landuse.folder)]
    if words[0] == "demo":
        words += ["--height", str(SIDE), "--width", str(SIDE)]
    if words[0] == "serve":
        _serve_for_a_moment(words)
        return
    # One line of the README may write over what another one wrote.
    for flag in ("-o", "--output", "--truth"):
        if flag in words and words[0] in ("segment", "vectorize", "render", "classify"):
            wanted = Path(words[words.index(flag) + 1])
            if str(wanted) != "-" and wanted.exists():
                words.append("--overwrite")
                break
    assert main(words) == 0, capsys.readouterr().err

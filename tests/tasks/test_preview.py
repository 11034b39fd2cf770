"""A preview is a small picture of the whole scene, whatever the scene is made of."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geotiler.core.overlay import FALSE_ALARM, FOUND, MISSED, NODATA
from geotiler.errors import InputError, OutputError
from geotiler.specs import MASK_NODATA, PreviewSpec
from geotiler.tasks.preview import preview

WEST, NORTH, GSD_M = 500_000.0, 5_000_000.0, 0.5


def _write(path: Path, bands: np.ndarray, **profile: object) -> Path:
    count, height, width = bands.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=bands.dtype,
        crs="EPSG:32633",
        transform=from_origin(WEST, NORTH, GSD_M, GSD_M),
        **profile,
    ) as dataset:
        dataset.write(bands)
    return path


def _truth(path: Path, row: int, col: int, side: int) -> Path:
    """A square of pixels as a polygon, in the coordinates of the scene."""
    left, top = WEST + col * GSD_M, NORTH - row * GSD_M
    right, bottom = left + side * GSD_M, top - side * GSD_M
    ring = [[left, top], [left, bottom], [right, bottom], [right, top], [left, top]]
    collection = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}},
        "features": [
            {
                "type": "Feature",
                "properties": {},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        ],
    }
    path.write_text(json.dumps(collection), encoding="utf-8")
    return path


def _picture(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_it_has_the_width_asked_for_and_the_shape_of_the_scene(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 300, 600), 90, np.uint8))
    report = preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png", width_px=200))
    assert _picture(tmp_path / "p.png").shape == (100, 200, 3)
    assert (report.height, report.width) == (100, 200)
    assert json.loads(json.dumps(report.as_dict()))["output"].endswith("p.png")


def test_hits_misses_and_false_alarms_lie_where_they_are(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 200, 200), 90, np.uint8))
    mask = np.zeros((1, 200, 200), np.uint8)
    mask[0, 50:100, 50:100] = 1
    mask[0, 150:, :] = MASK_NODATA
    found = _write(tmp_path / "mask.tif", mask, nodata=MASK_NODATA)
    truth = _truth(tmp_path / "truth.geojson", 75, 75, 100)
    preview(
        PreviewSpec(scene=str(scene), output=tmp_path / "p.png", mask=str(found), truth=str(truth))
    )
    image = _picture(tmp_path / "p.png")[:200]
    for colour, row, col in [(FOUND, 75, 80), (MISSED, 120, 75), (FALSE_ALARM, 50, 60)]:
        assert tuple(image[row, col]) == colour
    assert tuple(image[170, 120]) == (90, 90, 90), "truth is not scored where the mask is unknown"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_any_scene_can_be_shown(tmp_path: Path, dtype: str, count: int) -> None:
    bands = np.random.default_rng(1).integers(1, 200, (count, 90, 120)).astype(dtype)
    bands[:, :30] = 0
    scene = _write(tmp_path / "scene.tif", bands, nodata=0)
    preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png"))
    image = _picture(tmp_path / "p.png")
    assert (image[:30] == NODATA).all()
    assert not (image[30:] == NODATA).all()


def test_a_detail_stands_beside_the_overview(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 400, 400), 90, np.uint8))
    spec = PreviewSpec(scene=str(scene), output=tmp_path / "p.png", width_px=200, detail_px=50)
    preview(spec)
    image = _picture(tmp_path / "p.png")
    assert image.shape[0] == 200
    assert image.shape[1] > 400


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_scenes_of_one_pixel_or_one_line(tmp_path: Path, shape: tuple[int, int]) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, *shape), 90, np.uint8))
    preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png", width_px=100, detail_px=64))
    assert (tmp_path / "p.png").stat().st_size > 0


def test_a_mask_of_another_scene_is_refused(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 40, 40), 90, np.uint8))
    mask = _write(tmp_path / "mask.tif", np.zeros((1, 40, 41), np.uint8))
    with pytest.raises(InputError, match="grid"):
        preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png", mask=str(mask)))
    assert not (tmp_path / "p.png").exists()


def test_missing_files_and_existing_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        preview(PreviewSpec(scene=str(tmp_path / "nowhere.tif"), output=tmp_path / "p.png"))
    scene = _write(tmp_path / "scene.tif", np.full((3, 40, 40), 90, np.uint8))
    with pytest.raises(InputError, match="nowhere"):
        preview(
            PreviewSpec(
                scene=str(scene), output=tmp_path / "p.png", truth=str(tmp_path / "nowhere.geojson")
            )
        )
    (tmp_path / "p.png").write_bytes(b"mine")
    with pytest.raises(OutputError):
        preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png"))
    assert (tmp_path / "p.png").read_bytes() == b"mine"

"""The index of a data set: outlines where the chips lie, shares of what they hold."""

from __future__ import annotations

from pathlib import Path

import geopandas
import pyproj
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from geotiler.io.chip_folder import ChipRecord
from geotiler.io.chip_index import IndexedScene, index_crs, write_index

UTM33, UTM34 = CRS.from_epsg(32633), CRS.from_epsg(32634)
GRID = Affine(0.5, 0, 400_000, 0, -0.5, 5_500_000)


def scene(name: str, crs: CRS | None, transform: Affine = GRID) -> IndexedScene:
    return IndexedScene(name=name, transform=transform, crs=crs)


def record(number: int, row: int, col: int) -> ChipRecord:
    return ChipRecord(
        name=f"c{row}-{col}", scene=number, row=row, col=col, height=10, width=20, block=(1, 2),
        valid_px=150, labelled_px=100, class_px={1: 25},
    )  # fmt: skip


def written(path: Path, records: list[ChipRecord], scenes: list[IndexedScene]):
    splits = ["train"] * len(records)
    write_index(path / "i.parquet", records, splits, scenes, {1: "house", 4: "road"})
    return geopandas.read_parquet(path / "i.parquet")


def test_outlines_and_shares_of_one_scene(tmp_path: Path) -> None:
    found = written(tmp_path, [record(0, 40, 60)], [scene("a", UTM33)])
    assert found.crs == "EPSG:32633"
    (row,) = found.to_dict("records")
    box = (400_030.0, 5_499_975.0, 400_040.0, 5_499_980.0)
    assert row["geometry"].equals(shapely.box(*box))
    assert (row["left"], row["bottom"], row["right"], row["top"]) == box
    assert (row["valid"], row["labelled"]) == (0.75, 0.5)
    assert (row["fraction_house"], row["fraction_road"]) == (0.25, 0.0)
    assert (row["split"], row["scene"], row["block"]) == ("train", "a", "1-2")


def test_scenes_of_two_systems_meet_in_degrees(tmp_path: Path) -> None:
    scenes = [scene("a", UTM33), scene("b", UTM34)]
    found = written(tmp_path, [record(0, 0, 0), record(1, 0, 0)], scenes)
    assert found.crs == "EPSG:4326"
    for shape, each in zip(found.geometry, scenes, strict=True):
        to_degrees = pyproj.Transformer.from_crs(each.crs.to_wkt(), 4326, always_xy=True)
        expected = to_degrees.transform(400_005, 5_499_997.5)
        assert (shape.centroid.x, shape.centroid.y) == pytest.approx(expected, abs=1e-7)


def test_a_turned_scene_has_turned_outlines(tmp_path: Path) -> None:
    turned = Affine.translation(400_000, 5_500_000) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)
    found = written(tmp_path, [record(0, 40, 60)], [scene("a", UTM33, turned)])
    (shape,) = found.geometry
    assert shape.area == pytest.approx(10 * 20 * 0.25)
    corner = turned @ (60, 40)
    assert shape.distance(shapely.Point(corner)) < 1e-6
    assert shape.bounds[2] - shape.bounds[0] > 10.1


def test_without_a_crs_outlines_are_in_pixels(tmp_path: Path) -> None:
    found = written(tmp_path, [record(0, 40, 60)], [scene("a", None, Affine.identity())])
    assert found.crs is None
    assert index_crs([scene("a", None)]) is None
    assert tuple(found.total_bounds) == (60, 40, 80, 50)

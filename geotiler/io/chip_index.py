"""The index of a data set: one row per chip, as GeoParquet, which QGIS opens as a layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geotiler.io.chip_folder import ChipRecord
from geotiler.io.label_source import window_bounds, window_corners
from geotiler.io.vector import FeatureBatch, Layer, write_features
from geotiler.specs import Window

BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class IndexedScene:
    """What the index needs to know of a scene."""

    name: str
    transform: Affine
    """From pixels of its chips to the CRS."""
    crs: CRS | None


def index_crs(scenes: Sequence[IndexedScene]) -> str | None:
    """The CRS of the geometries: that of the scenes if they share one, else EPSG:4326.

    None where scenes have none; geometries are in pixels then.
    """
    first = scenes[0].crs
    if first is None:
        return None
    if all(scene.crs == first for scene in scenes):
        return str(first.to_wkt())
    return "EPSG:4326"


def write_index(
    path: Path,
    records: Sequence[ChipRecord],
    splits: Sequence[str],
    scenes: Sequence[IndexedScene],
    classes: Mapping[int, str],
) -> None:
    """Write the index.

    Bounds are in the CRS of the scene. Fractions are of the chip's pixels (`valid`, `labelled`)
    and, for a class, of its labelled pixels.

    Args:
        path: .parquet file; replaced if it exists.
        records: the chips.
        splits: name of the split of each chip.
        scenes: by number.
        classes: id → name; each has a column `fraction_<name>`.

    Raises:
        OutputError: it cannot be written.
    """
    crs = index_crs(scenes)
    movers = [_mover(scene, crs) for scene in scenes]
    numbers = dict.fromkeys(("row", "col", "height", "width"), "int")
    measures = dict.fromkeys(("left", "bottom", "right", "top", "valid", "labelled"), "float")
    fractions = {f"fraction_{classes[key]}": "float" for key in sorted(classes)}
    fields = {"name": "text", "scene": "text", "split": "text", "block": "text",
              **numbers, **measures, **fractions}  # fmt: skip

    def batches() -> Iterator[FeatureBatch]:
        for first in range(0, len(records), BATCH):
            part = slice(first, first + BATCH)
            rows = [
                _row(record, split, scenes[record.scene], classes)
                for record, split in zip(records[part], splits[part], strict=True)
            ]
            yield FeatureBatch(
                geometries=np.array(
                    [
                        _outline(record, scenes[record.scene], movers[record.scene])
                        for record in records[part]
                    ]
                ),
                attributes={name: _column(rows, name) for name in fields},
            )

    write_features(str(path), batches(), Layer(fields=fields, crs=crs), overwrite=True)


def _window(record: ChipRecord) -> Window:
    return Window(row=record.row, col=record.col, height=record.height, width=record.width)


def _mover(scene: IndexedScene, crs: str | None) -> pyproj.Transformer | None:
    """From the scene's CRS to the index's; None if they are one."""
    if crs is None or scene.crs is None or scene.crs.to_wkt() == crs:
        return None
    return pyproj.Transformer.from_crs(scene.crs.to_wkt(), crs, always_xy=True)


def _outline(
    record: ChipRecord, scene: IndexedScene, mover: pyproj.Transformer | None
) -> shapely.Polygon:
    corners = window_corners(scene.transform, _window(record))
    if mover is not None:
        corners = np.stack(mover.transform(corners[:, 0], corners[:, 1]), axis=1)
    return shapely.Polygon(corners)


def _row(
    record: ChipRecord, split: str, scene: IndexedScene, classes: Mapping[int, str]
) -> dict[str, Any]:
    left, bottom, right, top = window_bounds(scene.transform, _window(record))
    pixels = record.height * record.width
    labelled = max(1, record.labelled_px)
    values = {
        "name": record.name, "scene": scene.name, "split": split,
        "block": "-".join(str(number) for number in record.block),
        "row": record.row, "col": record.col, "height": record.height, "width": record.width,
        "left": left, "bottom": bottom, "right": right, "top": top,
        "valid": record.valid_px / pixels, "labelled": record.labelled_px / pixels,
    }  # fmt: skip
    for key, name in classes.items():
        values[f"fraction_{name}"] = record.class_px.get(key, 0) / labelled
    return values


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> NDArray[Any]:
    return np.array([row[name] for row in rows])

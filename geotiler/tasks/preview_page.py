"""The content of a preview's page: pictures, polygons and numbers, ready for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geotiler.core.masks import class_counts
from geotiler.core.metrics import ConfusionMatrix
from geotiler.core.overlay import FALSE_ALARM, FOUND, MISSED, displayable
from geotiler.core.palette import Colour
from geotiler.core.sizes import size_histogram
from geotiler.io.labels import Labels, label_rule
from geotiler.io.page import jpeg_data, png_data, save_page
from geotiler.io.preview_layers import MaskLayer, VectorLayer, rings_of
from geotiler.io.raster import Scene, open_scene
from geotiler.io.sides import TRUTH, open_side
from geotiler.specs import MASK_NODATA, PreviewSpec, Window
from geotiler.tasks.preview_view import View, attribution_of

PAGE_WIDTH_PX = 2048
LARGEST_COUNTED_PX = 100_000_000
"""Larger masks are counted and scored on the picture, not pixel by pixel."""

MOST_FEATURES = 20_000
"""Of one layer, the largest ones; more would make the page slow to load."""

_STEPS = 8
"""Polygon coordinates are whole eighths of a picture's pixel."""
_TOLERANCE_PX = 0.25
_HITS, _MISSES, _FALSE = 1, 2, 3


def write_page(spec: PreviewSpec, scene: Scene, view: View) -> list[str]:
    """Write the page of a view of a scene; what was left out or is approximate, in words.

    Raises:
        InputError: a mask cannot be read.
        OutputError: the target cannot be written.
    """
    notes: list[str] = []
    height, width = view.scene.valid.shape
    gsd_m = scene.gsd_m
    picture = displayable(view.scene.bands, view.scene.valid)
    content: dict[str, Any] = {
        "title": Path(spec.scene).name,
        "shape": view.scene.window.shape,
        "scene_shape": scene.shape,
        "picture": {"width": width, "height": height, "data": jpeg_data(picture)},
        "gsd_m": gsd_m,
        "crs": None if scene.crs is None else ":".join(scene.crs.to_authority() or ("own",)),
        "valid_share": float(view.scene.valid.mean()),
        "attribution": attribution_of(spec, scene),
        "masks": [_mask(layer, scene, view.scene.window, notes) for layer in view.masks],
        "vectors": [_vector(layer, notes) for layer in view.vectors],
        "truth": _truth(spec, view, notes),
        "notes": notes,
    }
    if spec.bounds is not None and view.vectors:
        notes.append("polygons at the edge are counted whole")
    save_page(spec.output, content, overwrite=spec.overwrite)
    return notes


def _mask(layer: MaskLayer, scene: Scene, part: Window, notes: list[str]) -> dict[str, Any]:
    pixels, share_of_m2 = _counts(layer, scene, part, notes)
    table = {class_id: shown.colour for class_id, shown in layer.classes.items()}
    classes = [
        {
            "name": shown.name,
            "color": _hex(shown.colour),
            "px": int(pixels[class_id]),
            "area_m2": None if share_of_m2 is None else float(pixels[class_id] * share_of_m2),
        }
        for class_id, shown in layer.classes.items()
    ]
    known = int(pixels[:MASK_NODATA].sum())
    return {
        "name": Path(layer.path).name,
        "data": png_data(layer.ids, table),
        "classes": classes,
        "known_px": known,
        "unknown_px": int(pixels[MASK_NODATA]),
    }


def _counts(
    layer: MaskLayer, scene: Scene, part: Window, notes: list[str]
) -> tuple[Any, float | None]:
    """Pixels of each class id in a part of the scene, and the ground area of one of them in m²."""
    gsd_m = scene.gsd_m
    with open_scene(layer.path) as mask:
        if layer.same_grid and part.height * part.width <= LARGEST_COUNTED_PX:
            labels = Labels(mask, label_rule(mask))
            pixels = np.zeros(256, np.int64)
            for window in _strips(mask, part):
                pixels += class_counts(labels.read(window))
            return pixels, None if gsd_m is None else gsd_m[0] * gsd_m[1]
    notes.append(f"areas of {Path(layer.path).name} are counted on the picture")
    pixels = class_counts(layer.ids)
    if gsd_m is None:
        return pixels, None
    ground = part.height * part.width * gsd_m[0] * gsd_m[1]
    return pixels, ground / layer.ids.size


def _strips(mask: Scene, part: Window) -> Iterator[Window]:
    """A part of a raster, in strips from top to bottom."""
    for strip in mask.strips():
        row, stop = max(strip.row, part.row), min(strip.row_stop, part.row_stop)
        if row < stop:
            yield Window(row=row, col=part.col, height=stop - row, width=part.width)


def _vector(layer: VectorLayer, notes: list[str]) -> dict[str, Any]:
    name = Path(layer.path).name
    count = len(layer.geometries)
    order = np.arange(count)
    if count > MOST_FEATURES:
        order = np.sort(np.argsort(-layer.area, kind="stable")[:MOST_FEATURES])
        notes.append(f"{name}: the {MOST_FEATURES:,} largest of {count:,} polygons are drawn")
    # Turned all the same way: overlaps are filled, and holes are not.
    simple = shapely.orient_polygons(shapely.simplify(layer.geometries[order], _TOLERANCE_PX))
    columns = {
        field: [_plain(value) for value in column[order]]
        for field, column in layer.attributes.items()
    }
    return {
        "name": name,
        "classes": [
            {
                "name": shown.name,
                "color": _hex(shown.colour),
                "count": int(np.count_nonzero(layer.class_of == index)),
                "area": float(layer.area[layer.class_of == index].sum()),
            }
            for index, shown in enumerate(layer.classes)
        ],
        "count": count,
        "area": float(layer.area.sum()),
        "area_unit": layer.area_unit,
        "histogram": [
            {"start": one.start, "stop": one.stop, "count": one.count}
            for one in size_histogram(layer.area)
        ],
        "class_of": layer.class_of[order].tolist(),
        "columns": columns,
        "filled": layer.filled,
        "steps": _STEPS,
        "rings": [[_encoded(ring) for ring in rings_of(geometry)] for geometry in simple],
    }


def _encoded(ring: np.ndarray[Any, Any]) -> list[int]:
    """x, y of the first point and the steps to each next one, in whole eighths of a pixel."""
    points = np.rint(ring * _STEPS).astype(np.int64)
    steps = np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64))
    moved = steps.any(axis=1)
    moved[0] = True
    return [int(value) for value in steps[moved].ravel()]


def _truth(spec: PreviewSpec, view: View, notes: list[str]) -> dict[str, Any] | None:
    if view.truth is None or spec.truth is None:
        return None
    found = view.found()
    if found is None:
        found = np.zeros_like(view.truth)
    compared = np.zeros(view.truth.shape, np.uint8)
    compared[found & view.truth] = _HITS
    compared[view.truth & ~found] = _MISSES
    compared[found & ~view.truth] = _FALSE
    colours = {_HITS: FOUND, _MISSES: MISSED, _FALSE: FALSE_ALARM}
    return {
        "name": Path(spec.truth).name,
        "data": png_data(compared, colours),
        "classes": [
            {"name": name, "color": _hex(colours[key])}
            for key, name in ((_HITS, "found"), (_MISSES, "missed"), (_FALSE, "false alarm"))
        ],
        "scores": _scores(spec, view, notes),
    }


def _scores(spec: PreviewSpec, view: View, notes: list[str]) -> dict[str, float | None] | None:
    """Of anything found against anything true, pixel by pixel; None without a mask to score."""
    if not view.masks or spec.truth is None or not view.masks[0].same_grid:
        return None
    with open_scene(view.masks[0].path) as mask:
        part = view.scene.window
        if part.height * part.width > LARGEST_COUNTED_PX:
            notes.append("the scene is too large to be scored here: geotiler evaluate does it")
            return None
        labels, matrix = Labels(mask, label_rule(mask)), ConfusionMatrix()
        with open_side(spec.truth, mask, mask.class_names, flag=TRUTH) as truth:
            for window in _strips(mask, part):
                matrix.add(_anything(truth.read(window)), _anything(labels.read(window)))
    score = matrix.score(1)
    return {
        "IoU": score.iou,
        "F1": score.f1,
        "precision": score.precision,
        "recall": score.recall,
    }


def _anything(ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """1 where any class is, 0 where none, 255 where unknown."""
    return np.where(ids == MASK_NODATA, ids, (ids > 0).astype(np.uint8))


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{value:02x}" for value in colour)


def _plain(value: Any) -> Any:
    """A value that JSON has; what it has not is its text, and NaN is nothing."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)

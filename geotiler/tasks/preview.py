"""A scene and what was found in it, as a picture or as a page, to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geotiler.core.caption import ScaleBar, captioned, scale_bar
from geotiler.core.overlay import (
    FALSE_ALARM,
    FOUND,
    GAP_PX,
    MISSED,
    Image,
    beside,
    brightness,
    busiest,
    compared,
    displayable,
    framed,
    outlined,
    painted,
)
from geotiler.core.palette import Colour
from geotiler.io.bounds import area_of_bounds
from geotiler.io.outputs import check_output
from geotiler.io.preview import drawn_areas, write_png
from geotiler.io.preview_layers import ShownClass, rings_of
from geotiler.io.raster import Scene, open_scene
from geotiler.progress import Notice, Reporter, StageFinished, StageStarted, silent
from geotiler.reports import Report
from geotiler.specs import PreviewSpec, Window
from geotiler.tasks.preview_page import PAGE_WIDTH_PX, write_page
from geotiler.tasks.preview_view import View, attribution_of, read_view

PICTURE_WIDTH_PX = 1600
_MOST_PX = 8192
"""Longer side of an enlarged picture at most."""


@dataclass(frozen=True, kw_only=True)
class PreviewReport(Report):
    """What was drawn."""

    output: Path
    height: int
    """Rows of the picture, legend included."""
    width: int
    file_bytes: int


def preview(spec: PreviewSpec, *, report: Reporter = silent) -> PreviewReport:
    """Draw a scene with masks, polygons and truth over it, as a picture or as a page.

    Raises:
        InputError: a file cannot be read, or a layer does not lie on the scene.
        OutputError: the target exists or cannot be written.
    """
    check_output(spec.output, spec.overwrite)
    is_page = spec.output.suffix.lower() == ".html"
    report(StageStarted(stage="preview", total=1, unit="page" if is_page else "picture"))
    with open_scene(spec.scene) as scene:
        width = spec.width_px or (PAGE_WIDTH_PX if is_page else PICTURE_WIDTH_PX)
        window = Window(row=0, col=0, height=scene.height, width=scene.width)
        if spec.bounds is not None:
            window = area_of_bounds(spec.bounds, scene, spec.bounds_crs).window(scene.shape)
        shape = _fitted(window, width, enlarged=spec.bounds is not None and not is_page)
        if spec.width_px is not None and spec.width_px > shape[1]:
            message = (
                f"--width {spec.width_px} is more than the {window.width} columns of "
                f"{scene.path}: it is drawn {shape[1]} px wide"
            )
            report(Notice(message=message, warning=True))
        view = read_view(spec, scene, window, shape)
        if is_page:
            for text in write_page(spec, scene, view):
                report(Notice(message=text))
            height, width = view.scene.valid.shape
        else:
            image = _picture(spec, scene, view)
            write_png(spec.output, image, overwrite=spec.overwrite)
            height, width = image.shape[:2]
    report(StageFinished(stage="preview"))
    return PreviewReport(
        output=spec.output,
        height=height,
        width=width,
        file_bytes=spec.output.stat().st_size,
    )


def _fitted(window: Window, width_px: int, *, enlarged: bool) -> tuple[int, int]:
    """(height, width) of a picture, no wider than asked for.

    Args:
        window: what it shows.
        width_px: asked for.
        enlarged: what is smaller is drawn with several pixels for one, as many as fit.
    """
    height, width = window.shape
    if enlarged and max(height, width) <= width_px:
        times = max(1, min(width_px, _MOST_PX) // max(height, width))
        return height * times, width * times
    columns = min(width, width_px)
    return max(1, round(height * columns / width)), columns


def _picture(spec: PreviewSpec, scene: Scene, view: View) -> Image:
    image, window = _drawn(view), view.scene.window
    columns = image.shape[1]
    bars = [(_bar(scene, window, columns), columns)]
    if spec.detail_px:
        detail = _detail(view.area(), spec.detail_px, window)
        close = _drawn(read_view(spec, scene, detail, detail.shape), view)
        step = columns / window.width
        row, col = (detail.row - window.row) * step, (detail.col - window.col) * step
        image = framed(image, row, col, detail.height * step, detail.width * step)
        image = beside(image, close)
        bars.append((_bar(scene, detail, image.shape[1] - columns - GAP_PX), image.shape[1]))
    if columns < 32:  # nothing could be read below it
        return image
    return captioned(image, _legend(view), bars, attribution_of(spec, scene))


def _drawn(view: View, whole: View | None = None) -> Image:
    """The picture of a view; of one that is a part of another one, as bright as that."""
    lit = (whole or view).scene
    image = displayable(view.scene.bands, view.scene.valid, brightness(lit.bands, lit.valid))
    line = 2 if image.shape[1] > view.scene.window.width else 1
    if view.truth is not None:
        image = compared(image, view.found(), view.truth)
    else:
        for mask in view.masks:
            for class_id, shown in mask.classes.items():
                image = painted(image, mask.ids == class_id, shown.colour, line)
    for layer in view.vectors:
        for index, shown in enumerate(layer.classes):
            chosen = layer.geometries[layer.class_of == index]
            if layer.filled and view.truth is None:
                image = painted(image, drawn_areas(chosen, image.shape[:2]), shown.colour, line)
                continue
            rings = [ring for geometry in chosen for ring in rings_of(geometry)]
            image = outlined(image, rings, shown.colour, line)
    return image


def _detail(area: NDArray[np.bool_], side_px: int, window: Window) -> Window:
    """The square of what is shown with the most to look at, found on the overview."""
    height, width = window.shape
    side = min(side_px, height, width)
    row, col = busiest(area, max(1, round(side * area.shape[1] / width)))
    return Window(
        row=window.row + min(round(row * height / area.shape[0]), height - side),
        col=window.col + min(round(col * width / area.shape[1]), width - side),
        height=side,
        width=side,
    )


def _legend(view: View) -> list[tuple[Colour, str]]:
    entries: list[tuple[Colour, str]] = []
    if view.truth is not None and (view.masks or view.vectors):
        entries += [(FOUND, "found"), (MISSED, "missed"), (FALSE_ALARM, "false alarm")]
    elif view.truth is not None:
        entries.append((FOUND, "truth"))
    if view.truth is None:
        for mask in view.masks:
            entries += _entries(mask.classes, np.unique(mask.ids).tolist())
    for layer in view.vectors:
        entries += _entries(dict(enumerate(layer.classes)), np.unique(layer.class_of).tolist())
    return list(dict.fromkeys(entries))


def _entries(classes: Mapping[int, ShownClass], seen: list[int]) -> list[tuple[Colour, str]]:
    """Of the classes that are seen; of all where none is, which is an answer too."""
    there = [classes[key] for key in classes if key in seen]
    return [(each.colour, each.name) for each in there or classes.values()]


def _bar(scene: Scene, window: Window, columns: int) -> ScaleBar:
    """How long is what in a picture of a window."""
    gsd_m = scene.gsd_m
    if gsd_m is None:
        return scale_bar(window.width / columns, columns, "px")
    return scale_bar(gsd_m[0] * window.width / columns, columns)

"""A scene and what was found in it, as a picture or as a page, to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geotiler.core.caption import ScaleBar, captioned, scale_bar
from geotiler.core.overlay import (
    FALSE_ALARM,
    FOUND,
    MISSED,
    Image,
    beside,
    busiest,
    compared,
    displayable,
    outlined,
    painted,
)
from geotiler.core.palette import Colour
from geotiler.io.outputs import check_output
from geotiler.io.preview import write_png
from geotiler.io.preview_layers import rings_of
from geotiler.io.raster import Scene, open_scene
from geotiler.progress import Notice, Reporter, StageFinished, StageStarted, silent
from geotiler.reports import Report
from geotiler.specs import PreviewSpec, Window
from geotiler.tasks.preview_page import PAGE_WIDTH_PX, write_page
from geotiler.tasks.preview_view import View, attribution_of, read_view

PICTURE_WIDTH_PX = 1600


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
        whole = Window(row=0, col=0, height=scene.height, width=scene.width)
        if spec.width_px is not None and spec.width_px > scene.width:
            message = (
                f"--width {spec.width_px} is more than the {scene.width} columns of {scene.path}: "
                f"it is drawn {scene.width} px wide"
            )
            report(Notice(message=message, warning=True))
        view = read_view(spec, scene, whole, _fitted(scene.shape, width))
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


def _fitted(shape: tuple[int, int], width_px: int) -> tuple[int, int]:
    """(height, width) of a picture of the scene, no wider than asked for or than the scene."""
    height, width = shape
    columns = min(width, width_px)
    return max(1, round(height * columns / width)), columns


def _picture(spec: PreviewSpec, scene: Scene, view: View) -> Image:
    image = _drawn(view)
    columns = image.shape[1]
    if spec.detail_px:
        detail = _detail(view.area(), spec.detail_px, scene.shape)
        image = beside(image, _drawn(read_view(spec, scene, detail, detail.shape)))
    if scene.width < 32 or columns < 32:  # nothing could be read below it
        return image
    bar = _bar(scene, columns)  # of the overview, which a detail does not share
    return captioned(image, _legend(view), bar, attribution_of(spec, scene), bar_end_px=columns)


def _drawn(view: View) -> Image:
    image = displayable(view.scene.bands, view.scene.valid)
    if view.truth is not None:
        image = compared(image, view.found(), view.truth)
    else:
        for mask in view.masks:
            for class_id, shown in mask.classes.items():
                image = painted(image, mask.ids == class_id, shown.colour)
    for layer in view.vectors:
        for index, shown in enumerate(layer.classes):
            chosen = layer.geometries[layer.class_of == index]
            rings = [ring for geometry in chosen for ring in rings_of(geometry)]
            image = outlined(image, rings, shown.colour)
    return image


def _detail(area: NDArray[np.bool_], side_px: int, shape: tuple[int, int]) -> Window:
    """The square of the scene with the most to look at, found on the overview."""
    height, width = shape
    side = min(side_px, height, width)
    row, col = busiest(area, max(1, round(side * area.shape[1] / width)))
    return Window(
        row=min(round(row * height / area.shape[0]), height - side),
        col=min(round(col * width / area.shape[1]), width - side),
        height=side,
        width=side,
    )


def _legend(view: View) -> list[tuple[Colour, str]]:
    entries: list[tuple[Colour, str]] = []
    if view.truth is not None and (view.masks or view.vectors):
        entries += [(FOUND, "found"), (MISSED, "missed"), (FALSE_ALARM, "false alarm")]
    elif view.truth is not None:
        entries.append((FOUND, "truth"))
    layers = [*(() if view.truth is not None else view.masks), *view.vectors]
    for layer in layers:
        classes = layer.classes
        shown = classes.values() if isinstance(classes, dict) else classes
        entries += [(each.colour, each.name) for each in shown]
    return list(dict.fromkeys(entries))


def _bar(scene: Scene, columns: int) -> ScaleBar:
    gsd_m = scene.gsd_m
    if gsd_m is None:
        return scale_bar(scene.width / columns, columns, "px")
    return scale_bar(gsd_m[0] * scene.width / columns, columns)

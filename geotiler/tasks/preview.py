"""A scene and what was found in it, as a small picture to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geotiler.core.overlay import (
    FALSE_ALARM,
    FOUND,
    MISSED,
    Colour,
    beside,
    busiest,
    compared,
    displayable,
    with_legend,
)
from geotiler.errors import InputError
from geotiler.io.outputs import check_output
from geotiler.io.preview import Reduced, burned, raster_shape, read_reduced, write_png
from geotiler.progress import Reporter, StageFinished, StageStarted, silent
from geotiler.reports import Report
from geotiler.specs import MASK_NODATA, PreviewSpec, Window


@dataclass(frozen=True, kw_only=True)
class PreviewReport(Report):
    """What was drawn."""

    output: Path
    height: int
    """Rows of the picture, legend included."""
    width: int


def preview(spec: PreviewSpec, *, report: Reporter = silent) -> PreviewReport:
    """Draw the overview of a scene, with mask and truth where they are given.

    Raises:
        InputError: a file cannot be read, or the mask is not on the scene's grid.
        OutputError: the target exists or cannot be written.
    """
    check_output(spec.output, spec.overwrite)
    height, width = raster_shape(spec.scene)
    if spec.mask is not None and raster_shape(spec.mask) != (height, width):
        raise InputError(
            f"{spec.mask} is not on the grid of {spec.scene}: "
            f"{raster_shape(spec.mask)} against {(height, width)} pixels (height, width)",
        )
    report(StageStarted(stage="preview", total=1, unit="picture"))
    columns = min(width, spec.width_px)
    overview = _layers(
        spec,
        Window(row=0, col=0, height=height, width=width),
        (max(1, round(height * columns / width)), columns),
    )
    image = overview.drawn()
    if spec.detail_px:
        detail = _detail(overview.area(), spec.detail_px, height, width)
        image = beside(image, _layers(spec, detail, detail.shape).drawn())
    image = with_legend(image, _legend(spec))
    write_png(spec.output, image, overwrite=spec.overwrite)
    report(StageFinished(stage="preview"))
    return PreviewReport(output=spec.output, height=image.shape[0], width=image.shape[1])


@dataclass(frozen=True, kw_only=True)
class _Layers:
    """A part of the scene with what is drawn over it, all at the size of the picture."""

    scene: Reduced
    found: NDArray[np.bool_] | None
    truth: NDArray[np.bool_] | None

    def area(self) -> NDArray[np.bool_]:
        """Where there is something to look at."""
        nothing = np.zeros_like(self.scene.valid)
        return (nothing if self.found is None else self.found) | (
            nothing if self.truth is None else self.truth
        )

    def drawn(self) -> NDArray[np.uint8]:
        return compared(displayable(self.scene.bands, self.scene.valid), self.found, self.truth)


def _layers(spec: PreviewSpec, window: Window, shape: tuple[int, int]) -> _Layers:
    scene = read_reduced(spec.scene, shape, window=window)
    found: NDArray[np.bool_] | None = None
    known = scene.valid
    if spec.mask is not None:
        mask = read_reduced(spec.mask, shape, window=window, categories=True).bands[0]
        known = known & (mask != MASK_NODATA)
        found = (mask != 0) & known
    # Truth where the mask does not know is neither a hit nor a miss.
    truth = None
    if spec.truth is not None:
        truth = burned(spec.truth, spec.scene, window, shape) & known
    return _Layers(scene=scene, found=found, truth=truth)


def _detail(area: NDArray[np.bool_], side_px: int, height: int, width: int) -> Window:
    """The square of the scene with the most to look at, found on the overview."""
    side = min(side_px, height, width)
    row, col = busiest(area, max(1, round(side * area.shape[1] / width)))
    return Window(
        row=min(round(row * height / area.shape[0]), height - side),
        col=min(round(col * width / area.shape[1]), width - side),
        height=side,
        width=side,
    )


def _legend(spec: PreviewSpec) -> list[tuple[Colour, str]]:
    if spec.mask is not None and spec.truth is not None:
        return [(FOUND, "found"), (MISSED, "missed"), (FALSE_ALARM, "false alarm")]
    if spec.mask is not None:
        return [(FOUND, "found")]
    return [(FOUND, "truth")] if spec.truth is not None else []

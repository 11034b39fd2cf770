"""A mask to polygons: outlines, simplified, measured and written, a strip at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from geotiler.core.measure import Ground
from geotiler.core.polygons import Outlines, PolygonStream
from geotiler.core.simplify import simplify
from geotiler.errors import InputError
from geotiler.io.labels import Labels, chosen_classes, class_name, label_rule
from geotiler.io.raster import Scene, open_scene
from geotiler.io.styles import styled_classes
from geotiler.io.vector import FeatureBatch, Layer, check_target, write_features
from geotiler.progress import (
    Notice,
    Reporter,
    StageAdvanced,
    StageFinished,
    StageStarted,
    silent,
)
from geotiler.reports import Report
from geotiler.specs import MASK_NODATA, VectorizeSpec

STAGE = "vectorize"
SIMPLIFY_PX = 1.0
"""Default tolerance. The pixel staircase of a straight edge is a band of 0.71 to 1.41 pixels,
by its direction, so that this takes most of it away and leaves what is larger than a pixel."""


@dataclass(frozen=True, kw_only=True)
class VectorizeReport(Report):
    """What was written."""

    output: str
    polygons: int
    per_class: dict[str, int]
    """Polygons of each class that occurs."""
    dropped: int
    """Polygons below the minimum area."""
    filled_holes: int
    """Holes below the minimum, in polygons that were kept."""
    area: float
    """Of all polygons, in `area_unit`."""
    area_unit: str
    """m2, or px where the mask has no CRS."""
    pixels: int
    seconds: float


def vectorize(
    spec: VectorizeSpec, *, report: Reporter = silent, stream: TextIO | None = None
) -> VectorizeReport:
    """Write the polygons of a mask's classes.

    Features come in the order of their last row, numbered from 1. A polygon is dropped when
    either its pixels or its simplified outline cover less than the minimum area.

    Args:
        stream: where GeoJSON goes when the output is "-".

    Raises:
        InputError: the mask cannot be read, is no mask, or lacks a class that was asked for.
        OutputError: the target exists, has an unknown suffix, or cannot be written.
    """
    started = time.perf_counter()
    check_target(spec.output, spec.overwrite)
    with open_scene(spec.mask) as scene:
        rule = label_rule(scene)
        if rule.note:
            report(Notice(message=rule.note, warning=True))
        labels = Labels(scene, rule)
        run = _Run(spec, scene, labels, report)
        fields = {"id": "int", "class": "text", run.area_name: "float", run.length_name: "float"}
        layer = Layer(
            fields=fields,
            crs=run.ground.crs,
            several_parts=spec.eight_connected,
            styled=styled_classes(scene.class_names, scene.class_colours),
        )
        write_features(spec.output, run.batches(), layer, overwrite=spec.overwrite, stream=stream)
        return run.result(time.perf_counter() - started)


class _Run:
    """One pass over a mask, and what it counted."""

    def __init__(self, spec: VectorizeSpec, scene: Scene, labels: Labels, report: Reporter) -> None:
        self._spec = spec
        self._scene = scene
        self._labels = labels
        self._report = report
        self._names = scene.class_names
        self._kept = _kept_classes(spec, scene, labels)
        crs = None if scene.crs is None else scene.crs.to_wkt()
        self.ground = Ground(tuple(scene.transform), crs)
        metric = self.ground.in_metres
        self.area_name = "area_m2" if metric else "area_px"
        self.length_name = "perimeter_m" if metric else "perimeter_px"
        self._counts = np.zeros(MASK_NODATA + 1, np.int64)
        self._dropped = 0
        self._filled = 0
        self._area = 0.0
        if not metric:
            message = (
                f"{scene.path} has no CRS: coordinates, areas and lengths are in pixels "
                "(x to the right, y down)"
            )
            report(Notice(message=message, warning=True))

    def batches(self) -> Iterator[FeatureBatch]:
        """Features as they become complete."""
        scene = self._scene
        stream = PolygonStream(scene.width, eight_connected=self._spec.eight_connected)
        self._report(StageStarted(stage=STAGE, total=scene.height * scene.width, unit="px"))
        for window in scene.strips():
            classes = self._kept[self._labels.read(window)]
            for outlines in stream.add_strip(classes):
                yield from self._finished(outlines)
            amount = window.height * window.width
            self._report(StageAdvanced(stage=STAGE, amount=amount))
        for outlines in stream.finish():
            yield from self._finished(outlines)
        self._report(StageFinished(stage=STAGE))

    def _finished(self, outlines: Outlines) -> Iterator[FeatureBatch]:
        """The features of some outlines that are large enough, none or one batch."""
        if not len(outlines):
            return
        spec, ground = self._spec, self.ground
        bounds = outlines.bounds_px()
        size, pixel_area = ground.pixel_size_m((bounds[:, :2] + bounds[:, 2:]) / 2)
        if not np.isfinite(pixel_area).all():
            raise InputError(
                f"{self._scene.path} reaches beyond where its CRS has a place on the earth",
                hint="its transform or its CRS is wrong",
            )
        holes = outlines.ring_area_px < 0
        ring_area = outlines.ring_area_px * pixel_area[outlines.ring_feature]
        small_hole = holes & (ring_area > -spec.min_hole_m2)
        filled_in = np.bincount(outlines.ring_feature[small_hole], minlength=len(outlines))
        outlines = outlines.without_rings(small_hole)

        keep = outlines.area_px() * pixel_area >= spec.min_area_m2
        outlines = outlines.select(keep)
        size, pixel_area, filled_in = size[keep], pixel_area[keep], filled_in[keep]
        tolerance = SIMPLIFY_PX * np.sqrt(pixel_area)
        if spec.simplify_m is not None:
            tolerance = np.full(len(outlines), spec.simplify_m)
        polygons = simplify(outlines.polygons(), size, tolerance)
        area, length = ground.measure(polygons)
        large = area >= spec.min_area_m2
        self._dropped += int((~keep).sum() + (~large).sum())
        self._filled += int(filled_in[large].sum())
        if large.any():
            yield self._batch(polygons[large], outlines.class_id[large], area[large], length[large])

    def _batch(
        self,
        polygons: npt.NDArray[np.object_],
        class_id: npt.NDArray[np.uint8],
        area: npt.NDArray[np.float64],
        length: npt.NDArray[np.float64],
    ) -> FeatureBatch:
        first = int(self._counts.sum()) + 1
        self._counts += np.bincount(class_id, minlength=len(self._counts))
        self._area += float(area.sum())
        names = np.array([class_name(self._names, i) for i in range(MASK_NODATA + 1)], object)
        attributes: dict[str, npt.NDArray[Any]] = {
            "id": np.arange(first, first + len(polygons)),
            "class": names[class_id],
            self.area_name: area.round(2),
            self.length_name: length.round(2),
        }
        placed = self.ground.geometries_to_crs(polygons)
        return FeatureBatch(geometries=placed, attributes=attributes)

    def result(self, seconds: float) -> VectorizeReport:
        """What was counted so far."""
        per_class = {
            class_name(self._names, int(i)): int(self._counts[i])
            for i in np.flatnonzero(self._counts)
        }
        return VectorizeReport(
            output=self._spec.output,
            polygons=int(self._counts.sum()),
            per_class=per_class,
            dropped=self._dropped,
            filled_holes=self._filled,
            area=round(self._area, 2),
            area_unit="m2" if self.ground.in_metres else "px",
            pixels=self._scene.height * self._scene.width,
            seconds=round(seconds, 3),
        )


def _kept_classes(spec: VectorizeSpec, scene: Scene, labels: Labels) -> npt.NDArray[np.uint8]:
    """(256): class id → the same id if it is to be polygonized, else 0."""
    table = np.arange(MASK_NODATA + 1, dtype=np.uint8)
    table[MASK_NODATA] = 0
    if spec.classes is not None:
        names = {key: name for key, name in scene.class_names.items() if 0 < key < MASK_NODATA}
        # Only a mask that does not name its classes has to be searched for them.
        present = set() if names else labels.present()
        chosen = chosen_classes(spec.classes, names, present, spec.mask)
        table[~np.isin(table, list(chosen))] = 0
    return table

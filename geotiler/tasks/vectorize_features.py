"""What polygons are when they are written: measured, numbered, counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geotiler.core.measure import Ground
from geotiler.core.neighbours import Drawn
from geotiler.core.qgis_style import StyledClass
from geotiler.core.regularize import Status
from geotiler.io.labels import class_name
from geotiler.io.raster import Scene
from geotiler.io.styles import styled_classes
from geotiler.io.vector import FeatureBatch, Layer, digits_for
from geotiler.reports import Report
from geotiler.specs import MASK_NODATA, VectorizeSpec
from geotiler.tasks.vectorize_draw import directions
from geotiler.tasks.vectorize_separate import SEPARATED, Patch


@dataclass(frozen=True, kw_only=True)
class VectorizeReport(Report):
    """What was written."""

    output: str
    polygons: int
    per_class: dict[str, int]
    """Polygons of each class that occurs."""
    per_status: dict[str, int]
    """Polygons drawn in each way."""
    dropped: int
    """Polygons below the minimum area."""
    sieved: int | None
    """Patches below --sieve, specks and gaps, that went to what is around them; None where nothing
    was sieved, or where a run went on from one that had sieved a part."""
    separated: int | None
    """Polygons that are parts of a patch, by --separate; None where it was not asked for."""
    filled_holes: int
    """Holes below the minimum, in polygons that were kept."""
    area: float
    """Of all polygons, in `area_unit`."""
    area_unit: str
    """m2, or px where the mask has no CRS and no ground sample distance."""
    pixels: int
    seconds: float


class MeasuredFeatures:
    """Polygons on the ground, ready to be written, and what was counted of them."""

    def __init__(
        self, spec: VectorizeSpec, scene: Scene, ground: Ground, *, has_means: bool, first_id: int
    ) -> None:
        """Args:
        spec: what was asked for.
        scene: the raster that the polygons are on.
        ground: measures them.
        has_means: each has a mean probability.
        first_id: number of the first one.
        """
        self._spec = spec
        self._scene = scene
        self._names = scene.class_names
        self._ground = ground
        self._has_means = has_means
        self._first_id = first_id
        metric = ground.in_metres
        self._area_name = "area_m2" if metric else "area_px"
        self._length_name = "perimeter_m" if metric else "perimeter_px"
        self._counts = np.zeros(MASK_NODATA + 1, np.int64)
        self._status = np.zeros(len(Status), np.int64)
        self.too_small = 0
        """Polygons that were so once drawn."""
        self.too_large = 0
        """Patches that were too large to be parted."""
        self.too_large_area = 0.0
        self._separated = 0
        self._filled = 0
        self.area = 0.0
        """Of all polygons, in the unit of the report."""

    def layer(self) -> Layer:
        """What all features have in common."""
        fields = {
            "id": "int", "class": "text", self._area_name: "float", self._length_name: "float",
            "orientation_deg": "float", "n_vertices": "int",
        }  # fmt: skip
        if self._has_means:
            fields["mean_probability"] = "float"
        fields["status"] = "text"
        scene, degrees = self._scene, 7
        if scene.gsd_m is not None and min(scene.gsd_m) < 0.1:
            degrees = 8
        return Layer(
            fields=fields,
            crs=self._ground.crs,
            several_parts=self._spec.eight_connected,
            name=self._spec.layer,
            digits=digits_for(self._ground.pixel),
            degree_digits=degrees,
            styled=self._styled,
        )

    def _styled(self) -> tuple[StyledClass, ...]:
        """How the classes are shown: those that the mask names, and those that occur."""
        present = np.flatnonzero(self._counts).tolist()
        return styled_classes(self._scene.class_names, self._scene.class_colours, present)

    def batch(self, features: Drawn) -> Iterator[FeatureBatch]:
        """The features that are still large enough, counted and ready to be written; none or one
        batch.
        """
        area, length = self._ground.measure(features.drawn)
        large = area >= self._spec.min_area_m2
        self.too_small += int((~large).sum())
        if not large.any():
            return
        features, area, length = features.take(large), area[large], length[large]
        class_id = features.columns["class_id"]
        first = int(self._counts.sum()) + self._first_id
        self._counts += np.bincount(class_id, minlength=len(self._counts))
        self._status += np.bincount(features.status, minlength=len(self._status))
        if SEPARATED in features.columns:
            self._separated += int((features.columns[SEPARATED] == Patch.PART).sum())
            is_large = features.columns[SEPARATED] == Patch.TOO_LARGE
            self.too_large += int(is_large.sum())
            self.too_large_area += float(area[is_large].sum())
        self._filled += int(features.columns["filled"].sum())
        self.area += float(area.sum())
        names = np.array([class_name(self._names, i) for i in range(MASK_NODATA + 1)], object)
        labels = np.array([status.label for status in Status], object)
        rings = shapely.get_num_interior_rings(shapely.get_parts(features.drawn))
        parts = np.bincount(
            shapely.get_parts(features.drawn, return_index=True)[1], rings + 1, len(features)
        )
        attributes: dict[str, npt.NDArray[Any]] = {
            "id": np.arange(first, first + len(features)),
            "class": names[class_id],
            self._area_name: area.round(2),
            self._length_name: length.round(2),
            "orientation_deg": np.remainder(directions(features, self._ground).round(1), 180.0),
            # A ring repeats its first vertex at the end; that one is not counted.
            "n_vertices": shapely.get_num_coordinates(features.drawn) - parts.astype(np.int64),
        }
        if "mean_probability" in features.columns:
            attributes["mean_probability"] = features.columns["mean_probability"].round(4)
        attributes["status"] = labels[features.status]
        placed = self._ground.geometries_to_crs(features.drawn)
        yield FeatureBatch(geometries=placed, attributes=attributes)

    def result(self, not_drawn: int, sieved: int | None, seconds: float) -> VectorizeReport:
        """What was counted so far.

        Args:
            not_drawn: polygons that were too small to be drawn.
            sieved: see `VectorizeReport.sieved`.
            seconds: that it took.
        """
        per_class = {
            class_name(self._names, int(i)): int(self._counts[i])
            for i in np.flatnonzero(self._counts)
        }
        per_status = {
            Status(i).label: int(self._status[i]) for i in np.flatnonzero(self._status).tolist()
        }
        return VectorizeReport(
            output=self._spec.output,
            polygons=int(self._counts.sum()),
            per_class=per_class,
            per_status=per_status,
            dropped=self.too_small + not_drawn,
            sieved=sieved,
            separated=self._separated if self._spec.separate else None,
            filled_holes=self._filled,
            area=round(self.area, 2),
            area_unit="m2" if self._ground.in_metres else "px",
            pixels=self._scene.height * self._scene.width,
            seconds=round(seconds, 3),
        )

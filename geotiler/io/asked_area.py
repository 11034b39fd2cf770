"""The part of a scene that `--aoi` or `--bounds` ask for."""

from __future__ import annotations

from typing import Protocol

from geotiler.io.area import Area, area_of_file
from geotiler.io.bounds import area_of_bounds
from geotiler.io.raster import Scene


class AsksForArea(Protocol):
    """A specification of a run that may be kept to a part of its scene."""

    @property
    def aoi(self) -> str | None:
        """Vector file of polygons."""

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """(left, bottom, right, top)."""

    @property
    def bounds_crs(self) -> str | None:
        """Of the bounds; None: the scene's."""


def asked_area(spec: AsksForArea, scene: Scene) -> Area | None:
    """What is asked for, in the pixels of a scene; None: all of it.

    Raises:
        InputError: it cannot be read, or does not touch the scene.
        SpecError: no such CRS, or bounds whose ends are reversed.
    """
    if spec.aoi is not None:
        return area_of_file(spec.aoi, scene)
    if spec.bounds is not None:
        return area_of_bounds(spec.bounds, scene, spec.bounds_crs)
    return None

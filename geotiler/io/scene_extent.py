"""Where a scene lies, and what its coordinates are."""

from __future__ import annotations

import numpy as np
import pyproj
from affine import Affine
from rasterio.crs import CRS

from geotiler.io.raster import Scene

_PIXELS = "bounds of a scene without a CRS are columns and rows of pixels, from the top left"
_UNNAMED = "bounds of a scene whose CRS nobody told are in the coordinates of its transform"


def crs_name(crs: CRS | None) -> str | None:
    """Authority and code of a CRS, else its projection; None: there is none."""
    if crs is None:
        return None
    authority = crs.to_authority()
    if authority:
        return ":".join(authority)
    return str(crs.to_dict().get("proj", "a CRS of its own"))


def extent(scene: Scene) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of a scene in its CRS, of a turned one of all corners."""
    corners = np.array([(0, 0), (scene.width, 0), (scene.width, scene.height), (0, scene.height)])
    x, y = scene.transform * corners.T
    return float(np.min(x)), float(np.min(y)), float(np.max(x)), float(np.max(y))


def extent_lonlat(scene: Scene) -> tuple[float, float, float, float] | None:
    """(west, south, east, north) in degrees; None without a CRS, or where it has no such place.

    West of a scene that crosses the antimeridian is larger than east.
    """
    if scene.crs is None:
        return None
    try:
        way = pyproj.Transformer.from_crs(crs_of(scene), 4326, always_xy=True)
    except pyproj.exceptions.ProjError:  # coordinates of a building site, of no known place
        return None
    west, south, east, north = way.transform_bounds(*extent(scene))
    found = float(west), float(south), float(east), float(north)
    return found if np.isfinite(found).all() else None


def crs_of(scene: Scene) -> pyproj.CRS:
    """The CRS of a scene that has one, as pyproj knows it."""
    return pyproj.CRS.from_wkt(scene.crs.to_wkt())


def crs_told(crs: pyproj.CRS) -> str:
    """A CRS in few words."""
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.name)


def told_numbers(bounds: tuple[float, float, float, float]) -> str:
    """As `--bounds` takes them, without digits that nobody gave."""
    return ",".join(f"{value:.10g}" for value in bounds)


def coordinates_told(scene: Scene) -> str:
    """What the coordinates of a scene are, in words."""
    if scene.crs is not None:
        return str(crs_name(scene.crs))
    return "pixels" if _is_plain(scene) else "coordinates of no known CRS"


def without_crs(scene: Scene) -> str:
    """What bounds of a scene without a CRS are in."""
    return _PIXELS if _is_plain(scene) else _UNNAMED


def _is_plain(scene: Scene) -> bool:
    return bool(scene.transform.almost_equals(Affine.identity()))

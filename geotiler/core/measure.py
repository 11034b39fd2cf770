"""Lengths and areas on the ground, whatever the CRS: metres, square metres, and pixels without one.

Areas are taken in an equal-area space of the CRS's own ellipsoid, lengths along it, so that
they are right in Web Mercator, in degrees, in feet and under a rotated transform.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

LONG_EDGE_M = 500.0
"""Edges longer than this, or than this over the tangent of the latitude, are left to the geodesic
solver, one polygon at a time: up to there a geodesic and a straight line in the equal-area space
enclose areas that agree to 1e-5."""

NEAR_POLE_RAD = math.radians(88.0)
"""Beyond this latitude too."""

Floats = npt.NDArray[np.float64]
Geometries = npt.NDArray[np.object_]


class Ground:
    """Where the pixels of a raster lie on the ground.

    Points are (x, y) in pixels: x to the right, y down, (0, 0) the outer corner of the first
    pixel.
    """

    def __init__(
        self,
        transform: Sequence[float],
        crs: object | None,
        gsd_m: tuple[float, float] | None = None,
    ) -> None:
        """Prepare the way from pixels to the ellipsoid.

        Args:
            transform: a, b, c, d, e, f of an affine transform, pixel to CRS; without a CRS to
                the coordinates of a world file, or to pixels of the scene that this is a part of.
            crs: anything pyproj understands, or None: nobody knows the unit of the coordinates.
            gsd_m: without CRS, size (x, y) of a pixel on the ground; None: measures are pixels.
        """
        self.crs = None if crs is None else pyproj.CRS.from_user_input(crs)
        self._affine = tuple(float(v) for v in transform[:6])
        self._to_geodetic: pyproj.Transformer | None = None
        self._geod: pyproj.Geod | None = None
        self._unit_m: tuple[float, float] = (1.0, 1.0)
        self._is_measured = self.crs is not None or gsd_m is not None
        if self.crs is None:
            self._unit_m = gsd_m or self._unit_m
            return
        geodetic = self.crs.geodetic_crs
        if geodetic is None:  # an engineering CRS: no place on the earth, but a unit
            unit_m = float(self.crs.axis_info[0].unit_conversion_factor or 1.0)
            self._unit_m = (unit_m, unit_m)
            return
        self._geod = self.crs.get_geod()
        self._to_geodetic = pyproj.Transformer.from_crs(
            self.crs.sub_crs_list[0] if self.crs.is_compound else self.crs,
            geodetic.to_2d(),
            always_xy=True,
        )

    @property
    def pixel(self) -> float:
        """Longer side of a pixel, in the unit that the transform leads to."""
        a, b, _, d, e, _ = self._affine
        return max(math.hypot(a, d), math.hypot(b, e))

    @property
    def in_metres(self) -> bool:
        """Whether measures are metres; otherwise they are pixels."""
        return self._is_measured

    @property
    def on_earth(self) -> bool:
        """Whether pixels have a place on an ellipsoid; a drawing's own CRS has none."""
        return self._to_geodetic is not None

    def to_crs(self, points: Floats) -> Floats:
        """(n, 2): coordinates, of the CRS if there is one, of pixel coordinates."""
        a, b, c, d, e, f = self._affine
        x, y = points[:, 0], points[:, 1]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    def _in_units(self, points: Floats) -> Floats:
        """(n, 2): what measures are taken of: CRS coordinates, without a CRS pixels."""
        return points if self.crs is None else self.to_crs(points)

    def geometries_to_crs(self, geometries: Geometries) -> Geometries:
        """Copies of geometries in pixel coordinates, as `to_crs`."""
        points = shapely.get_coordinates(geometries)
        result: Geometries = shapely.set_coordinates(geometries.copy(), self.to_crs(points))
        return result

    def pixel_size_m(self, points: Floats, *, side_px: float = 1.0) -> tuple[Floats, Floats]:
        """Size (n, 2) of a pixel along x and y in metres, and area (n) in m², at the points.

        Args:
            points: (n, 2) in pixels.
            side_px: of the square around each point that is measured.
        """
        steps = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * side_px
        corners = (points[:, None, :] + steps).reshape(-1, 2)
        count = len(points)
        if not count:
            return np.ones((0, 2)), np.ones(0)
        starts = np.arange(count + 1) * 4
        areas, edges = self._rings(corners, starts)
        sides = edges.reshape(count, 4)
        size = np.stack([sides[:, 0] + sides[:, 2], sides[:, 1] + sides[:, 3]], axis=1) / 2
        return size / side_px, np.abs(areas) / side_px**2

    def bearing_deg(self, points: Floats, direction: Floats) -> Floats:
        """(n): direction of a line on the ground, clockwise from north, degrees in [0, 180).

        From the upper edge of the raster where there is no CRS.

        Args:
            points: (n, 2) in pixels.
            direction: (n, 2) in pixels, of any length.
        """
        step = direction / np.hypot(*direction.T)[:, None]
        start, stop = self._in_units(points - step / 2), self._in_units(points + step / 2)
        if self._to_geodetic is None or self._geod is None:
            east, north = ((stop - start) * self._unit_m).T
            bearing = np.degrees(np.arctan2(east, -north if self.crs is None else north))
        else:
            lon, lat = self._to_geodetic.transform(*start.T)
            to_lon, to_lat = self._to_geodetic.transform(*stop.T)
            middle = np.radians(lat)
            flat = self._geod.es
            # On the ellipsoid a degree north and one east differ by the radii of curvature.
            ratio = (1 - flat) / (1 - flat * np.sin(middle) ** 2)
            turn = np.remainder(to_lon - lon + 180, 360) - 180
            bearing = np.degrees(np.arctan2(turn * np.cos(middle), (to_lat - lat) * ratio))
        result: Floats = np.remainder(bearing, 180.0)
        return result

    def measure(self, geometries: Geometries) -> tuple[Floats, Floats]:
        """Area in m² and perimeter in m, holes counted, of polygons in pixel coordinates.

        Law: within 1e-5 of the geodesic solver (`pyproj.Geod`), or 1e-4 m² where that solver
        runs out of digits. In pixels and square pixels without a CRS.
        """
        if not len(geometries):
            return np.empty(0), np.empty(0)
        parts, owner = shapely.get_parts(geometries, return_index=True)
        rings, ring_part = shapely.get_rings(parts, return_index=True)
        points, ring_of_point = shapely.get_coordinates(rings, return_index=True)
        starts = np.searchsorted(ring_of_point, np.arange(len(rings) + 1))
        areas, edges = self._rings(points, starts)
        lengths = np.add.reduceat(edges, starts[:-1])
        shell = np.diff(ring_part, prepend=-1) > 0
        signed = np.where(shell, np.abs(areas), -np.abs(areas))
        area, perimeter = np.zeros(len(geometries)), np.zeros(len(geometries))
        np.add.at(area, owner[ring_part], signed)
        np.add.at(perimeter, owner[ring_part], lengths)
        return area, perimeter

    def _rings(self, points: Floats, starts: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Signed area of each ring, and the length from each point to the next one of its ring.

        Args:
            points: (n, 2) in pixels; a closing point makes an edge of length 0.
            starts: (ring + 1).
        """
        following = np.arange(1, len(points) + 1)
        following[starts[1:] - 1] = starts[:-1]
        points = self._in_units(points)
        if self._to_geodetic is None or self._geod is None:
            unit = np.array(self._unit_m)
            step = (points[following] - points) * unit
            local = (points - np.repeat(points[starts[:-1]], np.diff(starts), axis=0)) * unit
            areas = _shoelace(local[:, 0], local[:, 1], step[:, 0], step[:, 1], starts)
            return areas, np.hypot(step[:, 0], step[:, 1])
        lon, lat = self._to_geodetic.transform(points[:, 0], points[:, 1])
        with np.errstate(invalid="ignore"):  # points beyond the CRS's reach are infinite
            return _geodetic_rings(np.radians(lon), np.radians(lat), following, starts, self._geod)


def _shoelace(x: Floats, y: Floats, dx: Floats, dy: Floats, starts: npt.NDArray[np.intp]) -> Floats:
    """Signed area of rings whose edges start at (x, y) and run by (dx, dy)."""
    areas: Floats = np.add.reduceat(x * dy - y * dx, starts[:-1]) / 2
    return areas


def _geodetic_rings(
    lon: Floats,
    lat: Floats,
    following: npt.NDArray[np.intp],
    starts: npt.NDArray[np.intp],
    geod: pyproj.Geod,
) -> tuple[Floats, Floats]:
    """Signed areas in m² and edge lengths in m of rings on an ellipsoid, angles in radians."""
    a, e2 = geod.a, geod.es
    origin = np.repeat(starts[:-1], np.diff(starts))
    dlon = np.remainder(lon[following] - lon + np.pi, 2 * np.pi) - np.pi
    dlat = lat[following] - lat
    zone = _authalic(lat, math.sqrt(e2)) * a * a / 2
    x = np.remainder(lon - lon[origin] + np.pi, 2 * np.pi) - np.pi
    areas = _shoelace(x, zone - zone[origin], dlon, zone[following] - zone, starts)
    middle = lat + dlat / 2
    w2 = 1 - e2 * np.sin(middle) ** 2
    north = dlat * a * (1 - e2) / (w2 * np.sqrt(w2))
    east = dlon * a * np.cos(middle) / np.sqrt(w2)
    lengths = np.hypot(north, east)

    bent = lengths * np.maximum(1, np.abs(np.tan(middle))) > LONG_EDGE_M
    hard = bent | (np.abs(middle) > NEAR_POLE_RAD)
    if hard.any():
        index = np.flatnonzero(hard)
        to = following[index]
        lengths[index] = geod.inv(lon[index], lat[index], lon[to], lat[to], radians=True)[2]
        for ring in np.unique(np.searchsorted(starts, index, side="right") - 1):
            part = slice(starts[ring], starts[ring + 1])
            areas[ring] = geod.polygon_area_perimeter(lon[part], lat[part], radians=True)[0]
    return areas, lengths


def _authalic(lat: Floats, e: float) -> Floats:
    """Area between the equator and a latitude, in units of a²/2 per radian of longitude.

    Source: Snyder, Map Projections: A Working Manual (1987), eq. 3-12.
    """
    sine = np.sin(lat)
    if e == 0:
        return 2 * sine
    es = e * sine
    result: Floats = (1 - e * e) * (sine / (1 - es * es) + np.arctanh(es) / e)
    return result

"""GeoJSON, feature by feature, as RFC 7946 wants it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

Geometries = npt.NDArray[np.object_]

DEGREE_DIGITS = 7
"""About a centimetre."""

PLAIN_DIGITS = 3
"""For coordinates that are not degrees: pixels of a raster without a CRS."""

_END_BYTES = 2**16
_FEATURES = re.compile(r'"features"\s*:')
_NO_CRS = re.compile(r'"crs"\s*:\s*null')


class GeoJSONWriter:
    """A FeatureCollection that grows on a text stream; the stream stays open.

    Shells run counter-clockwise (right-hand rule), coordinates are rounded, each feature is a
    line of its own. Coordinates that are not longitude and latitude are marked by `"crs": null`.
    """

    def __init__(self, stream: TextIO, *, lonlat: bool = True) -> None:
        """Nothing is written yet.

        Args:
            stream: text.
            lonlat: coordinates are longitude and latitude; otherwise pixels.
        """
        self._stream = stream
        self._lonlat = lonlat
        self._digits = DEGREE_DIGITS if lonlat else PLAIN_DIGITS
        self._separator = "\n"

    def __enter__(self) -> GeoJSONWriter:
        mark = "" if self._lonlat else '"crs": null, '
        self._stream.write(f'{{"type": "FeatureCollection", {mark}"features": [')
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._stream.write("\n]}\n")

    def write(
        self, geometries: Geometries, properties: Mapping[str, Sequence[Any] | npt.NDArray[Any]]
    ) -> None:
        """Append features: longitude and latitude, and columns of the same length."""
        texts = shapely.to_geojson(_rounded(geometries, self._digits))
        names = list(properties)
        columns = [_plain(properties[name]) for name in names]
        for text, *values in zip(texts.tolist(), *columns, strict=True):
            fields = json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False)
            self._stream.write(
                f'{self._separator}{{"type": "Feature", "properties": {fields}, '
                f'"geometry": {text}}}'
            )
            self._separator = ",\n"


def says_no_crs(path: Path) -> bool:
    """Whether a GeoJSON file says `"crs": null`, hence that its coordinates have no CRS.

    Without that word they are longitude and latitude. Only what stands before and after the
    features is looked at.

    Source: GJ2008, the GeoJSON specification of 2008, section 3; RFC 7946, section 4.
    """
    with path.open("rb") as file:
        head = file.read(_END_BYTES)
        file.seek(max(0, path.stat().st_size - _END_BYTES))
        tail = file.read()
    before = _FEATURES.split(head.decode("utf-8", "replace"), maxsplit=1)[0]
    after = tail.decode("utf-8", "replace").rpartition("]")[2]
    return bool(_NO_CRS.search(before) or _NO_CRS.search(after))


def _plain(column: Sequence[Any] | npt.NDArray[Any]) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


def _rounded(geometries: Geometries, digits: int) -> Geometries:
    """Rounded and oriented; where rounding would break a polygon it keeps all digits."""
    oriented = shapely.orient_polygons(geometries, exterior_cw=False)
    points = np.round(shapely.get_coordinates(oriented), digits)
    rounded = shapely.set_coordinates(oriented.copy(), points + 0.0)  # no "-0.0"
    return np.asarray(np.where(shapely.is_valid(rounded), rounded, oriented))


def to_lonlat(geometries: Geometries, crs: object) -> Geometries:
    """Polygons in EPSG:4326 as (longitude, latitude), cut where they cross the antimeridian.

    Source: RFC 7946, sections 4 and 3.1.9.
    """
    if not len(geometries):
        return geometries
    transformer = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    points = shapely.get_coordinates(geometries)
    turned = np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)
    result: Geometries = shapely.set_coordinates(geometries.copy(), turned)
    bounds = shapely.bounds(result)
    for index in np.flatnonzero(bounds[:, 2] - bounds[:, 0] > 180.0):
        result[index] = _cut_at_antimeridian(result[index])
    return result


def _cut_at_antimeridian(geometry: shapely.Geometry) -> shapely.Geometry:
    """A polygon whose longitudes jump from 180 to -180, as parts on either side of the line."""
    east = shapely.transform(
        geometry, lambda p: np.stack([np.where(p[:, 0] < 0, p[:, 0] + 360, p[:, 0]), p[:, 1]], 1)
    )
    here = shapely.intersection(east, shapely.box(0, -90, 180, 90))
    beyond = shapely.intersection(east, shapely.box(180, -90, 360, 90))
    beyond = shapely.transform(beyond, lambda p: p - [360.0, 0.0])
    parts = shapely.get_parts([here, beyond])
    return shapely.multipolygons([part for part in parts if part.geom_type == "Polygon"])

"""GeoJSON, feature by feature, as RFC 7946 wants it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

Geometries = npt.NDArray[np.object_]

DEGREE_DIGITS = 7
"""About a centimetre."""

_END_BYTES = 2**16
_FEATURES = re.compile(r'"features"\s*:')
_NO_CRS = re.compile(r'"crs"\s*:\s*null')


class GeoJSONWriter:
    """A FeatureCollection that grows on a text stream; the stream stays open.

    Shells run counter-clockwise (right-hand rule), coordinates are rounded, each feature is a
    line of its own. Coordinates that are not longitude and latitude are marked by `"crs": null`.
    """

    def __init__(
        self, stream: TextIO, *, lonlat: bool = True, digits: int | None = DEGREE_DIGITS
    ) -> None:
        """Nothing is written yet.

        Args:
            stream: text.
            lonlat: coordinates are longitude and latitude; otherwise those of a raster without a
                CRS: pixels, or whatever its transform leads to.
            digits: decimal places of coordinates; None keeps all.
        """
        self._stream = stream
        self._mark = "" if lonlat else '"crs": null, '
        self._digits = digits
        self._separator = "\n"

    def __enter__(self) -> GeoJSONWriter:
        self._stream.write(f'{{"type": "FeatureCollection", {self._mark}"features": [')
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._stream.write("\n]}\n")

    def write(
        self, geometries: Geometries, properties: Mapping[str, Sequence[Any] | npt.NDArray[Any]]
    ) -> None:
        """Append features: longitude and latitude, and columns of the same length."""
        oriented = shapely.orient_polygons(geometries, exterior_cw=False)
        if self._digits is not None:
            oriented = rounded(oriented, self._digits)
        texts = shapely.to_geojson(oriented)
        names = list(properties)
        columns = [_plain(properties[name]) for name in names]
        for text, *values in zip(texts.tolist(), *columns, strict=True):
            fields = json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False)
            self._stream.write(self._separated(f'"properties": {fields}, "geometry": {text}}}'))

    def _separated(self, rest: str) -> str:
        separator, self._separator = self._separator, ",\n"
        return f'{separator}{{"type": "Feature", {rest}'


class GeoJSONSeqWriter(GeoJSONWriter):
    """The same features, one a line and nothing around them: a file that can be added to.

    Each is marked by itself where its coordinates are not longitude and latitude.

    Source: newline-delimited GeoJSON; RFC 8142 without its record separators, as GDAL reads it.
    """

    def __enter__(self) -> GeoJSONSeqWriter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _separated(self, rest: str) -> str:
        return f'{{"type": "Feature", {self._mark}{rest}\n'


def says_no_crs(path: Path) -> bool:
    """Whether a GeoJSON file says `"crs": null`, hence that its coordinates have no CRS.

    Without that word they are longitude and latitude. Only what stands before and after the
    features is looked at, or the first one where each is a line of its own.

    Source: GJ2008, the GeoJSON specification of 2008, section 3; RFC 7946, section 4.
    """
    with path.open("rb") as file:
        head = file.read(_END_BYTES)
        file.seek(max(0, path.stat().st_size - _END_BYTES))
        tail = file.read()
    try:
        first = json.loads(head.partition(b"\n")[0])
    except ValueError:
        first = None
    if isinstance(first, dict) and first.get("type") == "Feature":
        return first.get("crs", "") is None
    before = _FEATURES.split(head.decode("utf-8", "replace"), maxsplit=1)[0]
    after = tail.decode("utf-8", "replace").rpartition("]")[2]
    return bool(_NO_CRS.search(before) or _NO_CRS.search(after))


def _plain(column: Sequence[Any] | npt.NDArray[Any]) -> list[Any]:
    values = column.tolist() if isinstance(column, np.ndarray) else list(column)
    return [None if value != value else value for value in values]  # JSON has no NaN


def rounded(geometries: Geometries, digits: int) -> Geometries:
    """The polygons with rounded coordinates; where that would break one it keeps all digits."""
    points = np.round(shapely.get_coordinates(geometries), digits)
    result = shapely.set_coordinates(geometries.copy(), points + 0.0)  # no "-0.0"
    return np.asarray(np.where(shapely.is_valid(result), result, geometries))


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

"""Vector files read whole: geometries, attributes and CRS of their layer."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
import pyogrio
import pyproj
import shapely

from geotiler.errors import InputError
from geotiler.io.geojson import says_no_crs
from geotiler.io.vector_formats import DRIVERS

Geometries = npt.NDArray[np.object_]

# Polygons are asked for, and what they measure along their corners is of no use to anybody here.
# Not for a while only: filters are the whole process's, and other threads read files too.
warnings.filterwarnings("ignore", message=r"Measured \(M\) geometry types are not supported")
# Features of a kind that GEOS has no name for come without a geometry, as is told of those.
warnings.filterwarnings("ignore", message="Unsupported geometry type detected")


_AREAL = ("Polygon", "Surface", "Unknown")
"""What the types of geometry have in their names that a layer of polygons may declare."""


class Features(NamedTuple):
    """All features of a file."""

    geometries: Geometries
    attributes: dict[str, npt.NDArray[Any]]
    crs: pyproj.CRS | None


def is_vector(path: str) -> bool:
    """Whether GDAL finds a layer of features in a file."""
    try:
        return bool(len(pyogrio.list_layers(path)))
    except Exception:  # whatever the driver says, it is none then
        return False


def read_features(
    path: str, *, columns: Sequence[str] | None = None, keep_empty: bool = False
) -> Features:
    """All features of a vector file's layer: of several, the one of polygons.

    Args:
        path: vector file.
        columns: attributes to read, as far as they exist; None: all.
        keep_empty: features without geometry stay, as None or empty; otherwise they are left out.

    Raises:
        InputError: missing, not a vector file, without geometries, or several layers of polygons.
    """
    _check_there(path)
    layer = _layer(path)
    try:
        if path.lower().endswith(".parquet"):
            geometries, attributes, crs = _read_parquet(path, columns)
        else:
            wanted = None if columns is None else list(columns)
            meta, _, wkb, values = pyogrio.raw.read(
                path, layer=layer, force_2d=True, columns=wanted
            )
            if wkb is None:
                raise ValueError("its layer has no geometries")
            geometries = shapely.from_wkb(wkb)
            attributes = dict(zip(meta["fields"].tolist(), values, strict=True))
            crs = None if meta["crs"] is None else pyproj.CRS.from_user_input(meta["crs"])
            if _is_geojson(path) and says_no_crs(Path(path)):  # GDAL takes it for EPSG:4326
                crs = None
    except Exception as error:
        raise _unreadable(path, error) from error
    if keep_empty:
        return Features(geometries, attributes, crs)
    there = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    kept = {name: np.asarray(column)[there] for name, column in attributes.items()}
    return Features(geometries[there], kept, crs)


def _layer(path: str) -> int:
    """Place of the layer that is read: the first, or the only one of several that has polygons.

    Raises:
        InputError: several have polygons, and nobody said which is meant.
    """
    if path.lower().endswith(".parquet"):
        return 0
    try:
        names, kinds = pyogrio.list_layers(path).T.tolist()
    except Exception as error:  # no layer at all among them
        raise _unreadable(path, error) from error
    areal = [
        place for place, kind in enumerate(kinds) if kind and any(name in kind for name in _AREAL)
    ]
    if len(areal) > 1:
        listed = ", ".join(names[place] for place in areal)
        raise InputError(
            f"{path} has {len(areal)} layers of polygons: {listed}",
            hint=f"a file of its own for one of them: ogr2ogr one.gpkg {path} {names[areal[0]]}",
        )
    return areal[0] if areal else 0


def _is_geojson(path: str) -> bool:
    driver = DRIVERS.get(Path(path).suffix.lower(), "")
    return driver.startswith("GeoJSON") and Path(path).is_file()


def _check_there(path: str) -> None:
    """Raises: InputError: there is no such file."""
    if not path.startswith("/vsi") and "://" not in path and not Path(path).exists():
        raise InputError(f"no such file: {path}")


def _unreadable(path: str, error: Exception) -> InputError:
    # GDAL says the path again, and after a semicolon what to do with its own tools.
    reason = " ".join(str(error).split()).replace(f"'{path}' ", "").partition(";")[0][:160]
    return InputError(
        f"{path} cannot be read as a vector file: {reason.rstrip('.')}",
        hint="geotiler reads what GDAL reads, and GeoParquet",
    )


def attribute_names(path: str) -> list[str]:
    """Names of the attributes of a vector file that `read_features` reads.

    Raises:
        InputError: missing, not a vector file, or several layers of polygons.
    """
    _check_there(path)
    layer = _layer(path)
    try:
        if path.lower().endswith(".parquet"):
            schema = pa.parquet.read_schema(path)
            geometry = json.loads(schema.metadata[b"geo"])["primary_column"]
            return [name for name in schema.names if name != geometry]
        return [str(name) for name in pyogrio.read_info(path, layer=layer)["fields"]]
    except Exception as error:
        raise _unreadable(path, error) from error


def _read_parquet(
    path: str, columns: Sequence[str] | None
) -> tuple[Geometries, dict[str, npt.NDArray[Any]], pyproj.CRS | None]:
    table = pa.parquet.read_table(path)
    metadata = table.schema.metadata or {}
    if b"geo" not in metadata:
        raise ValueError("it is not GeoParquet: no 'geo' metadata")
    geo = json.loads(metadata[b"geo"])
    name = geo["primary_column"]
    column = geo["columns"][name]
    if column["encoding"] != "WKB":
        raise ValueError(f"geometry encoding {column['encoding']}, expected WKB")
    crs = column.get("crs", "OGC:CRS84")
    geometries = shapely.force_2d(shapely.from_wkb(table[name].to_numpy()))
    attributes = {
        other: table[other].to_numpy()
        for other in table.column_names
        if other != name and (columns is None or other in columns)
    }
    return geometries, attributes, None if crs is None else pyproj.CRS.from_user_input(crs)

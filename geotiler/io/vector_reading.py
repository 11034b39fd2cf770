"""Vector files read whole: geometries, attributes and CRS of the first layer."""

from __future__ import annotations

import json
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
    """All features of a vector file's first layer.

    Args:
        path: vector file.
        columns: attributes to read, as far as they exist; None: all.
        keep_empty: features without geometry stay, as None or empty; otherwise they are left out.

    Raises:
        InputError: missing, not a vector file, or without geometries.
    """
    _check_there(path)
    try:
        if path.lower().endswith(".parquet"):
            geometries, attributes, crs = _read_parquet(path, columns)
        else:
            wanted = None if columns is None else list(columns)
            meta, _, wkb, values = pyogrio.raw.read(
                path, layer=0, force_2d=True, columns=wanted
            )  # a GeoPackage holds its style as a second layer
            if wkb is None:
                raise ValueError("its first layer has no geometries")
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
        InputError: missing, or not a vector file.
    """
    _check_there(path)
    try:
        if path.lower().endswith(".parquet"):
            schema = pa.parquet.read_schema(path)
            geometry = json.loads(schema.metadata[b"geo"])["primary_column"]
            return [name for name in schema.names if name != geometry]
        return [str(name) for name in pyogrio.read_info(path, layer=0)["fields"]]
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

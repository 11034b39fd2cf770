"""Vector files: read whole, written as a stream through one open writer."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
import pyogrio
import pyproj
import shapely

from geotiler.core.qgis_style import StyledClass, geopackage_style, vector_qml
from geotiler.errors import InputError, OutputError
from geotiler.io.geojson import GeoJSONWriter, says_no_crs, to_lonlat
from geotiler.io.outputs import check_output, replacing
from geotiler.io.styles import save_style

Geometries = npt.NDArray[np.object_]

STDOUT = "-"
DRIVERS = {
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".parquet": "Parquet",
}
BATCH_FEATURES = 2048
"""Features written at once: a row group of GeoParquet, a transaction of GeoPackage."""

_FIXED_DATE = "1970-01-01T00:00:00.000Z"
"""GeoPackages carry the time of writing; the bytes should depend on the input only."""

_TYPES = {"int": pa.int64(), "float": pa.float64(), "text": pa.string()}


@dataclass(frozen=True, kw_only=True)
class FeatureBatch:
    """Some features."""

    geometries: Geometries
    attributes: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What all features of a file have in common."""

    fields: Mapping[str, str]
    """Attribute name → int, float or text."""
    crs: object | None
    """Anything pyproj understands, or None: plain coordinates."""
    several_parts: bool = False
    """Features may be MultiPolygons."""
    styled: tuple[StyledClass, ...] = ()
    """How QGIS shows values of the attribute `class`; empty: as it likes."""


class Features(NamedTuple):
    """All features of a file."""

    geometries: Geometries
    attributes: dict[str, npt.NDArray[Any]]
    crs: pyproj.CRS | None


def check_target(target: str, overwrite: bool) -> str:
    """The format (a GDAL driver name) that a target asks for; nothing is written.

    Raises:
        OutputError: unknown suffix, or the target cannot be written.
    """
    if target == STDOUT:
        return "GeoJSON"
    path = Path(target)
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise OutputError(
            f"no vector format for {target}: expected one of {', '.join(DRIVERS)}",
            hint="-o buildings.geojson, or -o - for GeoJSON on standard output",
        )
    check_output(path, overwrite)
    return driver


def write_features(
    target: str,
    batches: Iterable[FeatureBatch],
    layer: Layer,
    *,
    overwrite: bool = False,
    stream: TextIO | None = None,
) -> None:
    """Writes features as they come; the target appears when all of them are written.

    GeoJSON is turned into EPSG:4326, the other formats keep the layer's CRS. An exception of
    `batches` passes through, and leaves nothing behind.

    Args:
        target: a path whose suffix chooses the format, or "-".
        batches: the features.
        layer: what they have in common.
        overwrite: an existing file may be replaced.
        stream: where "-" goes.

    Raises:
        OutputError: the target cannot be written.
    """
    driver = check_target(target, overwrite)
    if target == STDOUT:
        if stream is None:
            raise ValueError('the target "-" needs a stream')
        _write_geojson(stream, batches, layer)
        return
    with replacing(Path(target), overwrite) as path:
        source = _Relay(_gathered(batches))
        try:
            if driver == "GeoJSON":
                with path.open("w", encoding="utf-8", newline="\n") as text:
                    _write_geojson(text, source, layer)
            elif driver == "Parquet":
                _write_parquet(path, source, layer)
            else:
                _write_gdal(path, source, layer, driver)
            if layer.styled:
                _write_style(Path(target), path, layer, driver)
        except Exception as error:
            if source.failure is not None:  # libraries in between turn it into their own
                raise source.failure from None
            reason = " ".join(str(error).split())[:160]
            raise OutputError(f"output {target} cannot be written: {reason}") from error


class _Relay:
    """An iterable of batches that remembers what its source raised."""

    def __init__(self, batches: Iterator[FeatureBatch]) -> None:
        self._batches = batches
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[FeatureBatch]:
        try:
            yield from self._batches
        except GeneratorExit:  # the reader stopped, for a reason of its own
            raise
        except BaseException as error:
            self.failure = error
            raise


def _gathered(batches: Iterable[FeatureBatch]) -> Iterator[FeatureBatch]:
    """The same features in batches of BATCH_FEATURES, the last one smaller."""
    held: list[FeatureBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch.geometries)
        if count >= BATCH_FEATURES:
            whole = _joined(held)
            for start in range(0, count - BATCH_FEATURES + 1, BATCH_FEATURES):
                yield _part(whole, slice(start, start + BATCH_FEATURES))
            held = [_part(whole, slice(count - count % BATCH_FEATURES, count))]
            count %= BATCH_FEATURES
    if count:
        yield _joined(held)


def _joined(batches: list[FeatureBatch]) -> FeatureBatch:
    names = batches[0].attributes
    return FeatureBatch(
        geometries=np.concatenate([batch.geometries for batch in batches]),
        attributes={name: np.concatenate([b.attributes[name] for b in batches]) for name in names},
    )


def _part(batch: FeatureBatch, rows: slice) -> FeatureBatch:
    return FeatureBatch(
        geometries=batch.geometries[rows],
        attributes={name: column[rows] for name, column in batch.attributes.items()},
    )


def _write_geojson(stream: TextIO, batches: Iterable[FeatureBatch], layer: Layer) -> None:
    with GeoJSONWriter(stream, lonlat=layer.crs is not None) as writer:
        for batch in batches:
            geometries = batch.geometries
            if layer.crs is not None:
                geometries = to_lonlat(geometries, layer.crs)
            writer.write(geometries, batch.attributes)


def _schema(layer: Layer) -> pa.Schema:
    columns = [pa.field(name, _TYPES[kind]) for name, kind in layer.fields.items()]
    extension = {"ARROW:extension:name": "geoarrow.wkb"}
    return pa.schema([*columns, pa.field("geometry", pa.binary(), metadata=extension)])


def _record_batches(
    batches: Iterable[FeatureBatch], layer: Layer, *, promote: bool
) -> Iterator[pa.RecordBatch]:
    """Arrow batches; `promote` turns Polygons into MultiPolygons where both may occur."""
    schema = _schema(layer)
    for batch in batches:
        geometries = batch.geometries
        if promote and layer.several_parts:
            parts, owner = shapely.get_parts(geometries, return_index=True)
            geometries = shapely.multipolygons(parts, indices=owner)
        columns = [
            pa.array(batch.attributes[name].tolist(), _TYPES[kind])
            for name, kind in layer.fields.items()
        ]
        wkb = pa.array(shapely.to_wkb(shapely.orient_polygons(geometries)), pa.binary())
        yield pa.RecordBatch.from_arrays([*columns, wkb], schema=schema)


def _write_gdal(path: Path, batches: Iterable[FeatureBatch], layer: Layer, driver: str) -> None:
    records = _record_batches(batches, layer, promote=True)
    with _fixed_date(), warnings.catch_warnings():
        # A mask without a CRS has none to give, and the task has said so.
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(_schema(layer), records),
            path,
            layer=path.stem,
            driver=driver,
            geometry_name="geometry",
            geometry_type="MultiPolygon" if layer.several_parts else "Polygon",
            crs=None if layer.crs is None else _crs_text(layer.crs),
        )


def _write_style(target: Path, path: Path, layer: Layer, driver: str) -> None:
    """Embed the style in a GeoPackage, put it beside other formats."""
    qml = vector_qml(layer.styled)
    if driver != "GPKG":
        save_style(qml, "vector", target, path)
        return
    with closing(sqlite3.connect(path)) as base, base:
        named = "SELECT table_name, column_name FROM gpkg_geometry_columns"
        for table, column in base.execute(named).fetchall():
            for statement, values in geopackage_style(table, column, qml):
                base.execute(statement, values)


@contextmanager
def _fixed_date() -> Iterator[None]:
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _FIXED_DATE})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})


def _crs_text(crs: object) -> str:
    system = pyproj.CRS.from_user_input(crs)
    authority = system.to_authority(min_confidence=100)
    return ":".join(authority) if authority else str(system.to_wkt())


def _write_parquet(path: Path, batches: Iterable[FeatureBatch], layer: Layer) -> None:
    crs = None if layer.crs is None else pyproj.CRS.from_user_input(_crs_text(layer.crs))
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon", "MultiPolygon"] if layer.several_parts else ["Polygon"],
        "crs": None if crs is None else crs.to_json_dict(),
        "orientation": "counterclockwise",
        "edges": "planar",
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    # Readers of GeoParquet go by the file's metadata; the Arrow extension name would clash.
    schema = pa.schema([field.remove_metadata() for field in _schema(layer)])
    schema = schema.with_metadata({"geo": json.dumps(geo)})
    with pa.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for record in _record_batches(batches, layer, promote=False):
            writer.write_batch(pa.RecordBatch.from_arrays(record.columns, schema=schema))


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
    return DRIVERS.get(Path(path).suffix.lower()) == "GeoJSON" and Path(path).is_file()


def _check_there(path: str) -> None:
    """Raises: InputError: there is no such file."""
    if not path.startswith("/vsi") and "://" not in path and not Path(path).exists():
        raise InputError(f"no such file: {path}")


def _unreadable(path: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:160]
    return InputError(
        f"{path} cannot be read as a vector file: {reason}",
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

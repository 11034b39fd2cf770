"""Vector files written as a stream, through one open writer."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
import pyogrio
import pyproj
import shapely

from geotiler.core.qgis_style import StyledClass
from geotiler.errors import OutputError
from geotiler.io.geojson import (
    DEGREE_DIGITS,
    GeoJSONSeqWriter,
    GeoJSONWriter,
    rounded,
    to_lonlat,
)
from geotiler.io.geopackage import check_settled, places, put_back
from geotiler.io.outputs import replacing
from geotiler.io.styles import embed_style, save_polygon_style
from geotiler.io.vector_formats import (
    LAYERED,
    STDOUT,
    check_target,
    feature_count,
    holds_more,
    layer_option,
    short_names,
)
from geotiler.io.work_folder import LOCK

Geometries = npt.NDArray[np.object_]

BATCH_FEATURES = 2048
"""Features written at once: a row group of GeoParquet, a transaction of GeoPackage."""

_FIXED_DATE = "1970-01-01T00:00:00.000Z"
"""GeoPackages carry the time of writing; the bytes should depend on the input only."""

FINEST = 1000
"""Coordinates are written to this fraction of a pixel, or a little finer."""

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
    name: str | None = None
    """In formats with layers; None: the file's name."""
    digits: int | None = None
    """Decimal places of coordinates in the layer's CRS; None keeps all."""
    degree_digits: int = DEGREE_DIGITS
    """Decimal places of longitudes and latitudes."""
    styled: Callable[[], Sequence[StyledClass]] = tuple
    """How QGIS shows values of the attribute `class`, asked once all features are written, since
    their classes may be known only then; none: as it likes."""


def digits_for(pixel: float) -> int:
    """Decimal places that tell a `FINEST`th of a pixel, whose side is in the coordinates' unit."""
    return max(0, math.ceil(math.log10(FINEST / pixel)))


def write_features(
    target: str,
    batches: Iterable[FeatureBatch],
    layer: Layer,
    *,
    overwrite: bool = False,
    append: bool = False,
    stream: TextIO | None = None,
    ready: Callable[[list[Path]], None] | None = None,
) -> None:
    """Writes features as they come; the target appears, or grows, when all of them are written.

    GeoJSON is turned into EPSG:4326, the other formats keep the layer's CRS. An exception of
    `batches` passes through, and leaves everything as it was. Of a GeoPackage the layer alone is
    replaced: whatever else is in it stays.

    Args:
        target: a path whose suffix chooses the format, or "-".
        batches: the features.
        layer: what they have in common.
        overwrite: an existing file, or layer of it, may be replaced.
        append: an existing file is added to.
        stream: where "-" goes.
        ready: is given the files that are about to appear, under temporary names beside their own.

    Raises:
        OutputError: the target cannot be written.
    """
    driver = check_target(target, overwrite, append=append, layer=layer.name)
    if target == STDOUT:
        if stream is None:
            raise ValueError('the target "-" needs a stream')
        _write_geojson(stream, batches, layer)
        return
    with replacing(Path(target), overwrite or append) as path:
        adds = append and Path(target).exists()
        before = 0
        name = layer.name or path.stem
        keeps = not adds and holds_more(Path(target), driver, layer.name)
        copied = _state(Path(target)) if adds or keeps else None
        if copied is not None:
            shutil.copyfile(target, path)
        if adds:
            before = feature_count(path, driver, layer.name)
        source = _Relay(_gathered(batches))
        try:
            stood = places(path, name) if keeps else {}
            if driver == "GeoJSON":
                with path.open("w", encoding="utf-8", newline="\n") as text:
                    _write_geojson(text, source, layer)
            elif driver == "GeoJSONSeq":
                with path.open("a", encoding="utf-8", newline="\n") as text:
                    _write_geojson(text, source, layer, in_lines=True)
            elif driver == "Parquet":
                _write_parquet(path, source, layer)
            else:
                _write_gdal(path, source, layer, driver, append=adds)
            if stood:
                put_back(path, name, stood)
            if before:
                _check_new(target, path, driver, layer.name, before)
            styled = tuple(layer.styled())
            if styled and driver in LAYERED:
                embed_style(path, name, styled, append=adds)
            elif styled:
                save_polygon_style(styled, Path(target), path, append=adds)
        except Exception as error:
            if source.failure is not None:  # libraries in between turn it into their own
                raise source.failure from None
            if isinstance(error, OutputError):
                raise
            reason = " ".join(str(error).split())[:160]
            raise OutputError(f"output {target} cannot be written: {reason}") from error
        if copied is not None:
            check_settled(Path(target))
            if _state(Path(target)) != copied:
                raise OutputError(
                    f"{target} was changed by another program meanwhile",
                    hint="close it there and run the same command again",
                )
        if ready is not None:
            beside = (each for each in path.parent.iterdir() if each.name != LOCK)
            ready(sorted(each for each in beside if each.stem == path.stem))


def _state(path: Path) -> tuple[int, int, int]:
    """What tells a file from the one that it was."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_new(target: str, path: Path, driver: str, layer: str | None, before: int) -> None:
    """Raises: OutputError: what was added to a file was in it already, polygon for polygon.

    Judged by the first BATCH_FEATURES that were added. The file is read once, however many are
    there: formats without an index skip features by reading them.
    """
    options = layer_option(path, driver, layer)
    _, _, added, _ = pyogrio.raw.read(
        path, columns=[], skip_features=before, max_features=BATCH_FEATURES, **options
    )
    missing = {bytes(each) for each in added if each is not None}
    if not missing:
        return
    for there in _geometries(path, before, options):
        missing.difference_update(there)
        if not missing:
            raise OutputError(
                f"{target} holds these polygons already: all of the first {len(added):,} are "
                f"among the {before:,} that are there, and would be there twice",
                hint="--overwrite instead of --append writes it anew, --layer another layer",
            )


def _geometries(path: Path, count: int, options: dict[str, str]) -> Iterator[list[bytes | None]]:
    """Geometries of the first features of a layer as WKB, some at a time; None where one has none.

    Args:
        path: vector file.
        count: of features.
        options: which layer.
    """
    with pyogrio.raw.open_arrow(
        path, columns=[], batch_size=BATCH_FEATURES, use_pyarrow=True, **options
    ) as (meta, reader):
        for record in reader:
            name = meta["geometry_name"] or "wkb_geometry"
            found = record.column(name)[:count].to_pylist()
            yield found
            count -= len(found)
            if not count:
                return


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


def _write_geojson(
    stream: TextIO, batches: Iterable[FeatureBatch], layer: Layer, *, in_lines: bool = False
) -> None:
    kind = GeoJSONSeqWriter if in_lines else GeoJSONWriter
    lonlat = layer.crs is not None
    digits = layer.degree_digits if lonlat else layer.digits
    with kind(stream, lonlat=lonlat, digits=digits) as writer:
        for batch in batches:
            geometries = batch.geometries
            if layer.crs is not None:
                geometries = to_lonlat(geometries, layer.crs)
            writer.write(geometries, batch.attributes)


def _schema(layer: Layer, names: Mapping[str, str] | None = None) -> pa.Schema:
    names = names or {}
    columns = [pa.field(names.get(name, name), _TYPES[kind]) for name, kind in layer.fields.items()]
    extension = {"ARROW:extension:name": "geoarrow.wkb"}
    return pa.schema([*columns, pa.field("geometry", pa.binary(), metadata=extension)])


def _record_batches(
    batches: Iterable[FeatureBatch], layer: Layer, schema: pa.Schema, *, promote: bool
) -> Iterator[pa.RecordBatch]:
    """Arrow batches; `promote` turns Polygons into MultiPolygons where both may occur."""
    for batch in batches:
        geometries = shapely.orient_polygons(batch.geometries)
        if layer.digits is not None:
            geometries = rounded(geometries, layer.digits)
        if promote and layer.several_parts:
            parts, owner = shapely.get_parts(geometries, return_index=True)
            geometries = shapely.multipolygons(parts, indices=owner)
        columns = [
            pa.array(batch.attributes[name].tolist(), _TYPES[kind], from_pandas=True)
            for name, kind in layer.fields.items()
        ]
        wkb = pa.array(shapely.to_wkb(geometries), pa.binary())
        yield pa.RecordBatch.from_arrays([*columns, wkb], schema=schema)


def _write_gdal(
    path: Path, batches: Iterable[FeatureBatch], layer: Layer, driver: str, *, append: bool
) -> None:
    is_shapefile = driver == "ESRI Shapefile"
    schema = _schema(layer, short_names(layer.fields) if is_shapefile else None)
    records = _record_batches(batches, layer, schema, promote=not is_shapefile)
    name = layer.name or path.stem
    crs = None if layer.crs is None else _crs_text(layer.crs)
    if append:
        _check_same_crs(path, name, crs)
    options: dict[str, Any] = {}
    if is_shapefile:
        options["DBF_DATE_LAST_UPDATE"] = _FIXED_DATE[:10]
    with _fixed_date(), warnings.catch_warnings():
        # A mask without a CRS has none to give, and the task has said so.
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(schema, records),
            path,
            layer=name,
            driver=driver,
            append=append,
            geometry_name="geometry",
            geometry_type="MultiPolygon" if layer.several_parts else "Polygon",
            crs=crs,
            **options,
        )


def _check_same_crs(path: Path, layer: str, crs: str | None) -> None:
    """Raises: ValueError: the layer is there and has another CRS."""
    if layer not in pyogrio.list_layers(path)[:, 0].tolist():
        return
    there = pyogrio.read_info(path, layer=layer)["crs"]
    same = (there is None) == (crs is None)
    if there is not None and crs is not None:
        same = pyproj.CRS.from_user_input(there).equals(
            pyproj.CRS.from_user_input(crs), ignore_axis_order=True
        )
    if not same:
        old, new = there or "no CRS", crs or "no CRS"
        raise ValueError(f"layer {layer} is in {old}, the new features are in {new}")


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
        for record in _record_batches(batches, layer, _schema(layer), promote=False):
            writer.write_batch(pa.RecordBatch.from_arrays(record.columns, schema=schema))

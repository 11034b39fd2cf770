"""Vector formats that are written: how they are named, and what each cannot hold.

Raster tasks know them by name only, so pyogrio, which loads pandas, is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from geotiler.errors import OutputError, SpecError
from geotiler.io.geopackage import (
    check_is_geopackage,
    check_layer_name,
    check_settled,
    has_foreign_style,
    other_tables,
)
from geotiler.io.outputs import check_is_local, check_output

STDOUT = "-"
DRIVERS = {
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".geojsonl": "GeoJSONSeq",
    ".geojsons": "GeoJSONSeq",
    ".ndjson": "GeoJSONSeq",
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".parquet": "Parquet",
    ".shp": "ESRI Shapefile",
}
APPENDABLE = ("GPKG", "GeoJSONSeq")
LAYERED = ("GPKG",)

SHORT_NAMES = {
    "perimeter_m": "perim_m",
    "perimeter_px": "perim_px",
    "orientation_deg": "orient_deg",
    "mean_probability": "mean_prob",
}
"""Attributes whose names are longer than the ten letters that a Shapefile keeps."""

SHAPEFILE_LIMITS = (
    "a Shapefile has names of 10 letters (" + ", ".join(SHORT_NAMES.values()) + "), "
    "texts of 254 bytes and 2 GB at most; .gpkg has no such limits"
)

SHAPEFILE_TEXT_BYTES = 254

_MOST_NAMES = 5
"""Layers that are told by name."""

_SIDECARS = (".dbf", ".shx", ".prj", ".cpg")


def check_target(
    target: str, overwrite: bool, *, append: bool | None = False, layer: str | None = None
) -> str:
    """The format (a GDAL driver name) that a target asks for; nothing is written.

    Args:
        target: a path, or "-".
        overwrite: an existing file may be replaced.
        append: an existing file is added to; None: the caller never does that.
        layer: name of a layer, if one was asked for.

    Raises:
        SpecError: unknown suffix, or no such thing in this format.
        OutputError: an address, not writable, or a GeoPackage that would be harmed.
    """
    if target == STDOUT:
        driver = "GeoJSON"
    else:
        path = Path(target)
        check_is_local(path)  # before anything says the target, secrets and all
        driver = DRIVERS.get(path.suffix.lower(), "")
        if not driver:
            raise SpecError(
                f"no vector format for {target}: expected one of {', '.join(DRIVERS)}",
                hint="-o buildings.geojson, or -o - for GeoJSON on standard output",
            )
    if layer is not None and driver not in LAYERED:
        raise SpecError(
            f"{driver} has no layers to name", hint="--layer is for GeoPackage: -o buildings.gpkg"
        )
    if append and driver not in APPENDABLE:
        raise SpecError(
            f"{driver} cannot be added to: {target}",
            hint="--append is for GeoPackage and GeoJSONSeq: .gpkg, .geojsonl",
        )
    if target != STDOUT:
        if path.is_file() and driver in APPENDABLE and not (overwrite or append):
            what = f"its layer {layer or path.stem}" if driver in LAYERED else "it"
            adds = "" if append is None else f"--append adds to {what}, "
            raise OutputError(
                f"output {path} exists already", hint=f"{adds}--overwrite replaces {what}"
            )
        check_output(path, overwrite or bool(append))
        if driver in LAYERED:
            _check_geopackage(path, layer, append=append)
        if driver == "ESRI Shapefile" and not overwrite:
            for suffix in _SIDECARS:
                check_output(path.with_suffix(suffix), overwrite)
    return driver


def is_geojson(target: str) -> bool:
    """Whether a target, or "-", is GeoJSON, which has no way to say that it lies in no CRS."""
    driver = DRIVERS.get(Path(target).suffix.lower(), "")
    return target == STDOUT or driver.startswith("GeoJSON")


def _check_geopackage(path: Path, layer: str | None, *, append: bool | None) -> None:
    """Raises: OutputError: a layer cannot be written into a file without harm to it."""
    check_settled(path)
    if not path.is_file():
        return
    check_is_geopackage(path, append=bool(append))
    if append or holds_more(path, LAYERED[0], layer):
        check_layer_name(path, layer or path.stem, can_be_named=append is not None)


def holds_more(path: Path, driver: str, layer: str | None) -> bool:
    """Whether something of a file has to outlive the layer that is written anew.

    Raises:
        OutputError: the file cannot be read.
    """
    if driver not in LAYERED or not path.is_file():
        return False
    name = layer or path.stem
    return bool(other_tables(path, name)) or has_foreign_style(path, name)


def kept_notices(target: str, layer: str | None = None) -> list[str]:
    """A line about what stays of a file whose layer will be written anew, if anything does.

    Raises:
        OutputError: the file cannot be read.
    """
    path = Path(target)
    if DRIVERS.get(path.suffix.lower()) not in LAYERED or not path.is_file():
        return []
    name = layer or path.stem
    kept = [other for other in other_tables(path, name) if not other.startswith("gpkg_")]
    told = ", ".join(kept[:_MOST_NAMES]) + (", ..." if len(kept) > _MOST_NAMES else "")
    return [f"{path}: only its layer {name} is written anew; kept: {told}"] if kept else []


def layer_option(path: Path, driver: str, layer: str | None) -> dict[str, str]:
    """How pyogrio is told which layer of a file is meant."""
    return {"layer": layer or path.stem} if driver in LAYERED else {}


def feature_count(path: Path, driver: str, layer: str | None) -> int:
    """Features in a layer; 0 where it is not there yet, or nothing is."""
    import pyogrio

    options = layer_option(path, driver, layer)
    if not path.stat().st_size:
        return 0
    if options and options["layer"] not in pyogrio.list_layers(path)[:, 0].tolist():
        return 0
    return int(pyogrio.read_info(path, force_feature_count=True, **options)["features"])


def highest_id(target: str, driver: str, layer: str | None) -> int:
    """Largest attribute "id" of the layer that is to be added to; 0 where there is none yet.

    Raises:
        OutputError: the file cannot be read.
    """
    import pyogrio

    path = Path(target)
    if not path.exists() or not path.stat().st_size:
        return 0
    try:
        if not feature_count(path, driver, layer):
            return 0
        options = layer_option(path, driver, layer)
        _, _, _, (ids,) = pyogrio.raw.read(target, columns=["id"], read_geometry=False, **options)
        return int(max(ids, default=0))
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise OutputError(
            f"{target} cannot be added to: {reason}", hint="--overwrite replaces it"
        ) from error


def check_texts(driver: str, texts: Iterable[str]) -> None:
    """Raises: OutputError: a text is too long for the format."""
    if driver != "ESRI Shapefile":
        return
    for text in texts:
        if len(text.encode()) > SHAPEFILE_TEXT_BYTES:
            raise OutputError(
                f"class {text[:24]}... is longer than the {SHAPEFILE_TEXT_BYTES} bytes of a "
                "Shapefile's texts",
                hint="-o buildings.gpkg",
            )


def short_names(fields: Mapping[str, str]) -> dict[str, str]:
    """Field name → its name in a Shapefile.

    Raises:
        OutputError: two would be the same.
    """
    names = {name: SHORT_NAMES.get(name, name)[:10] for name in fields}
    if len(set(names.values())) < len(names):
        raise OutputError(
            "the attributes' names are the same within the 10 letters of a Shapefile",
            hint="-o buildings.gpkg",
        )
    return names

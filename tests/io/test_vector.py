"""Vector files: what is written comes back, in every format, by other readers too."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import geopandas
import numpy as np
import pyproj
import pytest
import shapely

from geotiler.errors import InputError, OutputError, SpecError
from geotiler.io import vector
from geotiler.io.geojson import GeoJSONWriter, to_lonlat
from geotiler.io.vector import FeatureBatch, Layer, write_features
from geotiler.io.vector_reading import attribute_names, read_features

SUFFIXES = [".geojson", ".json", ".gpkg", ".fgb", ".parquet"]
FIELDS = {"id": "int", "class": "text", "area_m2": "float"}


def batch(first: int, count: int) -> FeatureBatch:
    """Squares with a hole, along a row of a UTM zone."""
    left = 400_000.0 + 20 * np.arange(first, first + count)
    shells = shapely.box(left, 5_500_000, left + 10, 5_500_010)
    holes = shapely.box(left + 2, 5_500_002, left + 4, 5_500_004)
    return FeatureBatch(
        geometries=shapely.difference(shells, holes),
        attributes={
            "id": np.arange(first, first + count),
            "class": np.array(["Gebäude" if i % 2 else "road" for i in range(count)], object),
            "area_m2": np.linspace(0.5, 96, count),
        },
    )


def write(path, batches, several_parts=False, crs="EPSG:32633", **options):
    layer = Layer(fields=FIELDS, crs=crs, several_parts=several_parts)
    write_features(str(path), batches, layer, **options)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_features_come_back(tmp_path, suffix):
    path = write(tmp_path / f"b{suffix}", [batch(1, 30), batch(31, 5)])
    back = read_features(str(path))
    order = np.argsort(back.attributes["id"])
    whole = batch(1, 35)
    expected = whole.geometries
    json_like = suffix in (".geojson", ".json")
    assert back.crs == pyproj.CRS("EPSG:4326" if json_like else "EPSG:32633")
    if json_like:
        expected = to_lonlat(expected, "EPSG:32633")
    tolerance = 1e-6 if json_like else 1e-9
    for one, other in zip(back.geometries[order], expected, strict=True):
        assert one.normalize().equals_exact(other.normalize(), tolerance)
    assert back.attributes["id"][order].tolist() == list(range(1, 36))
    classes = [*batch(1, 30).attributes["class"], *batch(31, 5).attributes["class"]]
    assert back.attributes["class"][order].tolist() == classes
    assert shapely.is_valid(back.geometries).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("crs", ["EPSG:32633", None], ids=["utm", "no crs"])
def test_another_reader_reads_it(tmp_path, suffix, crs):
    path = write(tmp_path / f"b{suffix}", [batch(1, 12)], crs=crs)
    read = geopandas.read_parquet if suffix == ".parquet" else geopandas.read_file
    frame = read(path)
    assert len(frame) == 12
    assert frame.geometry.is_valid.all()
    assert set(FIELDS) <= set(frame.columns)
    if crs and suffix not in (".geojson", ".json"):
        assert frame.crs == crs
        assert frame.area.to_numpy() == pytest.approx(96)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bytes_depend_on_the_features_only(tmp_path, suffix):
    whole = write(tmp_path / f"b{suffix}", [batch(1, 40)]).read_bytes()
    pieces = [vector._part(batch(1, 40), slice(i, i + 1)) for i in range(40)]
    (tmp_path / "again").mkdir()
    assert write(tmp_path / "again" / f"b{suffix}", pieces).read_bytes() == whole


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_features_make_an_empty_file(tmp_path, suffix):
    back = read_features(str(write(tmp_path / f"b{suffix}", [])))
    assert len(back.geometries) == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_polygons_and_multipolygons_in_one_file(tmp_path, suffix):
    mixed = batch(1, 3)
    left = np.array([400_000, 400_005])
    mixed.geometries[1] = shapely.MultiPolygon(
        shapely.box(left, 5_500_100, left + 1, 5_500_101).tolist()
    )
    back = read_features(str(write(tmp_path / f"b{suffix}", [mixed], several_parts=True)))
    assert sorted(shapely.get_num_geometries(back.geometries)) == [1, 1, 2]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [InputError("the mask is truncated"), KeyboardInterrupt()])
def test_an_error_of_the_source_passes_and_leaves_nothing(tmp_path, suffix, error):
    def source():
        yield from [vector._part(batch(1, 9000), slice(0, 9000))]
        raise error

    with pytest.raises(type(error)) as caught:
        write(tmp_path / f"b{suffix}", source())
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_file_stays_unless_it_may_be_replaced(tmp_path, suffix):
    path = tmp_path / f"b{suffix}"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write(path, [batch(1, 2)])
    assert path.read_text() == "mine"
    write(path, [batch(1, 2)], overwrite=True)
    assert len(read_features(str(path)).geometries) == 2


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(SpecError, match="expected one of"):
        write(tmp_path / "b.docx", [])


def test_batches_are_regrouped_without_loss(monkeypatch):
    monkeypatch.setattr(vector, "BATCH_FEATURES", 7)
    sizes = [3, 20, 1, 1, 7, 2]
    firsts = np.cumsum([1, *sizes[:-1]])
    grouped = list(vector._gathered(batch(f, n) for f, n in zip(firsts, sizes, strict=True)))
    assert [len(each.geometries) for each in grouped] == [7, 7, 7, 7, 6]
    ids = np.concatenate([each.attributes["id"] for each in grouped])
    assert ids.tolist() == list(range(1, 35))


def test_geojson_keeps_the_rules_of_rfc_7946(tmp_path):
    clockwise = shapely.Polygon(
        [(0, 0), (0, 9), (9, 9), (9, 0)], [[(2, 2), (4, 2), (4, 4), (2, 4)]]
    )
    text = io.StringIO()
    with GeoJSONWriter(text) as writer:
        writer.write(np.array([clockwise]), {"id": np.array([1])})
        writer.write(np.array([shapely.box(-1e-9, 0, 1 / 3, 1)]), {"id": [2]})
    document = json.loads(text.getvalue())
    assert document["type"] == "FeatureCollection"
    assert "crs" not in document
    shell, hole = document["features"][0]["geometry"]["coordinates"]
    assert shapely.LinearRing(shell).is_ccw
    assert not shapely.LinearRing(hole).is_ccw
    assert shell[0] == shell[-1]
    assert "0.3333333," in text.getvalue()
    assert "-0.0" not in text.getvalue()


def test_geojson_is_cut_at_the_antimeridian():
    crs = "EPSG:32601"  # its western edge is the antimeridian
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(180.0, -17.0)
    (cut,) = to_lonlat(np.array([shapely.box(x - 500, y, x + 1500, y + 1000)]), crs)
    assert cut.geom_type == "MultiPolygon"
    assert cut.bounds[0::2] == (-180, 180)
    widths = sorted(part.bounds[2] - part.bounds[0] for part in cut.geoms)
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.05)
    assert cut.is_valid


def test_degrees_are_longitude_first():
    (box,) = to_lonlat(
        np.array([shapely.box(400_000, 5_500_000, 400_010, 5_500_010)]), "EPSG:32633"
    )
    assert box.centroid.coords[0] == pytest.approx((13.617, 49.644), abs=0.01)


@pytest.mark.parametrize("name", ["absent.gpkg", "text.geojson", "plain.parquet", "table.csv"])
def test_what_cannot_be_read_is_one_line(tmp_path, name):
    path = tmp_path / name
    if name == "text.geojson":
        path.write_text("no json")
    elif name == "table.csv":
        path.write_text("a,b\n1,2\n")
    elif name == "plain.parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
    with pytest.raises(InputError) as caught:
        read_features(str(path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".parquet"])
def test_a_writer_that_fails_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, suffix):
    """The features are not to blame, and the library between must not hide what happened."""

    def failing(*_, **__):
        raise OSError("no space left on device")

    # What each writer calls for every batch.
    monkeypatch.setattr(vector, "to_lonlat", failing)
    monkeypatch.setattr(vector, "_record_batches", failing)
    box = np.array([shapely.box(0, 0, 1, 1)])
    batches = [FeatureBatch(geometries=box, attributes={"id": np.array([i])}) for i in range(3)]
    layer = Layer(fields={"id": "int"}, crs="EPSG:32633")
    with pytest.raises(OutputError, match="no space left"):
        write_features(str(tmp_path / f"b{suffix}"), iter(batches), layer)
    assert not list(tmp_path.iterdir())


def layers(path, **shapes):
    """A GeoPackage with one layer for each keyword."""
    for name, geometry in shapes.items():
        table = geopandas.GeoDataFrame({name: [1]}, geometry=[geometry], crs="EPSG:32633")
        table.to_file(path, layer=name, mode="a" if path.exists() else "w")
    return str(path)


def test_the_layer_of_polygons_is_read_and_none_of_two_is_guessed(tmp_path):
    trees, park = shapely.MultiPoint([(1, 1), (2, 2)]), shapely.box(0, 0, 9, 9)
    one = layers(tmp_path / "one.gpkg", trees=trees, parks=park)
    assert read_features(one).geometries[0].equals(park)
    assert attribute_names(one) == ["parks"]
    two = layers(tmp_path / "two.gpkg", parks=park, houses=park)
    for read in (read_features, attribute_names):
        with pytest.raises(InputError, match="2 layers of polygons: parks, houses") as caught:
            read(two)
        assert "ogr2ogr" in str(caught.value)


def test_measures_along_corners_are_left_out_without_a_word(tmp_path):
    """In a process of its own: pytest has warnings of its own taste."""
    square = "POLYGON ZM ((0 0 1 2, 4 0 1 2, 4 4 1 2, 0 4 1 2, 0 0 1 2))"
    (tmp_path / "measured.csv").write_text(f'shape\n"{square}"\n')
    (tmp_path / "measured.vrt").write_text(
        '<OGRVRTDataSource><OGRVRTLayer name="measured"><SrcDataSource relativeToVRT="1">'
        "measured.csv</SrcDataSource><GeometryType>wkbPolygonZM</GeometryType>"
        '<GeometryField encoding="WKT" field="shape"/></OGRVRTLayer></OGRVRTDataSource>'
    )
    code = (
        "import sys; from geotiler.io.vector_reading import read_features; "
        "print(read_features(sys.argv[1]).geometries[0].wkt)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "measured.vrt")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stderr == ""
    found = shapely.from_wkt(told.stdout)
    assert found.equals(shapely.box(0, 0, 4, 4))
    assert not shapely.has_z(found)

"""Styles are XML that says what the classes are; QGIS itself is asked in tests/system."""

from __future__ import annotations

import sqlite3
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotiler.core.qgis_style import (
    StyledClass,
    geopackage_style,
    is_own_style,
    ramp_qml,
    raster_qml,
    vector_qml,
)

names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)
colors = st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}")


@given(st.lists(st.tuples(names, colors), min_size=1, max_size=6))
def test_names_and_colours_come_back_whatever_they_hold(items: list[tuple[str, str]]) -> None:
    classes = [
        StyledClass(value=index, name=name, color=color)
        for index, (name, color) in enumerate(items)
    ]
    entries = ElementTree.fromstring(raster_qml(classes)).iter("paletteEntry")
    found = [(int(e.get("value", "")), e.get("label"), e.get("color")) for e in entries]
    assert found == [(item.value, item.name, item.color) for item in classes]
    root = ElementTree.fromstring(vector_qml(classes, "kind"))
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert renderer.get("attr") == "kind"
    assert [e.get("label") for e in root.iter("category")] == [item.name for item in classes]
    outlines = [e.get("value") for e in root.iter("Option") if e.get("name") == "outline_color"]
    wanted = [",".join(str(value) for value in bytes.fromhex(item.color[1:])) for item in classes]
    assert outlines == [f"{text},255" for text in wanted]


def test_a_mask_shows_what_lies_below_its_background() -> None:
    named = [(0, "background"), (1, "building"), (2, "background")]
    classes = [StyledClass(value=value, name=name, color="#f2f2ee") for value, name in named]
    entries = ElementTree.fromstring(raster_qml(classes)).iter("paletteEntry")
    assert [entry.get("alpha") for entry in entries] == ["0", "255", "255"]
    water = [StyledClass(value=0, name="water", color="#0000ff")]  # a class as any other
    (entry,) = ElementTree.fromstring(raster_qml(water)).iter("paletteEntry")
    assert entry.get("alpha") == "255"


def test_a_ramp_runs_from_one_end_to_the_other() -> None:
    items = list(ElementTree.fromstring(ramp_qml(0.0, 2.0)).iter("item"))
    values = [float(item.get("value", "")) for item in items]
    assert (values[0], values[-1]) == (0.0, 2.0)
    assert values == sorted(values)


def test_it_knows_its_own_styles_from_those_of_a_person() -> None:
    classes = [StyledClass(value="building", name="building", color="#e4572e")]
    assert is_own_style(vector_qml(classes), "vector")
    assert not is_own_style(vector_qml(classes), "raster")
    assert not is_own_style("<qgis><renderer-v2/></qgis>", "vector")


@pytest.mark.parametrize("times", [1, 2])
def test_a_geopackage_has_one_default_style_however_often_it_is_embedded(times: int) -> None:
    base = sqlite3.connect(":memory:")
    base.execute(
        "CREATE TABLE gpkg_contents (table_name TEXT PRIMARY KEY, data_type TEXT, identifier TEXT "
        "UNIQUE, description TEXT, last_change DATETIME)"
    )
    for _ in range(times):
        for statement, values in geopackage_style("houses", "geometry", "<qgis/>"):
            base.execute(statement, values)
    rows = base.execute("SELECT f_table_name, styleQML, useAsDefault FROM layer_styles").fetchall()
    assert rows == [("houses", "<qgis/>", 1)]
    assert base.execute("SELECT table_name FROM gpkg_contents").fetchall() == [("layer_styles",)]

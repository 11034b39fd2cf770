"""Styles lie beside what they style, and a person's own are never replaced."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from geotiler.core.qgis_style import Kind, StyledClass, raster_qml, vector_qml
from geotiler.io.styles import (
    save_polygon_style,
    save_style,
    shown_classes,
    style_notices,
    styled_classes,
)

CLASSES = [StyledClass(value=1, name="house", color="#102030")]


@pytest.mark.parametrize(
    ("existing", "is_written"),
    [
        (None, True),
        (raster_qml(CLASSES), True),
        (vector_qml(CLASSES), True),
        (raster_qml(CLASSES)[:-40], True),
        ("<qgis><pipe/></qgis>", False),
    ],
    ids=["nothing there", "our own", "of polygons of that name", "our own, cut off", "a person's"],
)
def test_only_our_own_style_is_written_over(
    tmp_path: Path, existing: str | None, is_written: bool
) -> None:
    target, temporary = tmp_path / "mask.tif", tmp_path / "new" / "mask.tif"
    temporary.parent.mkdir()
    if existing is not None:
        target.with_suffix(".qml").write_text(existing)
    assert save_style(raster_qml(CLASSES), "raster", target, temporary) is is_written
    assert temporary.with_suffix(".qml").exists() is is_written


def test_polygons_take_names_and_colours_of_their_mask() -> None:
    found = styled_classes({0: "none", 2: "lake", 1: "field", 255: "?"}, {1: (1, 2, 3)})
    assert [one.name for one in found] == ["field", "lake"]
    assert found[0].color == "#010203"
    assert found[1].color != found[0].color


@pytest.mark.parametrize("order", [("raster", "vector"), ("vector", "raster")])
def test_a_raster_and_polygons_of_one_name_share_a_style(
    tmp_path: Path, order: tuple[Kind, Kind]
) -> None:
    new = StyledClass(value=1, name="new", color="#405060")
    styles: dict[Kind, str] = {"raster": raster_qml([new]), "vector": vector_qml(CLASSES)}
    beside = tmp_path / "town.qml"
    folder = tmp_path / "new"
    folder.mkdir()
    # Written a second time, each replaces its own part and nothing else.
    for kind, qml in [(order[0], styles[order[0]]), (order[1], styles[order[1]])] * 2:
        assert save_style(qml, kind, tmp_path / "town.tif", folder / "town.tif")
        (folder / "town.qml").replace(beside)
    root = ElementTree.parse(beside).getroot()
    assert [each.get("label") for each in root.findall("pipe//paletteEntry")] == ["new"]
    assert [each.get("label") for each in root.findall("renderer-v2//category")] == ["house"]
    assert len(root) == 2


@pytest.mark.parametrize(
    ("name", "style", "told"),
    [
        ("t.geojson", "<qgis><pipe/></qgis>", "without colours"),
        ("t.tif", "<qgis><renderer-v2/></qgis>", "without colours"),
        ("t.tif", "<qgis><pipe/></qgis>", "is drawn by it"),
        ("t.tif", raster_qml(CLASSES), None),
        ("t.gpkg", "<qgis><pipe/></qgis>", None),
        ("t.tif", None, None),
    ],
)
def test_a_style_that_is_left_out_is_told(
    tmp_path: Path, name: str, style: str | None, told: str | None
) -> None:
    if style is not None:
        (tmp_path / "t.qml").write_text(style)
    notes = style_notices([tmp_path / name, "-"])
    assert len(notes) == (told is not None)
    assert all(str(told) in note and "t.qml" in note for note in notes)


def test_classes_that_no_one_named_have_numbers_and_colours_of_their_own() -> None:
    many = styled_classes({2: "lake"}, {}, range(256))
    assert [one.value for one in many[:3]] == ["1", "lake", "3"], "as the attribute says"
    assert [one.name for one in many[:3]] == ["class 1", "lake", "class 3"]
    assert len(many) == 254, "neither background nor unknown"
    assert len({one.color for one in many}) == 254
    assert styled_classes({}, {}, [9])[0].color == many[8].color, "whatever else occurs"


def test_a_style_beside_polygons_is_read_back_and_grows_where_they_do(tmp_path: Path) -> None:
    target, folder = tmp_path / "a.geojsonl", tmp_path / "new"
    target.touch()
    folder.mkdir()
    first = styled_classes({1: "field & <wood>"}, {1: (1, 2, 3)})
    second = styled_classes({1: "field & <wood>", 2: "lake"}, {1: (9, 9, 9)})
    for styled, append in ((first, False), (second, True)):
        save_polygon_style(styled, target, folder / target.name, append=append)
        (folder / "a.qml").replace(tmp_path / "a.qml")
    assert shown_classes(target) == (first[0], second[1])
    save_polygon_style(second, target, folder / target.name)
    (folder / "a.qml").replace(tmp_path / "a.qml")
    assert shown_classes(target) == second, "a file that is written anew has a style of its own"


@pytest.mark.parametrize(
    "style",
    [
        "<qgis><renderer-v2 attr='owner'><categories/></renderer-v2></qgis>",
        "<qgis><renderer-v2 type='singleSymbol'/></qgis>",
        "<qgis><pipe/></qgis>",
        "<qgis",
        None,
    ],
    ids=["another attribute", "one symbol", "of a raster", "cut off", "none"],
)
def test_a_style_that_tells_no_classes_tells_none(tmp_path: Path, style: str | None) -> None:
    (tmp_path / "a.geojson").touch()
    (tmp_path / "a.gpkg").write_bytes(b"no data base")
    if style is not None:
        (tmp_path / "a.qml").write_text(style)
    assert shown_classes(tmp_path / "a.geojson") == ()
    assert shown_classes(tmp_path / "a.gpkg") == ()
    assert shown_classes(tmp_path / "nowhere.gpkg") == ()
    assert not (tmp_path / "nowhere.gpkg").exists()


def test_colours_are_read_in_both_ways_that_qgis_writes_them(tmp_path: Path) -> None:
    symbols = [
        "<prop k='color' v='10,20,30,255'/>",
        "<Option><Option name='color' value='40,50,60,90,rgb:0.1,0.2,0.3,0.4'/></Option>",
        "<Option><Option name='color' value='none'/></Option>",
    ]
    (tmp_path / "a.fgb").touch()
    (tmp_path / "a.qml").write_text(
        "<qgis><renderer-v2 attr='&quot;class&quot;'><categories>"
        + "".join(f"<category value='v{i}' symbol='{i}' label='n{i}'/>" for i in range(3))
        + "</categories><symbols>"
        + "".join(f"<symbol name='{i}'><layer>{s}</layer></symbol>" for i, s in enumerate(symbols))
        + "</symbols></renderer-v2></qgis>"
    )
    assert shown_classes(tmp_path / "a.fgb") == (
        StyledClass(value="v0", name="n0", color="#0a141e"),
        StyledClass(value="v1", name="n1", color="#28323c"),
    )

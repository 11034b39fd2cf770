"""Styles lie beside what they style, and a person's own are never replaced."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from geotiler.core.qgis_style import Kind, StyledClass, raster_qml, vector_qml
from geotiler.io.styles import save_style, style_notices, styled_classes

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

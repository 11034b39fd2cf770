"""Styles lie beside what they style, and a person's own are never replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from geotiler.core.qgis_style import StyledClass, raster_qml, vector_qml
from geotiler.io.styles import save_style, styled_classes

CLASSES = [StyledClass(value=1, name="house", color="#102030")]


@pytest.mark.parametrize(
    ("existing", "is_written"),
    [
        (None, True),
        (raster_qml(CLASSES), True),
        (vector_qml(CLASSES), False),
        ("<qgis><pipe/></qgis>", False),
    ],
    ids=["nothing there", "our own", "of polygons of that name", "a person's"],
)
def test_only_our_own_style_of_that_kind_is_replaced(
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

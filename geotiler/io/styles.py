"""Styles beside files: QGIS reads `mask.qml` with `mask.tif` and draws it as it should look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from geotiler.core.palette import PALETTE
from geotiler.core.qgis_style import Kind, StyledClass, is_own_style
from geotiler.specs import MASK_NODATA

SUFFIX = ".qml"


def styled_classes(
    names: Mapping[int, str], colours: Mapping[int, tuple[int, int, int]]
) -> tuple[StyledClass, ...]:
    """How polygons of a mask's classes are shown, by the value of their attribute `class`.

    Args:
        names: of the mask's class ids; the background has no polygons.
        colours: of its colour table; a class without one takes one of `core.palette.PALETTE`.
    """
    shown = sorted(key for key in names if 0 < key < MASK_NODATA)
    return tuple(
        StyledClass(
            value=names[key],
            name=names[key],
            color="#{:02x}{:02x}{:02x}".format(*colours.get(key, PALETTE[index % len(PALETTE)])),
        )
        for index, key in enumerate(shown)
    )


def save_style(qml: str, kind: Kind, target: Path, temporary: Path) -> bool:
    """Put a style beside a file that is being written; False if there is one to respect.

    A style that a person saved, and one of a layer of another kind and the same name, stay as
    they are: only geotiler's own are replaced.

    Args:
        qml: the style.
        kind: of layer.
        target: the file, as it will be called.
        temporary: the file that takes its place; see `io.outputs.replacing`, which moves what
            lies beside it too.
    """
    existing = target.with_suffix(SUFFIX)
    if existing.exists():
        try:
            own = is_own_style(existing.read_text(encoding="utf-8", errors="replace"), kind)
        except OSError:
            return False
        if not own:
            return False
    temporary.with_suffix(SUFFIX).write_text(qml, encoding="utf-8", newline="\n")
    return True

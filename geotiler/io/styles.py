"""Styles beside files: QGIS reads `mask.qml` with `mask.tif` and draws it as it should look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

from geotiler.core.palette import PALETTE
from geotiler.core.qgis_style import Kind, StyledClass, draws, is_own_style, joined_style
from geotiler.io.vector_formats import DRIVERS, LAYERED, STDOUT
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

    A style that a person saved stays as it is. One that geotiler wrote for a layer of the other
    kind and the same name is joined with this one: both layers open as they should.

    Args:
        qml: the style.
        kind: of layer.
        target: the file, as it will be called.
        temporary: the file that takes its place; see `io.outputs.replacing`, which moves what
            lies beside it too.
    """
    existing = _existing(target)
    joined = qml if existing is None else joined_style(qml, kind, existing)
    if joined is None:
        return False
    temporary.with_suffix(SUFFIX).write_text(joined, encoding="utf-8", newline="\n")
    return True


def style_notices(targets: Iterable[Path | str]) -> list[str]:
    """A line for each file whose style will be left out, since a person's lies in its place.

    Args:
        targets: files that will be written, of any format, or "-".
    """
    return [note for target in targets if (note := _notice(Path(target)))]


def _notice(target: Path) -> str | None:
    driver = DRIVERS.get(target.suffix.lower())
    if target == Path(STDOUT) or driver in LAYERED:  # which carry their style inside
        return None
    kind: Kind = "raster" if driver is None else "vector"
    existing = _existing(target)
    if existing is None or any(is_own_style(existing, each) for each in get_args(Kind)):
        return None
    style = target.with_suffix(SUFFIX)
    if draws(existing, kind):
        return f"{style} was not written by geotiler and is kept: {target.name} is drawn by it"
    return (
        f"{style} was not written by geotiler and is kept, but is for another layer: "
        f"{target.name} opens in QGIS without colours and names (another name for it brings them)"
    )


def _existing(target: Path) -> str | None:
    """The style that lies beside a file; None: there is none, empty: it cannot be read."""
    try:
        return target.with_suffix(SUFFIX).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""

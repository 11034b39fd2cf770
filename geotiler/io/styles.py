"""Styles beside files: QGIS reads `mask.qml` with `mask.tif` and draws it as it should look."""

from __future__ import annotations

from pathlib import Path

from geotiler.core.qgis_style import Kind, is_own_style

SUFFIX = ".qml"


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

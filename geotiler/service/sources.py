"""Scenes that a caller names instead of uploading: only from where the operator said so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from geotiler.service.problems import Problem

_SCHEMES = ("http", "https", "s3", "gs", "az")


def allowed_source(name: str, prefixes: Sequence[str]) -> str:
    """The path or URL to open for a scene that a caller names.

    A path is resolved first, links included, and must lie in an allowed folder; a URL must have
    scheme, host and port of an allowed one and a path below its path. GDAL's own names (`/vsi...`,
    `DRIVER:file`) are no paths, so they never fit.

    Raises:
        Problem: 403, the same whether there is something at that place or not.
    """
    refusal = Problem(
        403,
        f"{name[:200]!r} is not below a place that this service may read",
        hint="upload the scene, or ask the operator to allow its folder or URL",
    )
    if "\0" in name or not name.strip():
        raise refusal
    if "://" in name:
        if any(_is_below(name, prefix) for prefix in prefixes if "://" in prefix):
            return name
        raise refusal
    folders = [Path(prefix).resolve() for prefix in prefixes if "://" not in prefix]
    try:
        path = Path(name)
        resolved = path.resolve(strict=True)
        fits = path.is_absolute() and resolved.is_file()
    except (OSError, RuntimeError, ValueError):  # not there, a loop of links, too long a name
        raise refusal from None
    if fits and any(resolved.is_relative_to(folder) for folder in folders):
        return str(resolved)
    raise refusal


def _is_below(name: str, prefix: str) -> bool:
    """True if a URL lies below an allowed one, taken apart rather than compared as text."""
    try:
        url, allowed = urlsplit(name), urlsplit(prefix)
        ports = url.port, allowed.port
    except ValueError:
        return False
    if url.scheme not in _SCHEMES or url.scheme != allowed.scheme or ports[0] != ports[1]:
        return False
    if "@" in url.netloc or url.hostname != allowed.hostname or url.fragment:
        return False
    parts = unquote(unquote(url.path)).replace("\\", "/").split("/")
    if ".." in parts:
        return False
    folder = allowed.path.rstrip("/")
    return url.path == folder or url.path.startswith(f"{folder}/")

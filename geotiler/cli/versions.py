"""The versions that matter for a report of a defect."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

from geotiler import __version__

_PACKAGES = (
    "numpy",
    "rasterio",
    "pyogrio",
    "pyproj",
    "shapely",
    "geopandas",
    "openvino",
    "onnxruntime",
    "torch",
    "segmentation-models-pytorch",
    "lightning",
    "dask",
    "fastapi",
    "typer",
)


def versions() -> dict[str, Any]:
    """Versions of geotiler, of Python, of the system, and of what the numbers come from."""
    return {
        "geotiler": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "gdal": _gdal(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gdal() -> dict[str, str]:
    """GDAL as rasterio and pyogrio carry it: they may differ."""
    from geotiler.io.versions import gdal_versions

    return gdal_versions()

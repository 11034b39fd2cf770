"""Which GDAL reads and writes."""

from __future__ import annotations

import pyogrio
import rasterio


def gdal_versions() -> dict[str, str]:
    """Version of GDAL by the library that carries it; rasters and vectors may have their own."""
    return {
        "rasterio": str(rasterio.__gdal_version__),
        "pyogrio": ".".join(str(part) for part in pyogrio.__gdal_version__),
    }

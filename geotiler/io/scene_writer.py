"""Scenes written strip by strip: RGB, lossless, with what was never seen in an internal mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.windows import Window as RasterWindow

from geotiler.errors import OutputError
from geotiler.io.cache import CACHE_BYTES
from geotiler.specs import Window

BLOCK_PX = 512
"""Side of a block of the file; strips of whole blocks are written once, not read back."""


class SceneWriter:
    """An RGB scene that is being written; made by `create_scene`."""

    def __init__(self, dataset: Any) -> None:
        """Args: dataset: open for writing, three uint8 bands."""
        self._dataset = dataset

    def write(self, window: Window, rgb: NDArray[np.uint8], valid: NDArray[np.bool_]) -> None:
        """Writes the pixels of a window: rgb (3, h, w), valid (h, w), True = valid."""
        place = RasterWindow(window.col, window.row, window.width, window.height)
        self._dataset.write(rgb, window=place)
        self._dataset.write_mask(valid, window=place)


@contextmanager
def create_scene(
    path: Path,
    *,
    shape: tuple[int, int],
    crs: str,
    transform: Sequence[float],
    tags: dict[str, str] | None = None,
) -> Iterator[SceneWriter]:
    """A new tiled GeoTIFF, deflate with horizontal prediction, closed when the block ends.

    The mask is inside the file, per data set: a black roof stays valid, which a nodata value of 0
    could not promise.

    Args:
        path: the file.
        shape: (height, width).
        crs: anything that rasterio reads.
        transform: affine coefficients (a, b, c, d, e, f) from pixels to the CRS.
        tags: of the data set.

    Raises:
        OutputError: GDAL refuses to create or write it.
    """
    height, width = shape
    # A small scene is one row of smaller blocks: TIFF wants multiples of 16.
    block = min(BLOCK_PX, max(16, -(-min(height, width) // 16) * 16))
    # The mask lies in the file itself; the cache is bounded, or it would take 5 % of the memory.
    options = {"GDAL_TIFF_INTERNAL_MASK": True, "GDAL_CACHEMAX": CACHE_BYTES}
    try:
        with (
            rasterio.Env(**options),
            rasterio.open(
                path,
                "w",
                driver="GTiff",
                height=height,
                width=width,
                count=3,
                dtype="uint8",
                crs=crs,
                transform=Affine(*tuple(transform)[:6]),
                tiled=True,
                blockxsize=block,
                blockysize=block,
                compress="deflate",
                predictor=2,
                photometric="RGB",
                bigtiff="IF_SAFER",
            ) as dataset,
        ):
            dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
            dataset.update_tags(**(tags or {}))
            yield SceneWriter(dataset)
    except rasterio.errors.RasterioError as error:
        raise OutputError(f"scene {path} cannot be written: {error}") from error

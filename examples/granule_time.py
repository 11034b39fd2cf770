"""How long a Sentinel-2 granule takes, against the bare forward time of its tiles, in one run.

    python examples/granule_time.py --model landuse [--side 10980] [--jp2]

The scene is made up: blocks of colour with noise, in a tiled GeoTIFF, or in a JPEG 2000 file for
each band as ESA delivers them, whose decoding alone takes about as long as a small network.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from geotiler.models.predictor import open_predictor
from geotiler.models.registry import find_model
from geotiler.specs import BackendSpec, ClassifySpec
from geotiler.tasks.classify import classify

BANDS = ("B04", "B03", "B02")


def written(folder: Path, side: int, jp2: bool) -> tuple[str, ...]:
    """The files of a made-up granule."""
    random = np.random.default_rng(0)
    base = random.integers(300, 1800, (3, side // 64 + 1, side // 64 + 1))
    profile: dict[str, Any] = {
        "width": side, "height": side, "dtype": "uint16", "crs": "EPSG:32633",
        "transform": Affine(10, 0, 300_000, 0, -10, 5_400_000),
    }  # fmt: skip
    planes = []
    for blocks in base:
        plane = np.repeat(np.repeat(blocks, 64, axis=0), 64, axis=1)[:side, :side]
        planes.append((plane + random.integers(0, 128, plane.shape)).astype(np.uint16))
    if not jp2:
        path = folder / "granule.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=3, tiled=True, blockxsize=512, blockysize=512,
            compress="deflate", predictor=2, nodata=0, **profile,
        ) as file:  # fmt: skip
            file.write(np.stack(planes))
        return (str(path),)
    for name, plane in zip(BANDS, planes, strict=True):
        with rasterio.open(
            folder / f"{name}.jp2", "w", driver="JP2OpenJPEG", count=1, QUALITY="100",
            REVERSIBLE="YES", BLOCKXSIZE="1024", BLOCKYSIZE="1024", **profile,
        ) as file:  # fmt: skip
            file.write(plane, 1)
    return tuple(str(folder / f"{name}.jp2") for name in BANDS)


def main() -> None:
    """Print both times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="landuse")
    parser.add_argument("--side", type=int, default=10_980)
    parser.add_argument("--stride", type=int, default=64)
    parser.add_argument("--jp2", action="store_true")
    asked = parser.parse_args()
    run = BackendSpec(device="cpu")
    with tempfile.TemporaryDirectory() as name:
        scene = written(Path(name), asked.side, asked.jp2)
        spec = ClassifySpec(
            scene=scene,
            output=f"{name}/map.tif",
            model=asked.model,
            stride_px=asked.stride,
            run=run,
        )
        report = classify(spec)
    predictor = open_predictor(find_model(asked.model), device="cpu", batch=run.batch)
    tile = np.random.default_rng(1).standard_normal(
        (run.batch, 3, *predictor.tile_shape), dtype=np.float32
    )
    predictor(tile)
    started = time.perf_counter()
    for _ in range(-(-report.tiles // run.batch)):
        predictor(tile)
    bare = time.perf_counter() - started
    print(f"{report.tiles} tiles, {predictor.name}: bare forward {bare:.1f} s, classify")
    print(f"{report.seconds:.1f} s ({report.network_seconds:.1f} s of it in the network),")
    print(f"ratio {report.seconds / bare:.3f}, peak {report.peak_memory_bytes / 1e6:.0f} MB")


if __name__ == "__main__":
    main()

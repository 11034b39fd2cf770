"""The peers of `geotiler segment`, and the bare forward pass, each in a process of its own.

    python contenders.py CONTENDER --model FOLDER --scene scene.tif --output mask.tif

All of them run the very network of the model folder, write a mask as GeoTIFF and print one JSON
object. What each one does is what its own documentation shows; see the docstrings.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

TILE_PX, OVERLAP_PX = 512, 128
"""What the fixed comparison gives to everybody."""


def _network(folder: str) -> Any:
    from geotiler.models.bundle import load_network
    from geotiler.models.registry import find_model

    return load_network(find_model(folder)).eval()


def _normalised(pixels: Any, model: str) -> Any:
    """The network's input of uint8 pixels (..., 3, row, col), as its card says."""
    from geotiler.models.registry import find_model

    card = find_model(model).card
    mean = np.array(card.mean, np.float32)[:, None, None]
    std = np.array(card.std, np.float32)[:, None, None]
    return (pixels / np.float32(255) - mean) / std


def _write(path: str, scene: str, mask: Any) -> None:
    import rasterio

    with rasterio.open(scene) as source:
        profile = {
            "driver": "GTiff", "dtype": "uint8", "count": 1, "height": source.height,
            "width": source.width, "crs": source.crs, "transform": source.transform,
            "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate",
        }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(mask, 1)


def limit(arguments: argparse.Namespace) -> dict[str, Any]:
    """The bare forward pass of as many windows as asked for, on one backend, nothing else.

    Compiling and the first window are not counted.
    """
    from geotiler.models.predictor import open_predictor
    from geotiler.models.registry import find_model
    from geotiler.specs import Backend

    shape = (arguments.tile_height or TILE_PX, arguments.tile_width or TILE_PX)
    predictor = open_predictor(
        find_model(arguments.model), backend=Backend(arguments.backend), tile_shape=shape
    )
    tile = np.random.default_rng(0).normal(size=(1, 3, *shape)).astype(np.float32)
    predictor(tile)
    started = time.perf_counter()
    for _ in range(arguments.windows):
        predictor(tile)
    seconds = time.perf_counter() - started
    pixels = arguments.windows * shape[0] * shape[1]
    return {"seconds": seconds, "pixels": pixels, "backend": predictor.name}


def monai(arguments: argparse.Namespace) -> dict[str, Any]:
    """`monai.inferers.sliding_window_inference` on the scene in memory, sw_batch_size 4.

    Source: docs of monai.inferers; Gaussian blending where ours blends, else its default.
    """
    import rasterio
    import torch
    from monai.inferers import sliding_window_inference

    network = _network(arguments.model)
    started = time.perf_counter()
    with rasterio.open(arguments.scene) as source:
        pixels = source.read((1, 2, 3))
    image = torch.from_numpy(_normalised(pixels, arguments.model))[None]
    fixed = {} if arguments.defaults else {"overlap": OVERLAP_PX / TILE_PX, "mode": "gaussian"}
    with torch.inference_mode():
        logits = sliding_window_inference(image, TILE_PX, 4, network, **fixed)
    _write(arguments.output, arguments.scene, (logits[0, 0] > 0).numpy().astype(np.uint8))
    return {"seconds": time.perf_counter() - started}


def torchgeo(arguments: argparse.Namespace) -> dict[str, Any]:
    """A `GridGeoSampler` over a `RasterDataset`, windows averaged where they overlap.

    Source: TorchGeo's documentation of GridGeoSampler, which leaves the merging to the user.
    """
    from geotiler.models.vision import torchvision

    torchvision()  # beside a torch without CUDA its import needs this first
    import rasterio
    import torch
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    network = _network(arguments.model)
    started = time.perf_counter()
    dataset = RasterDataset(arguments.scene)
    stride = TILE_PX if arguments.defaults else TILE_PX - OVERLAP_PX
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=GridGeoSampler(dataset, size=TILE_PX, stride=stride),
        collate_fn=stack_samples,
    )
    with rasterio.open(arguments.scene) as source:
        shape, inverse = source.shape, ~source.transform
    total = np.zeros(shape, np.float32)
    weight = np.zeros(shape, np.float32)
    with torch.inference_mode():
        for batch in loader:
            image = torch.from_numpy(_normalised(batch["image"].numpy(), arguments.model))
            answers = torch.sigmoid(network(image))[:, 0].numpy()
            for place, answer in zip(batch["bounds"], answers, strict=True):
                left, top = _corner(place)
                col, row = (round(value) for value in inverse * (left, top))
                # Its grid begins below and ends beyond the scene: what lies outside is left out.
                rows = slice(max(row, 0), min(row + TILE_PX, shape[0]))
                cols = slice(max(col, 0), min(col + TILE_PX, shape[1]))
                if rows.start < rows.stop and cols.start < cols.stop:
                    inside = answer[
                        rows.start - row : rows.stop - row, cols.start - col : cols.stop - col
                    ]
                    total[rows, cols] += inside
                    weight[rows, cols] += 1
    mask = total / np.maximum(weight, 1) >= 0.5
    _write(arguments.output, arguments.scene, mask.astype(np.uint8))
    return {"seconds": time.perf_counter() - started}


def _corner(bounds: Any) -> tuple[float, float]:
    """Left and top of a sample's bounds, which older releases give as slices."""
    if isinstance(bounds, tuple):
        return bounds[0].start, bounds[1].stop
    values = [float(value) for value in bounds]
    return values[0], values[4]  # x start, stop, step, y start, stop, step, ...


def geoai(arguments: argparse.Namespace) -> dict[str, Any]:
    """`geoai.inference.predict_geotiff`, with its own defaults or with our tile and overlap."""
    from geotiler.models.vision import torchvision

    torchvision()
    from geoai.inference import predict_geotiff

    network = _network(arguments.model)
    started = time.perf_counter()
    fixed = {} if arguments.defaults else {"tile_size": TILE_PX, "overlap": OVERLAP_PX}
    predict_geotiff(
        network,
        arguments.scene,
        arguments.output,
        preprocess_fn=lambda pixels: _normalised(pixels, arguments.model),
        postprocess_fn=lambda logits: (logits > 0).astype(np.uint8),
        output_dtype="uint8",
        output_nodata=255,
        verbose=False,
        **fixed,
    )
    return {"seconds": time.perf_counter() - started}


CONTENDERS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "limit": limit,
    "monai": monai,
    "torchgeo": torchgeo,
    "geoai": geoai,
}


def main() -> None:
    """Run one contender and print what it measured of itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--scene")
    parser.add_argument("--output")
    parser.add_argument("--defaults", action="store_true", help="the peer's own tile and overlap")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--windows", type=int, default=1)
    parser.add_argument("--tile-height", type=int)
    parser.add_argument("--tile-width", type=int)
    arguments = parser.parse_args()
    print(json.dumps(CONTENDERS[arguments.contender](arguments)))


if __name__ == "__main__":
    main()

"""What `segment --engine dask` costs on one machine, as a table.

1, 2 and 4 workers of one thread against this process with as many threads; both sweep the same
scene with the same model, in turns, and the best of each is compared. The cluster stands before
the time runs, and every worker has loaded its network. Wants a quiet machine of four cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from distributed import Client, LocalCluster

from geotiler.specs import Backend, Engine, SegmentSpec
from geotiler.tasks.segment import segment


def _scene(path: Path, height: int, width: int) -> None:
    """Noise: the network takes as long for it as for towns."""
    noise = np.random.default_rng(1).integers(0, 256, (3, 512, width), dtype=np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=height, width=width, dtype="uint8",
        crs="EPSG:32633", transform=Affine(0.6, 0, 5e5, 0, -0.6, 5e6), tiled=True,
    ) as out:  # fmt: skip
        for row in range(0, height, 512):
            rows = min(512, height - row)
            out.write(noise[:, :rows], window=((row, row + rows), (0, width)))


def _seconds(spec: SegmentSpec) -> tuple[float, bytes]:
    """Wall time of a run, and the mask that it wrote."""
    started = time.perf_counter()
    segment(spec)
    return time.perf_counter() - started, spec.output.read_bytes()


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=16_384)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--model", default="buildings")
    parser.add_argument("--backend", type=Backend, default=Backend.AUTO)
    options = parser.parse_args()
    print("| threads | this process (s) | workers (s) | engine costs | result |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scene.tif")
        _scene(path, options.height, options.width)
        spec = SegmentSpec(
            scene=str(path), output=Path(folder, "mask.tif"), model=options.model,
            backend=options.backend, overwrite=True,
        )  # fmt: skip
        for count in options.workers:
            print(_row(spec, count, options.rounds), flush=True)


def _row(spec: SegmentSpec, count: int, rounds: int) -> str:
    """A line of the table."""
    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        client.wait_for_workers(count)
        local = replace(spec, threads=count)
        spread = replace(spec, engine=Engine.DASK, scheduler=cluster.scheduler_address)
        masks = [_seconds(local)[1], _seconds(spread)[1]]  # networks are loaded now
        times = [(_seconds(local)[0], _seconds(spread)[0]) for _ in range(rounds)]
    alone, workers = (min(each) for each in zip(*times, strict=True))
    same = "the same bytes" if masks[0] == masks[1] else "OTHER BYTES"
    return (
        f"| {count} | {alone:.1f} | {workers:.1f} | {100 * (workers / alone - 1):+.1f} % | {same} |"
    )


if __name__ == "__main__":
    main()

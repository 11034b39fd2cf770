"""What a run costs, counted instead of timed: windows, bytes, and memory held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.core.grid import Grid, TileLimits, fitted_tile
from geotiler.core.resample import Axis
from geotiler.core.sweep import SweepCounts, SweepPlan, spanned, sweep
from geotiler.specs import Scale, SegmentSpec
from geotiler.tasks.segment import segment
from geotiler.tasks.segment_plan import plan_segment
from geotiler.tasks.segment_reading import opened_reader

LIMITS = TileLimits(largest_px=3_800_000, row_px=18_000_000, widest_px=3072)


READ_SO_FAR = Path("/proc/self/io")


@pytest.mark.parametrize(
    ("shape", "share"),
    [
        ((4573, 4418), 1.06),
        ((3072, 4096), 1.04),
        ((4573 * 64, 4418), 1.08),
        ((10_980, 10_980), 1.08),
    ],
)
def test_little_is_computed_twice(shape: tuple[int, int], share: float) -> None:
    grid = Grid(shape=shape, tile_shape=fitted_tile(shape, 64, 32, LIMITS), overlap_px=64)
    assert grid.computed_share <= share


def test_nothing_is_loaded_that_a_plain_run_does_without(tmp_path: Path, tiny_bundle: Any) -> None:
    """Imports are most of the second before the first window, and tens of megabytes."""
    scene = _noise(tmp_path / "scene.tif", 100, 100)
    code = f"""
import sys
from pathlib import Path
from geotiler.specs import SegmentSpec
from geotiler.tasks.segment import segment
segment(SegmentSpec(scene={str(scene)!r}, output=Path({str(tmp_path / "m.tif")!r}),
                    model={str(tiny_bundle.folder)!r}, gsd_m=(0.5, 0.5), device="cpu"))
print(sorted({{"torch", "onnx", "pandas", "geopandas", "pyogrio", "pyarrow", "scipy", "matplotlib",
               "hydra", "distributed"}} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_each_window_is_computed_once_and_all_of_them(
    tmp_path: Path, use_model: Callable[..., Any]
) -> None:
    model = use_model()
    scene = _noise(tmp_path / "scene.tif", 300, 400)
    spec = SegmentSpec(
        scene=str(scene),
        output=tmp_path / "mask.tif",
        model="tiny",
        tile_px=(64, 96),
        overlap_px=16,
    )
    plan = plan_segment(spec)
    report = segment(spec)
    assert model.calls == report.windows == len(plan.grid) == len(set(model.tiles))


@pytest.mark.skipif(not READ_SO_FAR.exists(), reason="counts what Linux says was read")
@pytest.mark.parametrize(
    "profile",
    [
        {"tiled": True, "blockxsize": 256, "blockysize": 256},
        {"blockysize": 16},
        {"tiled": True, "blockxsize": 512, "blockysize": 512},
    ],
)
def test_every_byte_of_a_scene_is_read_once(
    profile: dict[str, Any], tmp_path: Path, use_model: Callable[..., Any]
) -> None:
    use_model()
    scene = _noise(tmp_path / "scene.tif", 1500, 1300, compress="deflate", **profile)
    spec = SegmentSpec(
        scene=str(scene), output=tmp_path / "mask.tif", model="tiny", tile_px=(256, 256),
        overlap_px=64,
    )  # fmt: skip
    plan = plan_segment(spec)
    # The cache holds no row of blocks, so one that is asked for twice is read twice.
    with rasterio.Env(GDAL_CACHEMAX=300_000):
        reader = opened_reader(plan)
        before = _bytes_read()
        for panel in plan.panels:
            for window in plan.chunks(plan.stretch(panel, plan.rows)):
                reader(window)
        read = _bytes_read() - before
        reader.close()
    size = scene.stat().st_size
    assert size * 0.95 <= read <= size * 1.05 + 100_000


def test_what_a_sweep_holds_does_not_grow_with_the_scene() -> None:
    _peak_of_sweep(4_000)  # what is made once in a process is no part of it
    low, high = (_peak_of_sweep(rows) for rows in (4_000, 32_000))
    tile_bytes = 3 * 256 * 256 * 4
    # The more rows, the likelier one whose windows need the most stretches that were read.
    assert high <= low * 1.05 + 20_000
    assert high <= 12 * tile_bytes


def test_peak_memory_of_the_command_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    peaks = []
    for height in (700, 2_800):
        scene = _noise(tmp_path / f"{height}.tif", height, 600)
        command = [
            sys.executable, "-c", "from geotiler.cli.main import run; run()", "segment",
            str(scene), "-o", str(tmp_path / f"{height}_mask.tif"), "--tile", "256",
            "--overlap", "32", "--json",
        ]  # fmt: skip
        said = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
        peaks.append(json.loads(said.stdout)["peak_memory_bytes"])
    assert peaks[1] <= 1.10 * peaks[0]


def _noise(path: Path, height: int, width: int, **profile: Any) -> Path:
    """Pixels that no codec makes smaller, so that bytes on the disk are bytes of pixels."""
    pixels = np.random.default_rng(1).integers(1, 256, (3, height, width), dtype=np.uint8)
    settings = {"driver": "GTiff", "crs": "EPSG:32633", "interleave": "pixel", **profile}
    place = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
    with rasterio.open(
        path, "w", height=height, width=width, count=3, dtype="uint8", transform=place, **settings
    ) as out:
        out.write(pixels)
    return path


def _bytes_read() -> int:
    fields = dict(line.split(": ") for line in READ_SO_FAR.read_text().splitlines())
    return int(fields["rchar"])


def _peak_of_sweep(height: int) -> int:
    """Bytes that numpy and Python hold at most while 800 columns and so many rows are swept."""
    shape = (height, 800)
    grid = Grid(shape=shape, tile_shape=(256, 256), overlap_px=32)
    axes = (Axis.scaled(height, 1.0), Axis.scaled(800, 1.0))
    plan = SweepPlan(
        axes=axes,
        rows=spanned(grid.rows, 256, axes[0], (0, height)),
        columns=spanned(grid.cols, 256, axes[1], (0, 800)),
        tile_shape=(256, 256),
        classes=1,
        scale=Scale(minimum=0.0, maximum=255.0),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )

    def chunks() -> Iterator[Any]:
        for row in range(0, height, 100):
            count = min(100, height - row)
            yield np.full((3, count, 800), 7, np.uint8), np.ones((count, 800), bool)

    tracemalloc.start()
    try:
        for _ in sweep(chunks(), lambda batch: batch[:, :1] * 0 + 0.5, plan, SweepCounts()):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

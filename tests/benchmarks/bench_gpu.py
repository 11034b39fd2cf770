"""How near `geotiler segment` comes to a GPU's bare forward pass, and whether it agrees with a CPU.

    python tests/benchmarks/bench_gpu.py --output bench/

A town is rendered once and repeated to a scene of a gigapixel. What is told: the network alone on
batches that lie on the device, the sweep (first window to last stored strip), the whole run (to the
finished file), and the share of the pixels of a part that the CPU decides alike. Without a GPU it
says so and ends; `--device cpu` tries the measurement itself, on a small scene.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import rasterio
import torch
from bench_segment import rendered
from rasterio.windows import Window
from rich.console import Console
from rich.table import Table

from geotiler.models.bundle import Bundle
from geotiler.models.networks import FROM_DISK
from geotiler.models.torch_predictor import TorchPredictor, available_device
from geotiler.progress import Event, StageFinished, StageStarted
from geotiler.specs import Backend, Precision, SegmentSpec
from geotiler.tasks.segment import segment
from geotiler.tasks.segment_plan import plan_segment

TOWN_PX = 4096
"""Side of the town that is repeated."""
FORWARD_S = 5.0
"""How long the bare network is measured."""
GOAL, AGREEMENT = 0.70, 0.999


@dataclass
class Resident:
    """Torch's predictors, which keep their arrays on the device; the last one is remembered."""

    device: str
    precision: Precision
    opened: list[TorchPredictor] = field(default_factory=list)
    bundle = staticmethod(FROM_DISK.bundle)
    tile_shape = staticmethod(FROM_DISK.tile_shape)

    def predictor(
        self, bundle: Bundle, *, batch: int | None, tile_shape: tuple[int, int], **_: Any
    ) -> TorchPredictor:
        """See `Networks.predictor`."""
        self.opened[:] = [
            TorchPredictor(
                bundle, device=self.device, precision=self.precision, batch=batch or 1,
                tile_shape=tile_shape, threads=None, is_resident=True,
            )
        ]  # fmt: skip
        return self.opened[0]


@dataclass
class Clock:
    """Hears a run: when its windows began and ended."""

    times: dict[str, float] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        """See `Reporter`."""
        if isinstance(event, StageStarted | StageFinished):
            self.times[f"{event.stage} {type(event).__name__}"] = time.perf_counter()

    @property
    def sweep_s(self) -> float:
        """From the first window to the last stored strip."""
        return self.times["segment StageFinished"] - self.times["segment StageStarted"]


def repeated(folder: Path, side_px: int) -> Path:
    """A square scene of one town over and over, made once and kept."""
    path = folder / f"towns_{side_px}.tif"
    if path.exists():
        return path
    town_px = min(TOWN_PX, side_px)
    with rasterio.open(rendered(folder, town_px, town_px)) as source:
        town, profile = source.read(), source.profile
    profile.update(
        driver="GTiff", height=side_px, width=side_px, tiled=True, blockxsize=512, blockysize=512,
        compress="deflate", zlevel=1, bigtiff="yes", num_threads="all_cpus",
    )  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        for row in range(0, side_px, town_px):
            for col in range(0, side_px, town_px):
                part = town[:, : side_px - row, : side_px - col]
                out.write(part, window=Window(col, row, part.shape[2], part.shape[1]))
    return path


def forward_px_per_s(predictor: TorchPredictor, seconds: float) -> float:
    """Pixels that the bare network answers for, on batches that lie on the device."""
    shape = (predictor.batch, len(predictor.card.bands), *predictor.tile_shape)
    device = predictor.resident.arrays.device
    tiles = torch.randn(shape, device=device)

    def ended() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    for _ in range(3):
        predictor.answers_there(tiles, predictor.batch)
    begin, passes = ended(), 0
    while (elapsed := ended() - begin) < seconds:
        for _ in range(4):  # the host runs ahead, as it does in a sweep
            predictor.answers_there(tiles, predictor.batch)
        passes += 4
    return passes * math.prod((predictor.batch, *predictor.tile_shape)) / elapsed


def agreement(spec: SegmentSpec, mask: Path, side_px: int, folder: Path) -> float:
    """Share of the pixels of a part that a CPU, at the same tiles in float32, decides alike."""
    with rasterio.open(mask) as found:
        side_px = min(side_px, found.height, found.width)
        place = Window(0, 0, side_px, side_px)
        ours, bounds = found.read(1, window=place), found.window_bounds(place)
    part = replace(
        spec, output=folder / "part_cpu.tif", device="cpu", backend=Backend.AUTO, bounds=bounds,
        precision=Precision.FLOAT32, batch=1,
    )  # fmt: skip
    segment(part)
    with rasterio.open(part.output) as found:
        theirs = found.read(1)
    return float((ours == theirs).mean())


def measured(arguments: argparse.Namespace, device: str, console: Console) -> dict[str, Any]:
    """Everything, in network pixels per second where speeds are compared."""
    side_px = math.isqrt(arguments.mpx * 10**6 - 1) + 1
    console.print(f"rendering {side_px}×{side_px} px")
    scene = repeated(arguments.output, side_px)
    spec = SegmentSpec(
        scene=str(scene), output=arguments.output / "mask_gpu.tif", model=arguments.model,
        device=device, backend=Backend.TORCH, batch=arguments.batch, overwrite=True,
        precision=Precision(arguments.precision), gsd_m=(arguments.gsd,) * 2 if arguments.gsd
        else None,
    )  # fmt: skip
    plan = plan_segment(spec)
    if any(axis.ratio != 1 for axis in plan.axes):
        raise SystemExit("the scene would be resampled on the host: give --gsd of the model")
    tile_shape = plan.grid.tile_shape
    spec = replace(spec, tile_px=tile_shape)
    way = Resident(device, Precision(arguments.precision))
    predictor = way.predictor(plan.bundle, batch=arguments.batch, tile_shape=tile_shape)
    forward = forward_px_per_s(predictor, FORWARD_S)
    del predictor
    console.print(f"the network alone: {forward / 1e6:.0f} Mpx/s at batch {arguments.batch}")
    clock = Clock()
    report = segment(spec, report=clock, networks=way)
    network_px = report.windows * math.prod(tile_shape)
    alike = agreement(spec, spec.output, arguments.part, arguments.output)
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return {
        "device": name,
        "backend": report.backend,
        "scene": [side_px, side_px],
        "tile": list(tile_shape),
        "batch": arguments.batch,
        "computed_share": network_px / side_px**2,
        "forward_mpx_per_s": forward / 1e6,
        "sweep_mpx_per_s": network_px / clock.sweep_s / 1e6,
        "whole_mpx_per_s": network_px / report.seconds / 1e6,
        "sweep_over_forward": network_px / clock.sweep_s / forward,
        "whole_over_forward": network_px / report.seconds / forward,
        "returned_bytes_per_px": way.opened[0].resident.arrays.returned_bytes / side_px**2,
        "agreement_with_cpu": alike,
        "goals": {
            f"whole run over the bare forward ≥ {GOAL}":
                network_px / report.seconds / forward >= GOAL,
            f"agreement with the CPU ≥ {AGREEMENT}": alike >= AGREEMENT,
        },
    }  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("bench"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="buildings")
    parser.add_argument("--mpx", type=int, default=1_000, help="megapixels of the scene")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", default="float16")
    parser.add_argument("--gsd", type=float, help="of the scene, where it is not the model's")
    parser.add_argument("--part", type=int, default=4096, help="side compared with the CPU, px")
    arguments = parser.parse_args()
    console = Console()
    device = "cpu" if arguments.device == "cpu" else available_device(arguments.device)
    if device == "cpu" and arguments.device == "auto":
        console.print("no GPU that torch can use: nothing measured")
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = measured(arguments, device, console)
    table = Table("", "measured")
    for key, value in result.items():
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    console.print(table)
    path = arguments.output / "gpu.json"
    path.write_text(json.dumps(result, indent=1))
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()

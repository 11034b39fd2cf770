"""How fast `geotiler segment` is, against the limit of the machine and against its peers.

    python tests/benchmarks/bench_segment.py --output bench/            # the comparison
    python tests/benchmarks/bench_segment.py --output bench/ --scaling  # size against time, memory

Everything runs as a process of its own, the entries of a round one after the other, several
rounds, so that whatever else the machine does hits all of them. What is compared are ratios within
a round; the table gives their medians. Peers that are not installed are named and left out:
`pip install monai torchgeo geoai-py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from whole_process import Cost, cost_of

TILE_PX, OVERLAP_PX = 512, 128
"""Of the fixed comparison: the same for everybody."""
LIMIT_WINDOWS = 12
"""Forward passes of one measurement of the limit."""
PEERS = ("monai", "torchgeo", "geoai")
PEER_PACKAGES = {"monai": "monai", "torchgeo": "torchgeo", "geoai": "geoai"}
HERE = Path(__file__).parent
PYTHON = [sys.executable, "-W", "ignore"]
GEOTILER = [*PYTHON, "-c", "from geotiler.cli.main import run; run()"]


@dataclass(frozen=True)
class Entry:
    """One thing that is measured, once a round."""

    name: str
    command: Sequence[str]
    costs: list[Cost] = field(default_factory=list)

    def median(self, what: str) -> float:
        """Median over the rounds of a field of `Cost`, or of what the command said of itself."""
        return statistics.median(self.each(what))

    def each(self, what: str) -> list[float]:
        """One value per round."""
        return [float(getattr(c, what, None) or c.answer.get(what) or 0) for c in self.costs]


def rendered(folder: Path, height: int, width: int) -> Path:
    """A scene of a town at 0.5 m, made once and kept."""
    path = folder / f"town_{height}x{width}.tif"
    if not path.exists():
        shape = ["--height", str(height), "--width", str(width), "--seed", "7"]
        cost_of(
            [*PYTHON, str(HERE.parent.parent / "examples" / "render_scene.py"), str(path), *shape]
        )
    return path


def segment(name: str, scene: Path, folder: Path, *options: str) -> Entry:
    """`geotiler segment` with options."""
    output = folder / "out" / f"{name.replace(' ', '_').replace('/', '_')}.tif"
    command = [*GEOTILER, "segment", str(scene), "-o", str(output), "--overwrite", "--json"]
    return Entry(name, [*command, *options])


def contender(name: str, kind: str, *options: str) -> Entry:
    """An entry of contenders.py."""
    return Entry(name, [*PYTHON, str(HERE / "contenders.py"), kind, *options])


def limit(name: str, model: str, tile: tuple[int, int], backend: str) -> Entry:
    """The bare forward pass on one backend."""
    shape = ["--tile-height", str(tile[0]), "--tile-width", str(tile[1])]
    windows = max(2, round(LIMIT_WINDOWS * 512 * 512 / (tile[0] * tile[1])))
    return contender(
        name, "limit", "--model", model, "--backend", backend, "--windows", str(windows), *shape
    )


def run_rounds(entries: Sequence[Entry], rounds: int, console: Console) -> None:
    """Measure every entry once a round, in turn."""
    for number in range(rounds):
        for entry in entries:
            cost = cost_of(entry.command)
            entry.costs.append(cost)
            console.print(
                f"round {number + 1}/{rounds}  {entry.name}: {cost.wall_s:.1f} s wall, "
                f"{cost.cpu_s:.1f} s CPU, {cost.peak_bytes / 1e6:.0f} MB"
            )


def ratio(above: Iterable[float], below: Iterable[float]) -> float:
    """Median over the rounds of one over the other."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def fastest(entries: Sequence[Entry], what: str = "wall_s") -> Entry:
    """The one with the smallest median."""
    return min(entries, key=lambda entry: entry.median(what))


def computes_bfloat16() -> bool:
    """Whether this CPU does, so that `--precision bfloat16` is worth a row."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def planned(scene: Path, model: str) -> dict[str, Any]:
    """Tile, windows and share of the pixels that `geotiler segment` would compute."""
    from geotiler.specs import SegmentSpec
    from geotiler.tasks.segment_plan import plan_segment

    spec = SegmentSpec(scene=str(scene), output=Path("unwritten.tif"), model=model)
    plan = plan_segment(spec, will_write=False)
    return {
        "tile": plan.grid.tile_shape,
        "windows": len(plan.grid),
        "network_px": plan.grid.shape[0] * plan.grid.shape[1],
        "computed_share": plan.grid.computed_share,
    }


def limit_seconds(entry: Entry, network_px: float) -> list[float]:
    """Seconds per round that the bare network takes for so many pixels."""
    return [c.answer["seconds"] / c.answer["pixels"] * network_px for c in entry.costs]


def comparison(folder: Path, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Default settings and a fixed network, against the limit and the peers."""
    scene = rendered(folder, arguments.height, arguments.width)
    pixels = arguments.height * arguments.width
    peers = [peer for peer in PEERS if importlib.util.find_spec(PEER_PACKAGES[peer])]
    for peer in set(PEERS) - set(peers):
        console.print(f"{peer} is not installed and left out: pip install {peer}", style="yellow")
    goals: list[dict[str, Any]] = []
    rows: list[Entry] = []
    default_plan = planned(scene, "buildings")
    ours = segment("geotiler, shipped model, defaults", scene, folder)
    bare = [
        limit(f"limit, shipped model, {backend}", "buildings", default_plan["tile"], backend)
        for backend in ("torch", "onnx", "openvino")
    ]
    half = ["--precision", "bfloat16"] if computes_bfloat16() else []
    rows += [ours, *bare]
    if half:
        rows.append(segment("geotiler, shipped model, bfloat16", scene, folder, *half))
    fixed: dict[str, dict[str, Entry]] = {}
    for encoder in arguments.encoders.split(","):
        model = folder / f"unet_{encoder}"
        if not model.exists():
            # In a process of its own: a child's peak memory starts at what its parent holds.
            cost_of([*PYTHON, str(HERE / "fixed_network.py"), str(model), encoder])
        entries = {
            "torch": segment(
                f"geotiler, {encoder}, torch", scene, folder, "--model", str(model),
                "--tile", str(TILE_PX), "--overlap", str(OVERLAP_PX), "--backend", "torch",
            ),
            "default": segment(
                f"geotiler, {encoder}, default backend", scene, folder, "--model", str(model),
                "--tile", str(TILE_PX), "--overlap", str(OVERLAP_PX),
            ),
            "ours": segment(
                f"geotiler, {encoder}, all defaults", scene, folder, "--model", str(model),
                "--overlap", "64",
            ),
            "limit": limit(
                f"limit, {encoder}, openvino", str(model), (TILE_PX, TILE_PX), "openvino"
            ),
        }  # fmt: skip
        if half:
            entries["half"] = segment(
                f"geotiler, {encoder}, bfloat16", scene, folder, "--model", str(model),
                "--overlap", "64", *half,
            )  # fmt: skip
        for peer in peers:
            common = ["--model", str(model), "--scene", str(scene)]
            for kind, extra in (("fixed", []), ("defaults", ["--defaults"])):
                output = folder / "out" / f"{peer}_{encoder}_{kind}.tif"
                entries[f"{peer} {kind}"] = contender(
                    f"{peer}, {encoder}, {kind}", peer, *common, "--output", str(output), *extra
                )
        fixed[encoder] = entries
        rows += entries.values()
    (folder / "out").mkdir(exist_ok=True)
    run_rounds(rows, arguments.rounds, console)

    best = fastest(bare, "seconds")
    goals += [
        _goal("pixels computed over pixels of the scene, defaults", 1.12,
              default_plan["computed_share"]),
        _goal("defaults, first window to finished file, over the limit", 1.20,
              ratio(ours.each("seconds"), limit_seconds(best, default_plan["network_px"]))),
        _goal("peak memory, defaults, MB", 700, ours.median("peak_bytes") / 1e6),
    ]  # fmt: skip
    for encoder, entries in fixed.items():
        side = TILE_PX - OVERLAP_PX
        windows = math.prod(
            -(-(length - TILE_PX) // side) + 1 for length in (arguments.height, arguments.width)
        )
        must = limit_seconds(entries["limit"], windows * TILE_PX**2)
        goals.append(
            _goal(f"{encoder}: fixed, over the forward time of its windows", 1.08,
                  ratio(entries["default"].each("seconds"), must))
        )  # fmt: skip
        if peers:
            their = fastest([entries[f"{peer} fixed"] for peer in peers])
            loose = fastest([entries[f"{peer} defaults"] for peer in peers])
            wall = their.each("wall_s")
            wanted = 1.9 if encoder == "resnet18" else 1.3
            goals += [
                _goal(f"{encoder}: times as fast as {their.name}, torch on both sides", 1.0,
                      ratio(wall, entries["torch"].each("wall_s")), at_least=True),
                _goal(f"{encoder}: times as fast as {their.name}, default backend", wanted,
                      ratio(wall, entries["default"].each("wall_s")), at_least=True),
                _goal(f"{encoder}: times as fast as {loose.name}, everyone's defaults", 3.0,
                      ratio(loose.each("wall_s"), entries["ours"].each("wall_s")), at_least=True),
            ]  # fmt: skip
    return {"kind": "comparison", "pixels": pixels, "entries": _table(rows, pixels), "goals": goals}


def scaling(folder: Path, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Time per megapixel and peak memory against the size of the scene."""
    shapes = [(arguments.height * times, arguments.width) for times in arguments.times]
    shapes += [(2_000, 200_000)] if arguments.wide else []
    entries = []
    for height, width in shapes:
        scene = rendered(folder, height, width)
        entries.append(segment(f"{height}x{width}", scene, folder))
    (folder / "out").mkdir(exist_ok=True)
    run_rounds(entries, arguments.rounds, console)
    goals = []
    first = entries[0]
    base = first.median("seconds") / math.prod(shapes[0])
    for entry, shape in zip(entries[1:], shapes[1:], strict=True):
        per_px = entry.median("seconds") / math.prod(shape)
        memory = entry.median("peak_bytes")
        goals.append(_goal(f"{entry.name}: seconds per Mpx over {first.name}", 1.05, per_px / base))
        if shape[1] == shapes[0][1]:
            goals.append(
                _goal(f"{entry.name}: peak memory over {first.name}", 1.10,
                      memory / first.median("peak_bytes"))
            )  # fmt: skip
        else:
            goals.append(_goal(f"{entry.name}: peak memory, MB", 900, memory / 1e6))
    table = [_row(entry, math.prod(shape)) for entry, shape in zip(entries, shapes, strict=True)]
    return {"kind": "scaling", "entries": table, "goals": goals}


def _goal(what: str, wanted: float, measured: float, *, at_least: bool = False) -> dict[str, Any]:
    met = measured >= wanted if at_least else measured <= wanted
    return {
        "what": what, "goal": ("≥ " if at_least else "≤ ") + f"{wanted:g}",
        "measured": round(measured, 3), "met": met,
    }  # fmt: skip


def _row(entry: Entry, pixels: int) -> dict[str, Any]:
    wall = entry.median("wall_s")
    is_limit = "pixels" in entry.costs[0].answer
    own = entry.median("seconds")
    done = entry.costs[0].answer["pixels"] if is_limit else pixels
    return {
        "name": entry.name,
        "wall_s": round(wall, 2),
        "seconds": round(own, 2),
        "cpu_s": round(entry.median("cpu_s"), 2),
        "mpx_per_s": round(done / 1e6 / (own if is_limit else wall), 3),
        "peak_mb": round(entry.median("peak_bytes") / 1e6),
        "rounds": [asdict(cost) for cost in entry.costs],
    }


def _table(entries: Sequence[Entry], pixels: int) -> list[dict[str, Any]]:
    return [_row(entry, pixels) for entry in entries]


def _machine() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in (
        "geotiler",
        "torch",
        "openvino",
        "onnxruntime",
        "monai",
        "torchgeo",
        "geoai-py",
    ):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"cores": os.cpu_count(), "system": platform.platform(), "versions": versions}


def show(result: dict[str, Any], console: Console) -> None:
    """The two tables: what everything took, and how the goals stand."""
    table = Table("", "wall s", "own s", "CPU s", "Mpx/s", "peak MB")
    for row in result["entries"]:
        table.add_row(
            row["name"],
            *(str(row[key]) for key in ("wall_s", "seconds", "cpu_s", "mpx_per_s", "peak_mb")),
        )
    console.print(table)
    table = Table("goal", "wanted", "measured", "")
    for goal in result["goals"]:
        table.add_row(
            goal["what"], goal["goal"], str(goal["measured"]), "" if goal["met"] else "missed"
        )
    console.print(table)


def plot(result: dict[str, Any], path: Path) -> None:
    """Bars of throughput with peak memory beside them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = result["entries"]
    figure, (speed, memory) = pyplot.subplots(
        1, 2, sharey=True, figsize=(11, 1 + 0.32 * len(rows)), layout="constrained"
    )
    names = [row["name"] for row in rows]
    colours = ["#e4572e" if name.startswith("geotiler") else "#8a8f98" for name in names]
    for axis, key, title in (
        (speed, "mpx_per_s", "Mpx/s, whole process"),
        (memory, "peak_mb", "peak memory, MB"),
    ):
        bars = axis.barh(names, [row[key] for row in rows], color=colours)
        axis.bar_label(bars, padding=3, fontsize=8)
        axis.set_title(title, loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15)
    speed.invert_yaxis()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--height", type=int, default=4573)
    parser.add_argument("--width", type=int, default=4418)
    parser.add_argument("--encoders", default="mobilenet_v2,resnet18")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--wide", action="store_true", help="also 200,000 columns wide")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    console = Console()
    measure = scaling if arguments.scaling else comparison
    result = {**measure(arguments.output, arguments, console), "machine": _machine()}
    path = arguments.output / f"{result['kind']}.json"
    path.write_text(json.dumps(result, indent=1))
    plot(result, path.with_suffix(".png"))
    show(result, console)
    console.print(f"wrote {path} and {path.with_suffix('.png')}")


if __name__ == "__main__":
    main()

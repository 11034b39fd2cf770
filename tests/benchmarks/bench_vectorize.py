"""How good and how fast `geotiler vectorize` is, as one table: `make bench-vectorize`.

Times are processor seconds of one thread, so that a busy machine does not decide; ratios are of
one run. Real masks are taken from $GEOTILER_DATA or ../shared/data, and left out without it.
buildingregulariser is run by the interpreter named with --peer, which needs it, geopandas and
pyogrio; its rows are left out without one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio import features
from shapely import affinity

from geotiler.core.neighbours import apart, drawn_features
from geotiler.core.polygons import PolygonStream
from geotiler.core.regularize import Regularized, Status, regularize
from geotiler.core.synthetic import SyntheticScene
from geotiler.io.vector_reading import read_features
from geotiler.machine import peak_memory_bytes
from geotiler.specs import Regularize, VectorizeSpec, Window
from geotiler.tasks.vectorize import vectorize

DATA = Path(os.environ.get("GEOTILER_DATA", Path(__file__).parents[3] / "shared/data"))
SMALLEST_PX = 400
NOISES = ((1.5, 0.10), (2.0, 0.15), (2.0, 0.22))
"""(blur in pixels, amplitude of noise as wide): the truth itself lies 0.4, 0.6 and 0.9 pixels off
the mask's outline on average, so that the default bound refuses it to the last."""

PEER = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import geopandas, numpy, shapely
from buildingregulariser import regularize_geodataframe
source, target = sys.argv[1:]
with numpy.load(source) as stored:
    wkb, sizes = stored["wkb"].tobytes(), stored["sizes"]
ends = numpy.cumsum(sizes)
polygons = shapely.from_wkb([wkb[e - s:e] for s, e in zip(sizes, ends)])
frame = geopandas.GeoDataFrame(geometry=polygons, crs=32633)
started = time.process_time()
found = regularize_geodataframe(frame, num_cores=1, simplify_tolerance=1.0)
seconds = time.process_time() - started
wkb = [shapely.to_wkb(each) for each in found.geometry.values]
numpy.savez(target, wkb=numpy.frombuffer(b"".join(wkb), numpy.uint8),
            sizes=numpy.array([len(each) for each in wkb]), seconds=seconds)
"""

Polygons = np.ndarray


def rows_of(polygons: Polygons) -> dict[str, np.ndarray]:
    """Polygons as plain arrays."""
    wkb = [shapely.to_wkb(each) for each in polygons]
    sizes = np.array([len(each) for each in wkb])
    return {"wkb": np.frombuffer(b"".join(wkb), np.uint8), "sizes": sizes}


def peer(python: str | None, polygons: Polygons, folder: Path) -> tuple[Polygons, float] | None:
    """What buildingregulariser makes of polygons on one core, and how long it takes."""
    if python is None:
        return None
    source, target = folder / "peer_in.npz", folder / "peer_out.npz"
    np.savez(source, **rows_of(polygons))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([python, "-c", PEER, source, target], check=True, env=environment)
    with np.load(target) as found:
        wkb, ends = found["wkb"].tobytes(), np.cumsum(found["sizes"])
        sizes = found["sizes"]
        back = shapely.from_wkb([wkb[e - s : e] for s, e in zip(sizes, ends, strict=True)])
        return back, float(found["seconds"])


def outlines(mask: np.ndarray, smallest_px: float) -> Polygons:
    """Outlines of a mask."""
    stream = PolygonStream(mask.shape[1])
    found = [*stream.add_strip(mask), *stream.finish()]
    polygons = np.concatenate([each.polygons() for each in found])
    return polygons[shapely.area(polygons) >= smallest_px]


def drawn(polygons: Polygons) -> tuple[Regularized, float]:
    """Regular outlines, and the processor seconds they took."""
    size = np.ones((len(polygons), 2))
    regularize(polygons[:10], size[:10])
    started = time.process_time()
    found = regularize(polygons, size)
    return found, time.process_time() - started


def iou(one: Polygons, other: Polygons) -> np.ndarray:
    """Intersection over union of pairs."""
    one, other = shapely.make_valid(one), shapely.make_valid(other)
    joint = shapely.area(shapely.intersection(one, other))
    return joint / (shapely.area(one) + shapely.area(other) - joint)


def overlapping(polygons: Polygons) -> int:
    """Pairs that share ground."""
    one, other = shapely.STRtree(polygons).query(polygons, "intersects")
    upper = one < other
    joint = shapely.intersection(polygons[one[upper]], polygons[other[upper]])
    return int((shapely.area(joint) > 1e-6).sum())


def best_match(truth: Polygons, found: Polygons) -> np.ndarray:
    """(truth): index of the polygon that covers most of each, -1 where there is none."""
    one, other = shapely.STRtree(found).query(truth, "intersects")
    area = shapely.area(shapely.intersection(truth[one], found[other]))
    result = np.full(len(truth), -1)
    for place in np.argsort(area, kind="stable"):
        result[one[place]] = other[place]
    return result


def noisy(seed: int, blur_px: float, amplitude: float) -> tuple[Polygons, np.ndarray]:
    """Rectangles and L-shapes at all angles, and a mask of them with jittered edges."""
    rng = np.random.default_rng(seed)
    count, cell = 12, 96
    truth = []
    for place in range(count * count):
        width, height = rng.uniform(18, 56, 2)
        shape = shapely.box(-width / 2, -height / 2, width / 2, height / 2)
        if place % 2:
            cut = rng.uniform(0.3, 0.6, 2) * (width, height)
            corner = shapely.box(-width, -height, cut[0] - width / 2, cut[1] - height / 2)
            shape = shapely.difference(shape, corner)
        shape = affinity.rotate(shape, rng.uniform(0, 90), origin=(0, 0))
        at = (np.array(divmod(place, count)) + 0.5) * cell + rng.uniform(-4, 4, 2)
        truth.append(affinity.translate(shape, *at))
    side = count * cell
    big = [affinity.scale(each, 4, 4, origin=(0, 0)) for each in truth]
    fine = features.rasterize(big, out_shape=(4 * side, 4 * side)).astype(np.float32)
    share = cv2.GaussianBlur(
        cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA), (0, 0), blur_px
    )
    noise = cv2.GaussianBlur(rng.normal(size=share.shape).astype(np.float32), (0, 0), blur_px)
    share = share + amplitude * noise / noise.std() * np.sqrt(
        np.clip(4 * share * (1 - share), 0, 1)
    )
    return np.array(truth), (share >= 0.5).astype(np.uint8)


def right_corners(polygon: shapely.Polygon, truth: shapely.Polygon) -> tuple[int, int]:
    """Edges' corners within 3° of the truth's right angles, and corners; 45° edges left out."""
    box = shapely.get_coordinates(shapely.minimum_rotated_rectangle(truth))
    step = np.diff(shapely.get_coordinates(truth.exterior), axis=0)
    longest = step[np.hypot(*step.T).argmax()] if len(step) else box[1] - box[0]
    own = np.degrees(np.arctan2(longest[1], longest[0]))
    good = number = 0
    for ring in shapely.get_rings(polygon):
        edge = np.diff(shapely.get_coordinates(ring), axis=0)
        off = np.remainder(np.degrees(np.arctan2(edge[:, 1], edge[:, 0])) - own + 45, 90) - 45
        diagonal = np.abs(np.abs(off) - 45) < 3
        square = np.abs(off) < 3
        counted = ~(diagonal | np.roll(diagonal, -1))
        good += int((square & np.roll(square, -1) & counted).sum())
        number += int(counted.sum())
    return good, number


def rendered() -> tuple[Polygons, np.ndarray]:
    """True footprints of a rendered town, and the mask of them."""
    side = 3072
    scene = SyntheticScene(seed=7, height=side, width=side, gsd_m=0.5)
    truth = np.array(scene.footprints(Window(row=0, col=0, height=side, width=side)), object)
    return truth, features.rasterize(truth.tolist(), out_shape=(side, side), dtype=np.uint8)


def real_masks() -> Iterator[tuple[str, Path]]:
    """Name and path of the real masks that are there."""
    for name in ("ventura", "banepa"):
        path = DATA / "scenes" / f"{name}_buildings.tif"
        if path.is_file():
            yield name, path


class Table:
    """Rows of the table."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(self, what: str, where: str, goal: str, value: float, good: bool) -> None:
        """One measurement."""
        self.rows.append(
            {
                "what": what,
                "where": where,
                "goal": goal,
                "value": round(float(value), 4),
                "met": bool(good),
            }
        )
        print(f"{what:<52} {where:<18} {goal:<12} {value:10.4g}  {'yes' if good else 'NO'}",
              flush=True)  # fmt: skip


def seconds(function: Callable[[], object]) -> float:
    """Least processor time of three calls."""
    times = []
    for _ in range(3):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times)


def speed_of_polygons(table: Table, name: str, path: Path, folder: Path) -> None:
    """Polygonize, simplify, measure and write against `rasterio.features.shapes` alone."""
    with rasterio.open(path) as dataset:
        mask, transform = dataset.read(1), dataset.transform

    def shapes() -> None:
        for _ in features.shapes(mask, mask=mask > 0, connectivity=4, transform=transform):
            pass

    spec = VectorizeSpec(
        mask=str(path), output=str(folder / "speed.gpkg"), regularize=Regularize.NONE,
        overwrite=True,
    )  # fmt: skip
    ratio = seconds(lambda: vectorize(spec)) / seconds(shapes)
    table.add("polygonize, simplify, measure, write / shapes alone", name, "<= 2.5", ratio,
              ratio <= 2.5)  # fmt: skip


def real_buildings(table: Table, name: str, path: Path, python: str | None, folder: Path) -> None:
    """Speed against the peer, and what the result is like."""
    with rasterio.open(path) as dataset:
        rough = outlines(dataset.read(1), 20)
    found, used = drawn(rough)
    table.add("regularized buildings per second and core", name, "", len(rough) / used, True)
    other = peer(python, rough, folder)
    if other is not None:
        table.add("times as fast as buildingregulariser", name, ">= 5", other[1] / used,
                  other[1] / used >= 5)  # fmt: skip
    large = shapely.area(rough) >= SMALLEST_PX
    mean = float(iou(rough[large], found.geometries[large]).mean())
    table.add("mean IoU with the mask's polygon, 400 px and more", name, ">= 0.93", mean,
              mean >= 0.93)  # fmt: skip
    if other is not None:
        mean = float(iou(rough[large], other[0][large]).mean())
        table.add("  the same of buildingregulariser", name, "", mean, True)
    refused = float((found.status == Status.SIMPLIFIED).mean())
    table.add("refused", name, "<= 0.10", refused, refused <= 0.1)
    laws(table, name, path, folder)


def laws(table: Table, name: str, path: Path, folder: Path) -> None:
    """Nothing invalid, no overlaps, nothing lost or split, in the written file."""
    target = folder / f"{name}.gpkg"
    spec = VectorizeSpec(mask=str(path), output=str(target), overwrite=True, min_area_m2=0)
    vectorize(spec)
    written = read_features(str(target)).geometries
    with rasterio.open(path) as dataset:
        count = len(outlines(dataset.read(1), 0))
    invalid = int((~shapely.is_valid(written)).sum())
    table.add("invalid geometries", name, "0", invalid, invalid == 0)
    made = overlapping(written)
    table.add("overlaps made", name, "0", made, made == 0)
    table.add("buildings lost or split", name, "0", abs(len(written) - count),
              len(written) == count)  # fmt: skip


def noise(table: Table, python: str | None, folder: Path) -> None:
    """Known rectangles and L-shapes with jittered edges."""
    for blur_px, amplitude in NOISES:
        truth, mask = noisy(1, blur_px, amplitude)
        rough = outlines(mask, 100)
        match = best_match(truth, rough)
        truth, match = truth[match >= 0], match[match >= 0]
        before = float(iou(truth, rough[match]).mean())
        found, _ = drawn(rough)
        after = float(iou(truth, found.geometries[match]).mean())
        where = f"noise {blur_px:g}/{amplitude:g}"
        table.add("IoU with the truth, regularized", where, f"> {before:.4f}", after,
                  after > before)  # fmt: skip
        other = peer(python, rough, folder)
        if other is not None:
            theirs = float(iou(truth, other[0][match]).mean())
            table.add("  minus that of buildingregulariser", where, "> 0", after - theirs,
                      after > theirs)  # fmt: skip


def town(table: Table) -> None:
    """Rendered footprints: corners, refusals, vertices of rectangles."""
    truth, mask = rendered()
    rough = outlines(mask, 0)
    match = best_match(truth, rough)
    # Footprints that touch are one building of the mask; those are left out.
    alone = np.bincount(match[match >= 0], minlength=len(rough))
    kept = np.flatnonzero((match >= 0) & (alone[match] == 1) & (shapely.area(truth) >= 16))
    rough, truth = rough[match[kept]], truth[kept]
    found, _ = drawn(rough)
    refused = float((found.status == Status.SIMPLIFIED).mean())
    table.add("refused", "rendered", "<= 0.10", refused, refused <= 0.1)
    corners = np.array(
        [
            right_corners(one, other)
            for one, other, status in zip(found.geometries, truth, found.status, strict=True)
            if status not in (Status.CIRCLE, Status.SIMPLIFIED)
        ]
    )
    itself = np.array([right_corners(other, other) for other in truth])
    share = corners.sum(axis=0)[0] / corners.sum(axis=0)[1]
    table.add("corners within 3° of the building's direction, all", "rendered", "", share, True)
    ceiling = itself.sum(axis=0)[0] / itself.sum(axis=0)[1]
    table.add("  the same of the true footprints", "rendered", "", ceiling, True)
    drawn_too = ~np.isin(found.status, (Status.CIRCLE, Status.SIMPLIFIED))
    square = (itself[:, 0] == itself[:, 1])[drawn_too]
    good, number = corners[square].sum(axis=0)
    table.add("  of footprints that have right angles", "rendered", ">= 0.95", good / number,
              good / number >= 0.95)  # fmt: skip
    rectangles = shapely.get_num_coordinates(truth) == 5
    number = float(np.median(shapely.get_num_coordinates(found.geometries[rectangles]) - 1))
    table.add("median vertices per rectangular building", "rendered", "4", number, number == 4)
    parted = apart(drawn_features(rough, found.geometries, found.status, {}))
    made = overlapping(parted.drawn)
    table.add("overlaps made", "rendered", "0", made, made == 0)


def memory(table: Table, folder: Path) -> None:
    """Peak of a process on a mask of several strips, and on one 16 times as high."""
    block = np.tile(noisy(3, *NOISES[0])[1], (1, 2))
    height, width = block.shape
    peaks = []
    for times in (8, 128):
        path = folder / f"high{times}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", height=height * times, width=width, count=1, dtype="uint8",
            crs="EPSG:32633", transform=Affine(0.5, 0, 4e5, 0, -0.5, 5e6), compress="deflate",
            tiled=True, nodata=255,
        ) as target:  # fmt: skip
            for turn in range(times):
                rows = (turn * height, (turn + 1) * height)
                target.write(block[None], window=(rows, (0, width)))
        command = [sys.executable, __file__, "--peak-of", str(path), str(folder / "high.gpkg")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True).stdout))
    ratio, where = peaks[1] / peaks[0], f"{8 * height} x {width}"
    table.add("peak memory, MB", where, "", peaks[0] / 1e6, True)
    table.add("peak memory, mask 16 times as high, ratio", where, "0.85-1.15", ratio,
              0.85 <= ratio <= 1.15)  # fmt: skip


def peak_of(mask: str, target: str) -> None:
    """Vectorize a mask and print this process's peak memory in bytes."""
    vectorize(VectorizeSpec(mask=mask, output=target, overwrite=True))
    print(peak_memory_bytes())


def main() -> int:
    """Print the table; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="interpreter that has buildingregulariser 0.2.5")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        peak_of(*options.peak_of)
        return 0
    table = Table()
    print(f"{'what':<52} {'where':<18} {'goal':<12} {'measured':>10}  met")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for scene, path in real_masks():
            speed_of_polygons(table, scene, path, folder)
            real_buildings(table, scene, path, options.peer, folder)
        noise(table, options.peer, folder)
        town(table)
        memory(table, folder)
    if options.json:
        options.json.write_text(json.dumps(table.rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["met"] for row in table.rows) else 1


if __name__ == "__main__":
    sys.exit(main())

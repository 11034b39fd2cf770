"""`evaluate`: a mask against the truth, whatever form the truth has."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize
from sklearn import metrics

from geotiler.cli.main import main
from geotiler.errors import InputError, OutputError, SpecError
from geotiler.io.raster import Scene
from geotiler.io.vector import FeatureBatch, Layer, write_features
from geotiler.progress import Notice, StageAdvanced
from geotiler.specs import EvaluateSpec, VectorizeSpec
from geotiler.tasks.evaluate import evaluate
from geotiler.tasks.vectorize import vectorize

GRID = Affine(0.5, 0, 400_000, 0, -0.5, 5_500_000)


def write(path, values, *, nodata=255, crs="EPSG:32633", tags=None):
    options = {"crs": crs, "transform": GRID} if crs else {}
    with rasterio.open(
        path, "w", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype,
        nodata=nodata, **options,
    ) as target:  # fmt: skip
        target.write(values, 1)
        target.update_tags(**(tags or {}))
    return str(path)


def noise(seed, classes=(0, 1, 2, 255)):
    small = np.random.default_rng(seed).choice(classes, (20, 30))
    return np.kron(small, np.ones((6, 5))).astype(np.uint8)


def test_scores_agree_with_scikit_learn_for_strips_of_any_height(tmp_path, monkeypatch):
    predicted, truth = noise(1), noise(2)
    tags = {"GEOTILER_CLASSES": '{"1": "building", "2": "water"}'}
    mask = write(tmp_path / "m.tif", predicted, tags=tags)
    spec = EvaluateSpec(predictions=(mask,), truths=(write(tmp_path / "t.tif", truth),))
    report = evaluate(spec)
    known = (predicted != 255) & (truth != 255)
    t, p = truth[known], predicted[known]
    assert (report.pixels_scored, report.pixels_ignored) == (known.sum(), (~known).sum())
    assert report.accuracy == pytest.approx(metrics.accuracy_score(t, p))
    assert list(report.classes) == ["building", "water"]
    for class_id, name in enumerate(report.classes, start=1):
        score = report.classes[name]
        sets = t == class_id, p == class_id
        assert score.iou == pytest.approx(metrics.jaccard_score(*sets))
        assert score.f1 == pytest.approx(metrics.f1_score(*sets))
        assert score.precision == pytest.approx(metrics.precision_score(*sets))
        assert score.recall == pytest.approx(metrics.recall_score(*sets))
    assert report.iou == pytest.approx(np.mean([each.iou for each in report.classes.values()]))
    monkeypatch.setattr(Scene, "strip_rows", lambda self, width: 7)
    events = []
    again = evaluate(spec, report=events.append)
    assert again.classes == report.classes
    assert sum(e.amount for e in events if isinstance(e, StageAdvanced)) == predicted.size


def test_one_class_of_several(tmp_path):
    mask, truth = write(tmp_path / "m.tif", noise(1)), write(tmp_path / "t.tif", noise(2))
    report = evaluate(EvaluateSpec(predictions=(mask,), truths=(truth,), classes=("2",)))
    assert list(report.classes) == ["2"]
    with pytest.raises(SpecError, match="has no class 'road'; its classes: 1, 2"):
        evaluate(EvaluateSpec(predictions=(mask,), truths=(truth,), classes=("road",)))


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet"])
def test_a_mask_agrees_with_its_own_polygons(tmp_path, suffix):
    mask = write(tmp_path / "m.tif", noise(3, (0, 1)))
    outlines = tmp_path / f"b{suffix}"
    vectorize(
        VectorizeSpec(mask=mask, output=str(outlines), min_area_m2=0, min_hole_m2=0, simplify_m=0)
    )
    report = evaluate(EvaluateSpec(predictions=(mask,), truths=(str(outlines),)))
    assert report.iou == report.f1 == report.accuracy == 1.0


def test_a_picture_of_the_truth_without_a_crs(tmp_path):
    values = noise(4, (0, 1))
    mask = write(tmp_path / "m.png", values, crs=None)
    truth = write(tmp_path / "t.png", values * 255, nodata=None, crs=None)
    assert evaluate(EvaluateSpec(predictions=(mask,), truths=(truth,))).iou == 1.0


def test_what_cannot_be_judged_is_null_not_nan(tmp_path):
    empty = write(tmp_path / "m.tif", np.zeros((9, 9), np.uint8))
    report = evaluate(EvaluateSpec(predictions=(empty,), truths=(empty,)))
    assert report.iou is None
    assert report.accuracy == 1.0
    json.dumps(report.as_dict(), allow_nan=False)


def test_a_mask_without_a_crs_is_measured_by_the_resolution_that_it_was_made_with(tmp_path):
    """Objects of 16 and 36 pixels, of which `vectorize` draws those of 10 m² and more."""
    values = np.zeros((40, 40), np.uint8)
    values[5:9, 5:9] = values[20:26, 20:26] = 1
    truth = write(tmp_path / "t.tif", values, crs=None)
    found = {}
    for gsd_m in (None, 0.6, 1.0):
        tags = {"GEOTILER_SETTINGS": json.dumps({"gsd_m": [gsd_m, gsd_m]} if gsd_m else {})}
        mask = write(tmp_path / f"{gsd_m}.tif", values, crs=None, tags=tags)
        report = evaluate(EvaluateSpec(predictions=(mask,), truths=(truth,)))
        objects = next(iter(report.classes.values())).objects
        drawn = vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / f"{gsd_m}.gpkg")))
        assert objects.predicted == objects.truth == drawn.polygons
        assert (objects.polis_m is None) == (gsd_m is None)
        assert (objects.polis_px is None) == (gsd_m is not None)
        found[gsd_m] = objects.predicted
    assert found == {None: 2, 0.6: 1, 1.0: 2}


def test_nothing_to_compare_is_an_error(tmp_path):
    mask = write(tmp_path / "m.tif", np.full((9, 9), 255, np.uint8))
    truth = write(tmp_path / "t.tif", np.ones((9, 9), np.uint8))
    with pytest.raises(InputError, match="no pixel is known in both"):
        evaluate(EvaluateSpec(predictions=(mask,), truths=(truth,)))


# Objects


def box(row, col, height, width):
    """A rectangle of pixels on the ground."""
    left, top = GRID.c + col * 0.5, GRID.f - row * 0.5
    return shapely.box(left, top - height * 0.5, left + width * 0.5, top)


def polygons(path, shapes, classes=None, crs="EPSG:32633"):
    batch = FeatureBatch(
        geometries=np.asarray(shapes, object),
        attributes={"class": np.array(classes, object)} if classes else {},
    )
    layer = Layer(fields={"class": "text"} if classes else {}, crs=crs)
    write_features(str(path), [batch], layer)
    return str(path)


def burned(shapes, shape=(200, 300)):
    return rasterize(shapes, shape, transform=GRID, dtype="uint8")


TRUE = [box(10, 10, 20, 30), box(50, 50, 20, 20), box(100, 100, 30, 30), box(150, 200, 20, 20)]
FOUND = [box(10, 12, 20, 30), box(50, 50, 20, 20), box(100, 118, 30, 30), box(20, 200, 20, 20)]
"""Shifted by 1 m (IoU 28/32), exact, shifted by 9 m (IoU 12/48: none), and one on bare ground."""


def check_four(result):
    objects = result.objects
    assert (objects.truth, objects.predicted, objects.matched) == (4, 4, 2)
    assert (objects.precision, objects.recall, objects.f1) == (0.5, 0.5, 0.5)
    assert objects.iou == pytest.approx((28 / 32 + 1) / 2)
    assert objects.c_iou == pytest.approx(objects.iou)  # all have four corners
    # Two corners of the shifted one lie 1 m from the truth, two on its outline.
    assert objects.polis_m == pytest.approx(0.25, rel=1e-3)
    assert objects.polis_px is None
    assert objects.max_tangent_angle_deg == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("truth_kind", ["raster", "polygons"])
@pytest.mark.parametrize("found_kind", ["raster", "polygons"])
def test_objects_by_hand_whatever_holds_them(tmp_path, monkeypatch, truth_kind, found_kind):
    made = {}
    for name, kind, shapes in (("t", truth_kind, TRUE), ("p", found_kind, FOUND)):
        if kind == "raster":
            made[name] = write(tmp_path / f"{name}.tif", burned(shapes))
        else:
            made[name] = polygons(tmp_path / f"{name}.gpkg", shapes)
    grid = write(tmp_path / "grid.tif", np.zeros((200, 300), np.uint8))
    spec = EvaluateSpec(predictions=(made["p"],), truths=(made["t"],), grid=grid)
    whole = evaluate(spec)
    check_four(whole.classes["1"])
    expected = metrics.jaccard_score(burned(TRUE).ravel(), burned(FOUND).ravel())
    assert whole.iou == pytest.approx(expected)
    monkeypatch.setattr(Scene, "strip_rows", lambda self, width: 13)
    parts = evaluate(spec)
    check_four(parts.classes["1"])
    assert parts.boundary_iou == whole.boundary_iou


def test_objects_where_nobody_knows_are_left_out(tmp_path):
    truth = polygons(tmp_path / "t.gpkg", TRUE)
    values = burned(FOUND)
    values[140:] = 255  # hides the house that was missed
    values[:45, 180:] = 255  # and the one that is not there
    report = evaluate(
        EvaluateSpec(predictions=(write(tmp_path / "m.tif", values),), truths=(truth,))
    )
    objects = report.classes["1"].objects
    assert (objects.truth, objects.predicted, objects.matched) == (3, 3, 2)


def test_each_class_of_polygons_on_its_own(tmp_path):
    kinds = ["house", "Shed", "house", "shed"]
    found = polygons(tmp_path / "p.gpkg", FOUND, ["house", "shed", "shed", "house"])
    truth = polygons(tmp_path / "t.geojson", TRUE, kinds)
    grid = write(tmp_path / "grid.tif", np.zeros((200, 300), np.uint8))
    report = evaluate(EvaluateSpec(predictions=(found,), truths=(truth,), grid=grid))
    assert {name: r.objects.matched for name, r in report.classes.items()} == {
        "house": 1, "shed": 1,
    }  # fmt: skip
    with pytest.raises(SpecError, match="are both polygons") as caught:
        evaluate(EvaluateSpec(predictions=(found,), truths=(truth,)))
    assert "--grid" in str(caught.value)


def test_outlines_that_cross_themselves_are_mended_and_told(tmp_path):
    x, y = GRID.c, GRID.f
    bow = shapely.Polygon([(x + 5, y - 5), (x + 25, y - 25), (x + 25, y - 5), (x + 5, y - 25)])
    truth = polygons(tmp_path / "t.gpkg", [bow, *TRUE[2:]])
    notices = []
    mask = write(tmp_path / "m.tif", burned(FOUND))
    evaluate(EvaluateSpec(predictions=(mask,), truths=(truth,)), report=notices.append)
    assert any("1 polygons of" in e.message for e in notices if isinstance(e, Notice))


# Several scenes


def test_several_scenes_are_paired_by_name_and_pooled(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "truth").mkdir()
    rasters = {}
    for seed, name in enumerate(("a", "b", "c")):
        rasters[name] = noise(seed, (0, 1)), noise(seed + 9, (0, 1))
        write(tmp_path / "masks" / f"{name}_mask.png", rasters[name][0], crs=None, nodata=None)
        write(tmp_path / "truth" / f"{name}.png", rasters[name][1] * 255, crs=None, nodata=None)
    write(tmp_path / "truth" / "unused.png", noise(7), crs=None)
    table = tmp_path / "s.csv"
    report = evaluate(
        EvaluateSpec(
            predictions=(str(tmp_path / "masks"),), truths=(str(tmp_path / "truth"),), csv=table
        )
    )
    truth, found = (np.concatenate([pair[i].ravel() for pair in rasters.values()]) for i in (1, 0))
    assert report.iou == pytest.approx(metrics.jaccard_score(truth, found))
    assert len(report.scenes) == 3
    for scene, (predicted, true) in zip(report.scenes, rasters.values(), strict=True):
        iou = scene.classes["1"].iou
        assert iou == pytest.approx(metrics.jaccard_score(true.ravel(), predicted.ravel()))
    total = report.classes["1"].objects
    assert total.truth == sum(scene.classes["1"].objects.truth for scene in report.scenes)
    with table.open() as text:
        rows = list(csv.DictReader(text))
    assert [row["scene"].rpartition("/")[2] for row in rows] == [
        "a_mask.png", "b_mask.png", "c_mask.png", "all",
    ]  # fmt: skip
    assert float(rows[-1]["iou"]) == report.iou
    assert rows[0]["object_polis_m"] == ""


def test_several_predictions_of_one_ground_are_told_and_kept_apart(tmp_path, capsys):
    truth = polygons(tmp_path / "t.gpkg", TRUE)
    first, second = (write(tmp_path / f"{name}.tif", burned(FOUND)) for name in "ab")
    events = []
    spec = EvaluateSpec(predictions=(first, second), truths=(truth,))
    report = evaluate(spec, report=events.append)
    told = [e.message for e in events if isinstance(e, Notice) and e.warning]
    assert [text.partition(":")[0] for text in told] == [
        f"2 predictions of the same ground have the truth {truth}, the first is {first}"
    ]
    assert main(["evaluate", first, second, "--truth", truth]) == 0
    scores = next(iter(report.scenes[0].classes.values()))
    line = f"IoU {scores.iou:.4g}, F1 {scores.f1:.4g}, objects F1 {scores.objects.f1:.4g}"
    assert capsys.readouterr().out.count(line) == 2


def test_a_truth_of_another_name_is_found_by_its_place(tmp_path):
    far = shapely.box(800_000, 5_400_000, 800_020, 5_400_020)
    here, there = polygons(tmp_path / "osm.gpkg", TRUE), polygons(tmp_path / "far.gpkg", [far])
    mask = write(tmp_path / "m.tif", burned(FOUND))
    report = evaluate(EvaluateSpec(predictions=(mask,), truths=(there, here)))
    assert report.scenes[0].truth == here
    with pytest.raises(InputError, match="has no truth: none of the 2 files"):
        evaluate(EvaluateSpec(predictions=(mask,), truths=(there, polygons_far(tmp_path))))
    other = polygons(tmp_path / "other.gpkg", TRUE)
    with pytest.raises(InputError, match="it is not clear what the truth of"):
        evaluate(EvaluateSpec(predictions=(mask,), truths=(here, other)))


def polygons_far(folder):
    return polygons(folder / "far2.gpkg", [shapely.box(800_000, 5_400_000, 800_020, 5_400_020)])


def test_one_scene_of_several_may_be_unknown(tmp_path):
    dark = write(tmp_path / "a.tif", np.full((200, 300), 255, np.uint8))
    mask = write(tmp_path / "b.tif", burned(FOUND))
    truth = polygons(tmp_path / "t.gpkg", TRUE)
    events = []
    report = evaluate(EvaluateSpec(predictions=(dark, mask), truths=(truth,)), report=events.append)
    assert report.scenes[0].accuracy is None
    assert report.iou == evaluate(EvaluateSpec(predictions=(mask,), truths=(truth,))).iou
    warnings = [e.message for e in events if isinstance(e, Notice) and e.warning]
    assert any("no pixel is known in both" in text for text in warnings)


@pytest.mark.parametrize("kind", ["raster", "polygons"])
def test_an_empty_truth_is_told(tmp_path, kind):
    mask = write(tmp_path / "m.tif", burned(FOUND))
    truth = polygons(tmp_path / "t.gpkg", [])
    if kind == "raster":
        truth = write(tmp_path / "t.tif", np.zeros((200, 300), np.uint8))
    events = []
    report = evaluate(EvaluateSpec(predictions=(mask,), truths=(truth,)), report=events.append)
    assert (report.iou, report.recall) == (0.0, None)
    (warning,) = [e.message for e in events if isinstance(e, Notice) and e.warning]
    assert "has nothing of 1" in warning


# Thresholds


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_sweep_tells_what_each_threshold_gives(tmp_path, dtype):
    rng = np.random.default_rng(1)
    p = np.clip(burned(TRUE) * 0.5 + rng.random((200, 300)) * 0.5, 0, 1).astype(np.float32)
    steps = np.rint(p * 254).astype(np.uint8)
    steps[:20] = 255
    stored = steps if dtype == "uint8" else np.where(steps == 255, np.nan, steps / 254)
    probability = write(
        tmp_path / "p.tif", stored.astype(dtype), nodata=255 if dtype == "uint8" else np.nan,
        tags={"GEOTILER_CONTENT": "probability"},
    )  # fmt: skip
    mask = write(tmp_path / "m.tif", np.where(steps == 255, 255, steps >= 127).astype(np.uint8))
    plot = tmp_path / "sweep.png"
    report = evaluate(
        EvaluateSpec(
            predictions=(mask,), truths=(polygons(tmp_path / "t.gpkg", TRUE),),
            probabilities=(probability,), plot=plot,
        )
    )  # fmt: skip
    sweep = report.classes["1"].sweep
    known = steps != 255
    truth = burned(TRUE)[known]
    at_half = next(each for each in sweep.thresholds if each.threshold == 0.5)
    assert at_half.iou == pytest.approx(report.iou)
    for each in sweep.thresholds:
        taken = steps[known] >= round(each.threshold * 254)
        assert each.recall == pytest.approx(metrics.recall_score(truth, taken))
    assert sweep.best.iou >= max(each.iou for each in sweep.thresholds)
    expected = metrics.average_precision_score(truth, steps[known] / 254)
    assert sweep.average_precision == pytest.approx(expected)
    with rasterio.open(plot) as picture:
        assert picture.width > 500
    json.dumps(report.as_dict(), allow_nan=False)


def test_probabilities_of_something_else_are_refused(tmp_path):
    mask = write(tmp_path / "m.tif", burned(FOUND))
    truth = polygons(tmp_path / "t.gpkg", TRUE)
    tags = {"GEOTILER_CONTENT": "probability"}
    cases = {
        write(tmp_path / "small.tif", np.zeros((9, 9), np.uint8), tags=tags): "has not the pixels",
        mask: "does not say that they are",
        write(tmp_path / "big.tif", np.full((200, 300), 7, np.float32)): "expected probabilities",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=message):
            evaluate(EvaluateSpec(predictions=(mask,), truths=(truth,), probabilities=(path,)))
    with pytest.raises(SpecError, match="needs probabilities"):
        EvaluateSpec(predictions=(mask,), truths=(truth,), plot=tmp_path / "p.png")


def test_outputs_are_checked_before_anything_is_read(tmp_path):
    table = tmp_path / "scores.csv"
    table.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        evaluate(EvaluateSpec(predictions=("none.tif",), truths=("none.tif",), csv=table))
    assert table.read_text() == "mine"


MEASURED = (
    "import sys\n"
    "from geotiler.cli.main import main\n"
    "from geotiler.machine import peak_memory_bytes\n"
    "assert main(sys.argv[1:]) == 0\n"
    "print(peak_memory_bytes())\n"
)
"""A command line as the whole of a process, whose largest memory is the last line."""


def town(path, height, shift):
    """Houses of two sizes, 20 in every 256 rows, written as many rows at a time."""
    width = 1024
    block = np.zeros((256, width), np.uint8)
    for col in range(10, width - 60, 100):
        block[40 + shift : 70, col : col + 40] = 1
        block[150:190, col + shift : col + 30] = 1
    with rasterio.open(
        path, "w", height=height, width=width, count=1, dtype="uint8", crs="EPSG:32633",
        transform=GRID, tiled=True, compress="deflate", nodata=255,
    ) as target:  # fmt: skip
        for row in range(0, height, 256):
            target.write(block, 1, window=((row, row + 256), (0, width)))
    return str(path)


def test_peak_memory_of_the_command_does_not_grow_with_the_scene(tmp_path):
    """The lower one is higher than what is held at once; the other's masks are 67 MB more."""
    peaks, objects = [], []
    for height in (16_384, 49_152):
        mask, truth = (town(tmp_path / f"{height}_{shift}.tif", height, shift) for shift in (0, 3))
        said = subprocess.run(
            [sys.executable, "-c", MEASURED, "evaluate", mask, "--truth", truth, "--json"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        report, peak = said.stdout.rsplit("\n", 2)[:2]
        peaks.append(int(peak))
        (score,) = json.loads(report)["classes"].values()
        objects.append(score["objects"]["matched"])
    assert objects == [16_384 // 256 * 20, 49_152 // 256 * 20]
    assert peaks[1] <= peaks[0] + 20e6

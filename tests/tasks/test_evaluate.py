"""`evaluate`: a mask against the truth, whatever form the truth has."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from sklearn import metrics

from geotiler.errors import InputError
from geotiler.io.raster import Scene
from geotiler.progress import StageAdvanced
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
    spec = EvaluateSpec(mask=mask, truth=write(tmp_path / "t.tif", truth))
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
    report = evaluate(EvaluateSpec(mask=mask, truth=truth, classes=("2",)))
    assert list(report.classes) == ["2"]
    with pytest.raises(InputError, match="has no class 'road'; its classes: 1, 2"):
        evaluate(EvaluateSpec(mask=mask, truth=truth, classes=("road",)))


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet"])
def test_a_mask_agrees_with_its_own_polygons(tmp_path, suffix):
    mask = write(tmp_path / "m.tif", noise(3, (0, 1)))
    polygons = tmp_path / f"b{suffix}"
    vectorize(
        VectorizeSpec(mask=mask, output=str(polygons), min_area_m2=0, min_hole_m2=0, simplify_m=0)
    )
    report = evaluate(EvaluateSpec(mask=mask, truth=str(polygons)))
    assert report.iou == report.f1 == report.accuracy == 1.0


def test_a_picture_of_the_truth_without_a_crs(tmp_path):
    values = noise(4, (0, 1))
    mask = write(tmp_path / "m.png", values, crs=None)
    truth = write(tmp_path / "t.png", values * 255, nodata=None, crs=None)
    assert evaluate(EvaluateSpec(mask=mask, truth=truth)).iou == 1.0


def test_what_cannot_be_judged_is_null_not_nan(tmp_path):
    empty = write(tmp_path / "m.tif", np.zeros((9, 9), np.uint8))
    report = evaluate(EvaluateSpec(mask=empty, truth=empty))
    assert report.iou is None
    assert report.accuracy == 1.0
    json.dumps(report.as_dict(), allow_nan=False)


def test_nothing_to_compare_is_an_error(tmp_path):
    mask = write(tmp_path / "m.tif", np.full((9, 9), 255, np.uint8))
    truth = write(tmp_path / "t.tif", np.ones((9, 9), np.uint8))
    with pytest.raises(InputError, match="no pixel is known in both"):
        evaluate(EvaluateSpec(mask=mask, truth=truth))

"""A better model takes the place of a worse one, in one step; nobody sees half of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import threading
from pathlib import Path

import pytest

from geotiler.errors import InputError, SpecError
from geotiler.models.bundle import Bundle, copy_bundle, open_bundle, replace_card
from geotiler.models.card import Metric
from geotiler.models.promote import Scores, promote
from geotiler.models.registry import find_model
from geotiler.tasks.train_segmentation import _SPLITS


def _run(bundle: Bundle, folder: Path, iou: float, data: str = "a town", **changes: object) -> Path:
    """A run whose model scored that much."""
    return _measured_run(bundle, folder, {data: iou}, **changes)


def _measured_run(
    bundle: Bundle, folder: Path, scores: dict[str, float], **changes: object
) -> Path:
    """A run whose model scored that much on each set of data."""
    shutil.copytree(bundle.folder, folder / "model")
    metrics = tuple(Metric(name="IoU", value=iou, data=data) for data, iou in scores.items())
    replace_card(folder / "model", dataclasses.replace(bundle.card, metrics=metrics, **changes))
    return folder


def _iou(weights: Path) -> float:
    return open_bundle(weights / "tiny").card.metrics[0].value


def test_only_a_better_model_is_promoted(tiny_bundle: Bundle, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    for step, (iou, stays) in enumerate([(0.5, 0.5), (0.4, 0.5), (0.5, 0.5), (0.6, 0.6)]):
        run = _run(tiny_bundle, tmp_path / f"run{step}", iou)
        done = promote(run, weights, metric="iou")
        assert done.promoted == (step in (0, 3))
        assert _iou(weights) == stays
    assert [entry.name for entry in weights.iterdir()] == ["tiny"]


def test_scores_on_other_data_are_not_compared(tiny_bundle: Bundle, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    promote(_run(tiny_bundle, tmp_path / "a", 0.5), weights)
    other = _run(tiny_bundle, tmp_path / "b", 0.9, data="another town")
    with pytest.raises(SpecError, match="share: nothing"):
        promote(other, weights, metric="iou")
    with pytest.raises(SpecError):
        promote(other, weights, metric="f1")
    own = "validation split of the training data"
    promote(_run(tiny_bundle, tmp_path / "c", 0.5, own), weights)
    with pytest.raises(SpecError):  # each has its own validation split
        promote(
            _run(tiny_bundle, tmp_path / "d", 0.9, own, training_data=("other chips",)),
            weights, metric="iou",
        )  # fmt: skip
    assert _iou(weights) == 0.5


VALIDATION, TEST = (f"{words} of chips" for words in _SPLITS.values())


def test_of_several_shared_sets_the_one_never_trained_on_decides(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """Validation chose the weights of both: it says less than the test split."""
    weights = tmp_path / "weights"
    promote(_measured_run(tiny_bundle, tmp_path / "a", {VALIDATION: 0.5, TEST: 0.5}), weights)
    worse = _measured_run(tiny_bundle, tmp_path / "b", {VALIDATION: 0.9, TEST: 0.4})
    done = promote(worse, weights, metric="iou")
    assert (done.promoted, done.data, done.candidate, done.current) == (False, TEST, 0.4, 0.5)
    better = _measured_run(tiny_bundle, tmp_path / "c", {VALIDATION: 0.1, TEST: 0.6})
    assert not promote(better, weights, metric="iou", data=VALIDATION).promoted
    done = promote(better, weights, metric="iou")
    assert (done.promoted, done.data) == (True, TEST)
    untested = _run(tiny_bundle, tmp_path / "d", 0.2, VALIDATION)
    assert promote(untested, weights, metric="iou").data == VALIDATION, "all that they share"


def test_held_out_data_that_are_not_one_set_are_still_refused(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    seen = "a town, never trained on, but weights were chosen with it in sight"
    for name, scores in (
        ("two", {VALIDATION: 0.5, TEST: 0.5, f"{TEST} of another town": 0.5}),
        ("none", {VALIDATION: 0.5, seen: 0.5}),
    ):
        weights = tmp_path / f"weights-{name}"
        run = _measured_run(tiny_bundle, tmp_path / name, scores)
        promote(run, weights)
        with pytest.raises(SpecError, match=r"share: .*; ") as caught:
            promote(run, weights, metric="iou")
        assert "--data" in str(caught.value.hint)


def test_classifiers_are_compared_on_their_test_part(tmp_path: Path) -> None:
    """The shipped one says macro F1 of its test part, its validation part, and of another split."""
    landuse = find_model("landuse")
    promote(landuse.folder, tmp_path)
    done = promote(landuse.folder, tmp_path, metric="macro f1")
    assert not done.promoted, "no better than itself"
    assert done.data == "test part of the spatial split, never trained on"


def test_reports_on_held_out_data_decide(tiny_bundle: Bundle, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    promote(_run(tiny_bundle, tmp_path / "a", 0.9), weights)
    run = _run(tiny_bundle, tmp_path / "b", 0.1)
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    new.write_text(json.dumps({"iou": 0.7, "classes": {"building": {"iou": 0.1}}}))
    old.write_text(json.dumps({"iou": 0.8}))
    scores = Scores(candidate=new, current=old)
    assert not promote(run, weights, metric="iou", scores=scores).promoted
    swapped = Scores(candidate=old, current=new)
    done = promote(run, weights, metric="IoU", scores=swapped)
    assert (done.promoted, done.candidate, done.current) == (True, 0.8, 0.7)
    new.write_text("no report")
    with pytest.raises(InputError):
        promote(run, weights, metric="iou", scores=scores)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="exchange is Linux's")
def test_whoever_opens_a_model_while_it_is_replaced_finds_a_whole_one(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """The card is there at every moment; files and card of one model are read from a handle."""
    target = tmp_path / "weights" / "tiny"
    copy_bundle(tiny_bundle, target)
    ended = threading.Event()
    missing: list[str] = []

    def look() -> None:
        while not ended.is_set():
            if not (target / "card.json").is_file():
                missing.append("card.json")

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(20):
        copy_bundle(tiny_bundle, target, overwrite=True)
    ended.set()
    watcher.join()
    assert missing == []
    assert open_bundle(target).digest == tiny_bundle.digest
    assert [entry.name for entry in target.parent.iterdir()] == ["tiny"]

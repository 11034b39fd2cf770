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


def _run(bundle: Bundle, folder: Path, iou: float, data: str = "a town", **changes: object) -> Path:
    """A run whose model scored that much."""
    shutil.copytree(bundle.folder, folder / "model")
    metric = Metric(name="IoU", value=iou, data=data, how="")
    replace_card(folder / "model", dataclasses.replace(bundle.card, metrics=(metric,), **changes))
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

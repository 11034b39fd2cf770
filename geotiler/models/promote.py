"""A new model takes the place of an old one, if it is better."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from geotiler.errors import InputError, SpecError
from geotiler.models.bundle import Bundle, copy_bundle, open_bundle
from geotiler.models.card import CARD_FILE
from geotiler.models.registry import find_model
from geotiler.reports import Report

MODEL_FOLDER = "model"
"""Where a run of `geotiler train` leaves its model."""

_TEST, _UNSEEN = "test ", "never trained on"
"""Runs call their held-out data so: "test split, never trained on of chips"."""


@dataclass(frozen=True, kw_only=True)
class Promotion(Report):
    """What was decided, and why."""

    model: str
    promoted: bool
    folder: Path
    """Where the model is, or would be."""
    metric: str | None
    data: str | None
    """What both were measured on."""
    candidate: float | None
    current: float | None
    """None: there was no model before, or nothing was compared."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Two reports of `geotiler evaluate --json` on the same truth."""

    candidate: Path
    current: Path


def promote(
    run: Path,
    weights: Path,
    *,
    name: str | None = None,
    metric: str | None = None,
    data: str | None = None,
    scores: Scores | None = None,
) -> Promotion:
    """Copy a run's model into a weights folder, if it is better than the one that is there.

    Args:
        run: folder of a run, a model folder, or the name of a shipped model.
        weights: folder of model folders.
        name: of the model there; None takes the card's.
        metric: that must be higher, such as iou; None compares nothing.
        data: what both cards must have been measured on; None takes what they share: where that is
            more than one set, the test set that neither was trained on, not the validation set
            that chose their weights.
        scores: reports to compare instead of what the cards say.

    Raises:
        ModelError: the run has no model, or it is damaged.
        SpecError: the metric was not measured on the same data for both.
        InputError: a report cannot be read.
        OutputError: the weights folder cannot be written.
    """
    bundle = _candidate(run)
    folder = weights / (name or bundle.card.name)
    old = open_bundle(folder) if (folder / CARD_FILE).is_file() else None
    candidate = current = None
    if metric is not None and scores is not None:
        data = f"{scores.candidate}, {scores.current}"
        candidate = _reported(scores.candidate, metric)
        current = _reported(scores.current, metric) if old is not None else None
    elif metric is not None and old is not None:
        data, candidate, current = _measured(bundle, old, metric, data)
    is_better = candidate is None or current is None or candidate > current
    if is_better:
        weights.mkdir(parents=True, exist_ok=True)
        copy_bundle(bundle, folder, overwrite=True)
    return Promotion(
        model=folder.name,
        promoted=is_better,
        folder=folder,
        metric=metric,
        data=data,
        candidate=candidate,
        current=current,
    )


def _candidate(run: Path) -> Bundle:
    """The model of a run, of a model folder, or a shipped one of that name."""
    if not run.exists():
        return find_model(str(run))
    return open_bundle(run / MODEL_FOLDER if (run / MODEL_FOLDER).is_dir() else run)


def _measured(
    bundle: Bundle, old: Bundle, metric: str, data: str | None
) -> tuple[str, float, float]:
    """(data, candidate's value, current value) of a metric that both cards have."""
    new_values, old_values = _values(bundle, metric), _values(old, metric)
    same_training = bundle.card.training_data == old.card.training_data
    shared = [
        item
        for item in sorted(new_values.keys() & old_values.keys())
        # "validation split of the training data" is another one for other training data
        if same_training or "training data" not in item
    ]
    if data is not None:
        shared = [item for item in shared if item == data]
    elif len(shared) > 1:
        held_out = [item for item in shared if item.startswith(_TEST) and _UNSEEN in item]
        shared = held_out if len(held_out) == 1 else shared
    if len(shared) != 1:
        found = "; ".join(shared) or "nothing"
        raise SpecError(
            f"{metric} can be compared on one set of data, the cards share: {found}",
            hint="--data names one; or measure both and give --scores NEW.json OLD.json",
        )
    return shared[0], new_values[shared[0]], old_values[shared[0]]


def _values(bundle: Bundle, metric: str) -> dict[str, float]:
    """Data and how it was measured → value, of one metric of a card."""
    return {
        item.data: item.value
        for item in bundle.card.metrics
        if item.name.casefold() == metric.casefold()
    }


def _reported(path: Path, metric: str) -> float:
    """A metric of a report of `geotiler evaluate --json`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no report of geotiler evaluate --json: {error}") from error
    values = _numbers_named(content, metric.casefold())
    if len(values) != 1:
        raise InputError(
            f"{path} has {len(values)} values named {metric!r}, expected one",
            hint="--if-better names a metric of the report, such as iou",
        )
    return values[0]


def _numbers_named(content: object, name: str) -> list[float]:
    """Numbers under that key, of the outermost level that has any."""
    if not isinstance(content, dict):
        return []
    own = [
        float(value)
        for key, value in content.items()
        if str(key).casefold() == name and isinstance(value, int | float)
    ]
    return own or [number for value in content.values() for number in _numbers_named(value, name)]

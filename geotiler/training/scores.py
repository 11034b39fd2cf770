"""What a finished network scores on a split: loss, IoU, and precision against recall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from geotiler.core.metrics import mean_of
from geotiler.specs import MASK_NODATA
from geotiler.training.config import FitConfig
from geotiler.training.data import WholeChips
from geotiler.training.fit import trainer_for, without_expected_warnings
from geotiler.training.framework import pl
from geotiler.training.segmentation import Segmentation

from torchmetrics.classification import BinaryPrecisionRecallCurve  # isort: skip

_THRESHOLDS = 51


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Precision against recall of one class, at probabilities from 0 to 1."""

    precision: tuple[float, ...]
    recall: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """How well a network does on the chips of one split, pooled over labelled pixels."""

    chips: int
    loss: float
    iou: float | None
    """Of the class; the mean where there are several. None without a pixel to tell."""
    f1: float | None
    precision: float | None
    recall: float | None
    class_iou: Mapping[str, float | None]
    curves: Mapping[str, Curve]
    """Class name → precision against recall."""


class _Scoring(pl.Callback):
    """Collects precision and recall while a network is validated."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.curves = {
            name: BinaryPrecisionRecallCurve(thresholds=_THRESHOLDS, ignore_index=MASK_NODATA)
            for name in classes[1:]
        }

    def on_validation_batch_end(
        self, trainer: Any, module: Any, logits: torch.Tensor, batch: Any, *unused: Any
    ) -> None:
        labels = batch[1].cpu()
        logits = logits.float().cpu()
        several = logits.shape[1] > 1
        probability = logits.softmax(dim=1) if several else logits.sigmoid()
        for index, curve in enumerate(self.curves.values(), start=1):
            truth = torch.where(labels == MASK_NODATA, labels, (labels == index).long())
            curve.update(probability[:, index if several else 0], truth)


def score_split(module: Segmentation, chips: WholeChips, train: FitConfig) -> SplitScores:
    """Scores of a network as it stands.

    Args:
        module: the network and its loss.
        chips: of the split.
        train: accelerator and precision.
    """
    scoring = _Scoring(module.classes)
    trainer = trainer_for(train, logger=False, enable_checkpointing=False, callbacks=[scoring])
    with without_expected_warnings():
        (found,) = trainer.validate(module, DataLoader(chips, batch_size=1), verbose=False)
    each = {name: module.counts.score(k) for k, name in enumerate(module.classes) if k}
    curves = {}
    for name, metric in scoring.curves.items():
        precision, recall, _ = metric.compute()
        curves[name] = Curve(precision=tuple(precision.tolist()), recall=tuple(recall.tolist()))
    return SplitScores(
        chips=len(chips),
        loss=float(found["val_loss"]),
        iou=mean_of([score.iou for score in each.values()]),
        f1=mean_of([score.f1 for score in each.values()]),
        precision=mean_of([score.precision for score in each.values()]),
        recall=mean_of([score.recall for score in each.values()]),
        class_iou={name: score.iou for name, score in each.items()},
        curves=curves,
    )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One chip with its truth and what was found on it."""

    name: str
    image: NDArray[np.uint8]
    """(row, col, band)."""
    truth: NDArray[np.uint8]
    """(row, col): class indices; 254 and 255 are unlabelled."""
    found: NDArray[np.uint8]
    """(row, col): class indices."""


def samples_of(module: Segmentation, chips: WholeChips, most: int) -> list[Sample]:
    """Chips that are spread over a split, with what the network finds on them."""
    count = min(most, len(chips))
    samples = []
    for index in (number * len(chips) // count for number in range(count)):
        chip = chips.chip(index)
        pixels, _ = chips[index]
        height, width = chip.labels.shape
        with torch.inference_mode():
            found = module.predicted(module.network(pixels[None]).float())[0]
        samples.append(
            Sample(
                name=chip.name,
                image=chip.image,
                truth=chip.labels,
                found=found.byte().numpy()[:height, :width],
            )
        )
    return samples

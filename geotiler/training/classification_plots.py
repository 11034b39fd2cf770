"""Pictures of a finished classifier's run: losses, accuracy, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from geotiler.training.plots import plot_curve, save


def plot_run(
    folder: Path,
    rows: Sequence[Mapping[str, float]],
    confusion: Sequence[Sequence[int]],
    classes: Sequence[str],
    title: str,
) -> None:
    """Write loss_curves.png, val_acc.png and confusion_matrix.png into a folder.

    Args:
        folder: made if it is not there.
        rows: one per epoch: step, train_loss, val_loss, val_accuracy, val_macro_f1.
        confusion: counts; row = true class, column = predicted class.
        classes: names, in that order.
        title: of the matrix: which tiles were counted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    losses = {"train_loss": "training (smoothed labels, varied tiles)", "val_loss": "validation"}
    plot_curve(folder / "loss_curves.png", rows, losses, "cross entropy")
    scores = {"val_accuracy": "accuracy", "val_macro_f1": "macro F1"}
    plot_curve(folder / "val_acc.png", rows, scores, "validation tiles")
    _plot_confusion(folder / "confusion_matrix.png", np.asarray(confusion), classes, title)


def _plot_confusion(path: Path, counts: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Counts as text over shares of each true class as colour."""
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = 1.6 + 0.62 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=45, ha="right")
    axes.set_yticks(places, classes)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    save(figure, path)

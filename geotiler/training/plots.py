"""Pictures of a finished run: losses, scores, precision against recall, and what it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from geotiler.training.whole_files import replaced

if TYPE_CHECKING:
    from geotiler.training.scores import Sample, SplitScores

_TRUTH, _FOUND = "#00c2ff", "#e4572e"
_DPI = 110


def save(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all."""
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def plot_curve(
    path: Path, rows: Sequence[Mapping[str, float]], names: Mapping[str, str], label: str
) -> None:
    """Columns of metrics.csv against the step.

    Args:
        path: picture to write.
        rows: one per epoch.
        names: column → what the legend calls it.
        label: of the vertical axis.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    steps = [row["step"] for row in rows]
    for column, name in names.items():
        if any(column in row for row in rows):
            values = [row.get(column, float("nan")) for row in rows]
            axes.plot(steps, values, marker="o", markersize=3, label=name)
    axes.set(xlabel="step", ylabel=label)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save(figure, path)


def plot_precision_recall(path: Path, splits: Mapping[str, SplitScores]) -> None:
    """Precision against recall, one line per split and class."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for split, scores in splits.items():
        for name, curve in scores.curves.items():
            axes.plot(curve.recall, curve.precision, label=f"{name}, {split}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left")
    save(figure, path)


def plot_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Chips with the outlines of truth (blue) and of what was found (red)."""
    columns = min(4, len(samples))
    rows = -(-len(samples) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.6 * rows), layout="constrained")
    cells: Any = figure.subplots(rows, columns, squeeze=False)
    for cell in cells.flat:
        cell.axis("off")
    for cell, sample in zip(cells.flat, samples, strict=False):
        cell.imshow(sample.image)
        cell.set_title(sample.name[:32], fontsize=8)
        for labels, colour in ((sample.truth, _TRUTH), (sample.found, _FOUND)):
            inside = ((labels > 0) & (labels < 254)).astype(float)
            if 0 < inside.mean() < 1:
                cell.contour(inside, levels=[0.5], colors=colour, linewidths=1.0)
    figure.suptitle("truth blue, found red", fontsize=9)
    save(figure, path)

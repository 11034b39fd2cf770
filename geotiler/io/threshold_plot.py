"""A picture of what every threshold would give."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from geotiler.core.thresholds import ThresholdCurve
from geotiler.io.table import write_whole


def write_threshold_plot(
    path: Path, curves: Mapping[str, ThresholdCurve], *, overwrite: bool = False
) -> None:
    """Write a PNG: for each class, scores over the threshold, and precision over recall.

    Args:
        path: the picture.
        curves: class name → its curve.
        overwrite: an existing file may be replaced.

    Raises:
        OutputError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2 * len(curves)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for row, (name, curve) in enumerate(curves.items()):
        left = figure.add_subplot(len(curves), 2, 2 * row + 1)
        right = figure.add_subplot(len(curves), 2, 2 * row + 2)
        for label in ("iou", "f1", "precision", "recall"):
            shown = "IoU" if label == "iou" else label.upper() if label == "f1" else label
            left.plot(curve.threshold, getattr(curve, label), label=shown)
        best = curve.best
        left.axvline(curve.threshold[best], color="grey", linestyle=":")
        left.set(
            title=f"{name}: best IoU {curve.iou[best]:.3f} at {curve.threshold[best]:.2f}",
            xlabel="threshold", xlim=(0, 1), ylim=(0, 1),
        )  # fmt: skip
        left.legend(loc="lower center")
        right.plot(curve.recall, curve.precision)
        right.plot(curve.recall[best], curve.precision[best], "o", label="best IoU")
        area = curve.average_precision
        right.set(
            title="precision over recall" + ("" if area is None else f", area {area:.3f}"),
            xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02),
        )  # fmt: skip
        right.legend(loc="lower left")
        for axes in (left, right):
            axes.grid(alpha=0.3)
    data = io.BytesIO()
    # Without the name of the software: the bytes depend on the scores only.
    canvas.print_png(data, metadata={"Software": None})
    write_whole(path, data.getvalue(), overwrite=overwrite)

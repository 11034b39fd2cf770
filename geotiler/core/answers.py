"""What is said about one image: the likeliest class, all probabilities, and the first few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGITS = 6
"""Decimal places of a probability: networks in float32 agree to about as many."""


def image_answer(
    probabilities: NDArray[np.floating[Any]], names: Sequence[str], *, topk: int = 3
) -> dict[str, Any]:
    """`predicted_class`, `probabilities` and `topk` of one image, ready for JSON.

    Args:
        probabilities: (class).
        names: of the classes, in that order.
        topk: how many of the likeliest are listed; all, where there are fewer.

    Returns:
        The likeliest class; a mapping of every class to its probability, in the model's order;
        and a list of {"class", "probability"}, the likeliest first, equals in the model's order.
    """
    rounded = [round(float(value), _DIGITS) for value in probabilities]
    order = np.argsort(-np.asarray(probabilities, np.float64), kind="stable")
    listed = [int(index) for index in order[: max(1, topk)]]
    return {
        "predicted_class": names[listed[0]],
        "probabilities": dict(zip(names, rounded, strict=True)),
        "topk": [{"class": names[index], "probability": rounded[index]} for index in listed],
    }

"""Does a model do on this machine what its card says?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geotiler.errors import MissingExtraError, ModelError
from geotiler.models.bundle import Bundle
from geotiler.models.predictor import Batch, open_predictor
from geotiler.reports import Report
from geotiler.specs import Backend, Precision

TOLERANCE = 1e-4
"""Largest allowed difference of a probability between two backends."""


@dataclass(frozen=True, kw_only=True)
class Check(Report):
    """What a model answered."""

    model: str
    digest: str
    backends: tuple[str, ...]
    """The ones that are installed, with their versions."""
    largest_difference: float
    """Between the first backend's probabilities and any other's."""


def check_model(bundle: Bundle) -> Check:
    """One random window through every installed backend on the CPU.

    Raises:
        ModelError: an answer is not a probability, or two backends differ by more than
            `TOLERANCE`.
    """
    stride = bundle.card.stride_of_network
    shape = (4 * stride, 6 * stride)
    random = np.random.default_rng(0)
    window = random.standard_normal((1, len(bundle.card.bands), *shape), dtype=np.float32)
    answers: dict[str, Batch] = {}
    for backend in (Backend.OPENVINO, Backend.ONNX, Backend.TORCH):
        try:
            predictor = open_predictor(
                bundle, backend=backend, device="cpu", precision=Precision.FLOAT32, tile_shape=shape
            )
        except MissingExtraError:
            continue
        answers[predictor.name] = _probabilities(predictor(window), predictor.name, bundle)
    if not answers:
        raise MissingExtraError("openvino", "running a model")
    first = next(iter(answers.values()))
    difference = max(float(np.abs(answer - first).max()) for answer in answers.values())
    if difference > TOLERANCE:
        raise ModelError(
            f"the backends of {bundle.card.name} differ by {difference:.2g}, "
            f"expected at most {TOLERANCE:g}: {', '.join(answers)}"
        )
    return Check(
        model=bundle.card.name,
        digest=bundle.digest,
        backends=tuple(answers),
        largest_difference=difference,
    )


def _probabilities(answer: Batch, name: str, bundle: Bundle) -> Batch:
    if not bool(((answer >= 0.0) & (answer <= 1.0)).all()):  # also false for NaN
        raise ModelError(f"{bundle.card.name} answers values outside 0 to 1 with {name}")
    return answer

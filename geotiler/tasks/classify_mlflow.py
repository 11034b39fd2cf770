"""`geotiler classify --mlflow-model`: images, answered by a model in MLflow's form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from geotiler.models.mlflow_model import predicted
from geotiler.tasks.classify_images import ImageLabel


def classify_with_mlflow(folder: Path, images: Sequence[str], topk: int) -> Iterator[ImageLabel]:
    """The labels of images, as `classify_images` gives them for the model inside.

    Raises:
        GeotilerError: see `predicted`.
    """
    for image, answer in zip(images, predicted(folder, images, topk), strict=True):
        yield ImageLabel(
            image=image,
            predicted_class=answer["predicted_class"],
            probabilities=dict(answer["probabilities"]),
            topk=list(answer["topk"]),
        )

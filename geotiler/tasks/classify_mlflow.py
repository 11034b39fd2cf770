"""`geotiler classify --mlflow-model`: images, answered by a model in MLflow's form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from geotiler.models.mlflow_model import loaded
from geotiler.tasks.classify_images import OF_ONE_IMAGE, Failed, ImageLabel, tell


def classify_with_mlflow(
    folder: Path, images: Sequence[str], topk: int, *, failed: Failed | None = None
) -> Iterator[ImageLabel]:
    """The labels of images, as `classify_images` gives them for the model inside.

    Args:
        folder: the MLflow model.
        images: what to label.
        topk: how many classes are listed.
        failed: see `classify_images`.

    Raises:
        GeotilerError: see `loaded`; of an image, where nobody hears of it.
    """
    answers = loaded(folder)
    for image in images:
        try:
            (answer,) = answers([image], topk)
        except OF_ONE_IMAGE as error:
            tell(failed, image, error)
            continue
        yield ImageLabel(
            image=image,
            predicted_class=answer["predicted_class"],
            probabilities=dict(answer["probabilities"]),
            topk=list(answer["topk"]),
        )

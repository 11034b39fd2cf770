"""A classifier's folder inside an MLflow model: written, and asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geotiler import __version__
from geotiler.errors import GeotilerError, MissingExtraError, ModelError
from geotiler.models.bundle import Bundle
from geotiler.models.predictor import one_line

_EXAMPLE_PX = 8


def save_pyfunc(bundle: Bundle, folder: Path, code: Path) -> None:
    """Write an MLflow model that labels images.

    Its signature takes the columns `image_path` (text) or `image` (rows of columns of bands, as
    nested lists) and the parameter `topk`; it answers `predicted_class`, `probabilities` and
    `topk`. The input example is a small image.

    Args:
        bundle: a classifier; its folder is copied.
        folder: to be written; must not exist.
        code: Python file that sets the model, run where the model is loaded.

    Raises:
        MissingExtraError: mlflow is not installed.
        ModelError: mlflow refuses.
    """
    mlflow = _mlflow("--to mlflow")
    try:
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(code),
            artifacts={"model": str(bundle.folder)},
            signature=_signature(),
            input_example=_example(len(bundle.card.bands)),
            pip_requirements=[f"geotiler[mlflow]=={__version__}"],
            metadata={"geotiler": {"model": bundle.card.name, "digest": bundle.digest}},
        )
        _without_paths(folder)
    except Exception as error:  # whatever mlflow thinks of it
        raise ModelError(f"mlflow does not take {bundle.card.name}: {one_line(error)}") from error


def _signature() -> object:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Map, Object, Property

    pixels = Array(Array(Array(DataType.long)))
    listed = Object([Property("class", DataType.string), Property("probability", DataType.double)])
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.string, "image_path", required=False),
                ColSpec(pixels, "image", required=False),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(DataType.string, "predicted_class"),
                ColSpec(Map(DataType.double), "probabilities"),
                ColSpec(Array(listed), "topk"),
            ]
        ),
        params=ParamSchema([ParamSpec("topk", DataType.long, 3)]),
    )


def _example(bands: int) -> object:
    import pandas

    side = range(_EXAMPLE_PX)
    bright = [[[(16 * row + 8 * col) % 256] * bands for col in side] for row in side]
    return pandas.DataFrame({"image": [bright]})


def _without_paths(folder: Path) -> None:
    """Name code and artifacts by their places in the folder, not by where they came from."""
    from mlflow.models import Model

    model = Model.load(str(folder))
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.save(str(folder / "MLmodel"))


Answers = Callable[[Sequence[str], int], list[dict[str, Any]]]
"""Paths of images, and how many classes are listed → what each image shows.

Raises: ModelError: it does not answer as geotiler's models do. GeotilerError: as the model itself
raises it.
"""


def loaded(folder: Path) -> Answers:
    """An MLflow model that takes the column `image_path`. Runs code of that folder.

    Raises:
        MissingExtraError: mlflow is not installed.
        ModelError: no MLflow model there, or one that cannot be loaded.
    """
    if not (folder / "MLmodel").is_file():
        raise ModelError(
            f"{folder} is no MLflow model: it has no file MLmodel",
            hint="geotiler export landuse --to mlflow -o FOLDER writes one",
        )
    mlflow = _mlflow("--mlflow-model")
    import pandas

    keys = {"predicted_class", "probabilities", "topk"}
    with _as_its_error(folder):
        model = mlflow.pyfunc.load_model(str(folder))

    def answers(images: Sequence[str], topk: int) -> list[dict[str, Any]]:
        with _as_its_error(folder):
            rows = model.predict(pandas.DataFrame({"image_path": list(images)}), {"topk": topk})
        good = isinstance(rows, list) and len(rows) == len(images)
        if not good or not all(isinstance(row, dict) and keys <= row.keys() for row in rows):
            raise ModelError(
                f"MLflow model {folder} does not answer with {', '.join(sorted(keys))}",
                hint="geotiler export landuse --to mlflow -o FOLDER writes one that does",
            )
        return list(rows)

    return answers


@contextmanager
def _as_its_error(folder: Path) -> Iterator[None]:
    """Raises: ModelError: whatever a model's own code raised; GeotilerError as it is."""
    try:
        yield
    except GeotilerError:
        raise
    except Exception as error:
        raise ModelError(f"MLflow model {folder} fails: {one_line(error)}") from error


def _mlflow(purpose: str) -> Any:
    """Raises: MissingExtraError: mlflow is not installed."""
    try:
        import mlflow
    except ImportError as error:
        raise MissingExtraError("mlflow", purpose, extra="mlflow") from error
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return mlflow

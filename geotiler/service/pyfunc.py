"""A classifier as MLflow runs it: `mlflow models serve` answers with `geotiler classify`.

`geotiler export --to mlflow` copies this file into the folder that it writes ("models from code"),
beside the model's own folder; nothing is pickled. It needs geotiler where it is served.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas

from geotiler.errors import SpecError
from geotiler.models.networks import KeptNetworks
from geotiler.specs import ClassifyImagesSpec
from geotiler.tasks.classify_images import classify_images, classify_pixels

DEFAULT_TOPK = 3


class TileClassifier(mlflow.pyfunc.PythonModel):
    """Rows with an `image_path`, or an `image` as nested lists, become labels."""

    def load_context(self, context: Any) -> None:
        """Find the model folder among the artifacts."""
        self._model = context.artifacts["model"]
        self._networks = KeptNetworks()
        self._one_at_a_time = threading.Lock()

    # A data frame is an annotation that MLflow takes for no signature; without one it warns.
    def predict(
        self, context: Any, model_input: pandas.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One label per row, as `geotiler classify` gives it: predicted_class, probabilities, topk.

        Args:
            context: of MLflow, unused.
            model_input: data frame with the column `image_path`, or `image`: (rows, columns,
                bands) in 0..255.
            params: `topk`, how many classes are listed.

        Raises:
            InputError: an image that cannot be read.
            SpecError: a row with neither column, or an image of another shape.
        """
        given: Mapping[str, Any] = params or {}
        topk = int(given.get("topk", DEFAULT_TOPK))
        with self._one_at_a_time:  # networks are not for sharing by threads
            return self._answers(model_input.to_dict("records"), topk)

    def _answers(self, rows: list[dict[str, Any]], topk: int) -> list[dict[str, Any]]:
        paths = [row["image_path"] for row in rows if _is_path(row.get("image_path"))]
        spec = ClassifyImagesSpec(images=tuple(paths) or ("-",), model=self._model, topk=topk)
        read = classify_images(spec, networks=self._networks) if paths else iter(())
        answers = []
        for row in rows:
            if _is_path(row.get("image_path")):
                label = next(read).as_dict()
                label.pop("image")
            else:
                label = classify_pixels(_pixels(row.get("image")), spec, self._networks)
            answers.append(label)
        return answers


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _pixels(value: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Nested lists or arrays as (rows, columns, bands)."""
    if not isinstance(value, list | np.ndarray):
        raise SpecError("each row needs an image_path, or an image as rows of columns of bands")
    try:
        rows = [[list(pixel) for pixel in row] for row in value]
        pixels = np.array(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise SpecError(f"an image must be rows of columns of bands: {error}") from error
    if not ((pixels >= 0) & (pixels <= 255)).all():
        raise SpecError("values of an image must lie in 0 to 255")
    return pixels.round().astype(np.uint8)


mlflow.models.set_model(TileClassifier())

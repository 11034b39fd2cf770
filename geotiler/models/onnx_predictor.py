"""The ONNX graph of a model, run by ONNX Runtime on the CPU. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

from geotiler.errors import ModelError
from geotiler.models.bundle import Bundle
from geotiler.models.predictor import (
    Batch,
    FixedShapePredictor,
    checked_graph,
    graph_bytes,
    no_such_precision,
    one_line,
)
from geotiler.specs import Precision

_ERRORS_ONLY = 3


class OnnxPredictor(FixedShapePredictor):
    """A `Predictor`: float32, the same shape in every call."""

    failures = (Exception,)  # its errors have no other common type

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: Precision,
        batch: int,
        tile_shape: tuple[int, int],
        threads: int | None,
    ) -> None:
        """Raises: ModelError: the graph does not load or fit the card.

        DeviceError: asked for another precision than float32.
        """
        if precision is not Precision.FLOAT32:
            raise no_such_precision("ONNX Runtime", precision, ["float32"])
        name = f"onnxruntime {onnxruntime.__version__} cpu float32"
        super().__init__(bundle.card, name, batch, tile_shape)
        source = str(bundle.folder / bundle.onnx_file)
        self._session = _session(graph_bytes(bundle), threads, source)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        checked_graph(
            bundle.card, [port.shape for port in inputs], [port.shape for port in outputs], source
        )
        self._input = inputs[0].name

    def answers(self, full: Batch, count: int) -> Batch:
        """See `FixedShapePredictor`."""
        answer: Batch = self._session.run(None, {self._input: full})[0]
        return answer[:count]


def run_graph(content: bytes) -> Callable[[Batch], Batch]:
    """A function that runs an ONNX graph at any shape."""
    session = _session(content, None, "the graph")
    name = session.get_inputs()[0].name

    def run(batch: Batch) -> Batch:
        return np.asarray(session.run(None, {name: batch})[0])

    return run


def _session(content: bytes, threads: int | None, source: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"{source} is not a graph that ONNX Runtime reads: {one_line(error)}"
        ) from error

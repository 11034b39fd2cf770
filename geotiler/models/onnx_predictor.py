"""The ONNX graph of a model, run by ONNX Runtime on the CPU. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

from geotiler.errors import DeviceError, ModelError
from geotiler.models.bundle import Bundle
from geotiler.models.predictor import Batch, checked_graph, graph_bytes, padded

_ERRORS_ONLY = 3


class OnnxPredictor:
    """A `Predictor`: float32, the same shape in every call."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "cpu",
        batch: int,
        tile_shape: tuple[int, int],
        threads: int | None,
    ) -> None:
        """Raises: DeviceError: not cpu. ModelError: the graph does not load or fit the card."""
        if device != "cpu":
            raise DeviceError(f"ONNX Runtime is driven on cpu only, asked for {device}")
        self._card = bundle.card
        self.classes = bundle.card.channels
        self.batch = batch
        self.tile_shape = tile_shape
        self.name = f"onnxruntime {onnxruntime.__version__} cpu float32"
        source = str(bundle.folder / bundle.onnx_file)
        self._session = _session(graph_bytes(bundle), threads, source)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        checked_graph(
            bundle.card, [port.shape for port in inputs], [port.shape for port in outputs], source
        )
        self._input = inputs[0].name

    def __call__(self, batch: Batch) -> Batch:
        """See `Predictor.__call__`."""
        full = padded(batch, self._card, self.batch, self.tile_shape)
        try:
            answer: Batch = self._session.run(None, {self._input: full})[0]
        except Exception as error:  # memory, or sizes that the graph cannot take
            reason = " ".join(str(error).split())[:200]
            raise DeviceError(
                f"ONNX Runtime fails on a batch of shape {full.shape}: {reason}",
                hint="try --batch 1 or a smaller --tile",
            ) from error
        return answer[: batch.shape[0]]


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
    except Exception as error:  # its errors have no common type but Exception
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{source} is not a graph that ONNX Runtime reads: {reason}") from error

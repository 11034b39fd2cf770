"""The ONNX graph of a model, run by OpenVINO on the CPU. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino

from geotiler.errors import DeviceError, ModelError
from geotiler.models.bundle import Bundle
from geotiler.models.predictor import Batch, checked_graph, graph_bytes, padded


class OpenVinoPredictor:
    """A `Predictor`: shape fixed when compiled, float32, one stream."""

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
            raise DeviceError(f"OpenVINO is driven on cpu only, asked for {device}")
        self._card = bundle.card
        self.classes = bundle.card.channels
        self.batch = batch
        self.tile_shape = tile_shape
        version = ".".join(openvino.__version__.split("-")[0].split(".")[:3])
        self.name = f"openvino {version} cpu float32"
        shape = [batch, len(bundle.card.bands), *tile_shape]
        source = str(bundle.folder / bundle.onnx_file)
        graph = _read(graph_bytes(bundle), source)
        checked_graph(
            bundle.card,
            [_lengths(port) for port in graph.inputs],
            [_lengths(port) for port in graph.outputs],
            source,
        )
        self._request = _compile(graph, shape, threads, source).create_infer_request()

    def __call__(self, batch: Batch) -> Batch:
        """See `Predictor.__call__`."""
        full = padded(batch, self._card, self.batch, self.tile_shape)
        try:
            self._request.infer([full], share_inputs=True, share_outputs=True)
        except RuntimeError as error:  # the shape was compiled: it is memory
            raise DeviceError(
                f"OpenVINO fails on a batch of shape {full.shape}: {_line(error)}",
                hint="try --batch 1 or a smaller --tile",
            ) from error
        # The request reuses its output, so the caller gets a copy.
        return np.array(self._request.get_output_tensor().data[: batch.shape[0]])


def run_graph(content: bytes) -> Callable[[Batch], Batch]:
    """A function that runs an ONNX graph at any shape, compiling it for each."""

    def run(batch: Batch) -> Batch:
        compiled = _compile(_read(content, "the graph"), list(batch.shape), None, "the graph")
        return np.array(compiled([batch])[0])

    return run


def _read(content: bytes, source: str) -> Any:
    try:
        return openvino.Core().read_model(content, b"")
    except RuntimeError as error:
        raise ModelError(f"{source} is not a graph that OpenVINO reads: {_line(error)}") from error


def _compile(graph: Any, shape: list[int], threads: int | None, source: str) -> Any:
    settings: dict[str, Any] = {
        # Otherwise CPUs with bfloat16 answer in bfloat16.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Reading and blending need the cores too.
        "ENABLE_CPU_PINNING": False,
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        graph.reshape(shape)
        return openvino.Core().compile_model(graph, "CPU", settings)
    except RuntimeError as error:
        raise ModelError(
            f"{source} cannot be compiled for tiles of {tuple(shape)}: {_line(error)}"
        ) from error


def _lengths(port: Any) -> list[int | None]:
    """The lengths of a port's dimensions, None where free."""
    shape = port.get_partial_shape()
    return [dim.get_length() if dim.is_static else None for dim in shape]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

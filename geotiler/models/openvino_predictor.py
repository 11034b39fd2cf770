"""The ONNX graph of a model, run by OpenVINO on the CPU. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino

from geotiler.errors import DeviceError, ModelError
from geotiler.machine import give_back_freed_memory
from geotiler.models.bundle import Bundle
from geotiler.models.graph_rewrites import rewrite
from geotiler.models.predictor import (
    Batch,
    FixedShapePredictor,
    checked_graph,
    graph_bytes,
    no_such_precision,
    one_line,
)
from geotiler.specs import Precision

_HINTS = {
    Precision.FLOAT32: ("FP32", "f32"),
    Precision.BFLOAT16: ("BF16", "bf16"),
    Precision.FLOAT16: ("FP16", "f16"),
}
"""What OpenVINO calls a precision where it lists what a CPU can do, and where it is asked for."""


class OpenVinoPredictor(FixedShapePredictor):
    """A `Predictor`: shape and precision fixed when compiled, one stream."""

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

        DeviceError: this CPU does not compute in that precision.
        """
        precision = _checked(precision)
        version = ".".join(openvino.__version__.split("-")[0].split(".")[:3])
        name = f"openvino {version} cpu {precision.value}"
        super().__init__(bundle.card, name, batch, tile_shape)
        shape = [batch, len(bundle.card.bands), *tile_shape]
        source = str(bundle.folder / bundle.onnx_file)
        graph = _read(graph_bytes(bundle), source)
        checked_graph(
            bundle.card,
            [_lengths(port) for port in graph.inputs],
            [_lengths(port) for port in graph.outputs],
            source,
        )
        self._request = _compile(graph, shape, threads, source, precision).create_infer_request()
        del graph
        give_back_freed_memory()  # compiling takes a third more than what it leaves

    def answers(self, full: Batch, count: int) -> Batch:
        """See `FixedShapePredictor`."""
        self._request.infer([full], share_inputs=True, share_outputs=True)
        # The request reuses its output, so the caller gets a copy.
        return np.array(self._request.get_output_tensor().data[:count])


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
        raise ModelError(
            f"{source} is not a graph that OpenVINO reads: {one_line(error)}"
        ) from error


def _checked(precision: Precision) -> Precision:
    # Always asked for: left alone, CPUs with bfloat16 would answer in bfloat16.
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    known = [kind.value for kind, (ability, _) in _HINTS.items() if ability in able]
    if precision.value not in known:
        raise no_such_precision("OpenVINO on this CPU", precision, known)
    return precision


def _compile(
    graph: Any,
    shape: list[int],
    threads: int | None,
    source: str,
    precision: Precision = Precision.FLOAT32,
) -> Any:
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision][1],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Reading and blending need the cores too.
        "ENABLE_CPU_PINNING": False,
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        graph.reshape(shape)
        return openvino.Core().compile_model(_rewritten(graph), "CPU", settings)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "bad_alloc" in str(error):
            raise DeviceError(
                f"not enough memory to compile {source} for tiles of {tuple(shape)}",
                hint="try --batch 1 or a smaller --tile",
            ) from error
        raise ModelError(
            f"{source} cannot be compiled for tiles of {tuple(shape)}: {one_line(error)}"
        ) from error


def _rewritten(graph: Any) -> Any:
    """A graph in a faster form, or as it is where that fails: nothing is refused for it."""
    faster = graph.clone()
    try:
        rewrite(faster)
    except (RuntimeError, TypeError, ValueError):
        return graph
    return faster


def _lengths(port: Any) -> list[int | None]:
    """The lengths of a port's dimensions, None where free."""
    shape = port.get_partial_shape()
    return [dim.get_length() if dim.is_static else None for dim in shape]

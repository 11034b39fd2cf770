"""A network as an ONNX graph that answers probabilities, checked against the network itself.

The TorchScript exporter is used: it keeps batch normalisations as they are, so that the graph
holds exactly the numbers of `model.safetensors`, and it takes a fraction of a second where the
other exporter takes a quarter of a minute. The runtimes fold both normalisations and casts when
they load the graph.
"""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from geotiler.errors import MissingExtraError, ModelError
from geotiler.models.card import ModelCard
from geotiler.models.predictor import Batch, graph_runner

if TYPE_CHECKING:
    from onnx import ModelProto

PARITY_TOLERANCE = 1e-4
"""Largest allowed difference of a probability between graph and network."""

_OPSET = 17
_INPUT, _OUTPUT = "input", "probability"


def export_onnx(network: nn.Module, card: ModelCard, path: Path) -> None:
    """Write the network and its activation as an ONNX graph with free batch, height and width.

    Weights that are exact in float16 are stored so, with a cast to float32 behind each. The same
    network and card give the same bytes.

    Raises:
        ModelError: the network cannot be traced, or the graph's answer differs from its own by
            more than `PARITY_TOLERANCE`.
        MissingExtraError: there is no package to write or to run the graph with.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtraError("onnx", "exporting a model")
    probabilities = _Probabilities(network, card.activation).eval()
    graph = _traced(probabilities, card)
    _free_dimensions(graph, card)
    _halve_weights(graph)
    _describe(graph, card)
    content = graph.SerializeToString(deterministic=True)
    _check_parity(probabilities, content, card)
    Path(path).write_bytes(content)


def difference_from(
    network: nn.Module, card: ModelCard, path: Path, tiles: Batch, tolerance: float
) -> float:
    """Largest difference of a probability between a graph on disk and its network, on tiles.

    Raises:
        ModelError: it exceeds the tolerance.
    """
    probabilities = _Probabilities(network, card.activation).eval()
    run = graph_runner(Path(path).read_bytes())
    return _difference(probabilities, run, tiles, card.name, tolerance)


def deepness_metadata(card: ModelCard) -> dict[str, str]:
    """Metadata of an ONNX file as the QGIS plugin Deepness reads it: key → JSON.

    Source: Deepness, "Adding metadata to ONNX model". Its documentation says `tiles_size`, its
    code reads `tile_size`; both are given. The overlap is in percent, the resolution in cm.
    """
    names = [info.name for info in card.classes]
    if card.activation == "sigmoid":
        names = ["background", *names]
    values: dict[str, Any] = {
        "model_type": "Segmentor" if card.task == "segmentation" else "Recognition",
        "class_names": {str(index): name for index, name in enumerate(names)},
        "tile_size": card.tile_px,
        "tiles_size": card.tile_px,
        "tiles_overlap": round(100 * card.overlap_px / card.tile_px),
        "standardization_mean": list(card.mean),
        "standardization_std": list(card.std),
        "seg_thresh": card.threshold,
    }
    if card.gsd_m is not None:
        values["resolution"] = round(100 * card.gsd_m, 6)
    return {key: json.dumps(value) for key, value in sorted(values.items())}


class _Probabilities(nn.Module):
    """A network followed by its activation."""

    def __init__(self, network: nn.Module, activation: str) -> None:
        super().__init__()
        self.network = network
        self.activation = activation

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Probabilities of a batch."""
        return activated(self.network(batch), self.activation)


def activated(logits: torch.Tensor, activation: str) -> torch.Tensor:
    """The probabilities of logits (N, K, ...), computed in float32."""
    logits = logits.float()
    return logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)


def _traced(probabilities: nn.Module, card: ModelCard) -> ModelProto:
    import onnx

    side = 4 * card.stride_of_network
    example = torch.zeros(2, len(card.bands), side, side + card.stride_of_network)
    free = {0: "batch", 2: "height", 3: "width"}
    buffer: Any = io.BytesIO()
    try:
        # It logs the graph when it fails, and standard output is for data.
        torch._C._jit_set_onnx_log_output_stream("stderr")
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of deprecation, and of traced size checks
            torch.onnx.export(
                probabilities,
                (example,),
                buffer,
                dynamo=False,
                opset_version=_OPSET,
                input_names=[_INPUT],
                output_names=[_OUTPUT],
                dynamic_axes={_INPUT: free, _OUTPUT: free if _maps(card) else {0: "batch"}},
                do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE,
            )
    except Exception as error:  # whatever the exporter trips over
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{card.architecture} cannot be exported to ONNX: {reason}") from error
    return onnx.load_from_string(buffer.getvalue())


def _maps(card: ModelCard) -> bool:
    """True if the answer is a map of pixels."""
    return card.task == "segmentation"


def _free_dimensions(graph: ModelProto, card: ModelCard) -> None:
    """Name the batch and leave height and width without a name.

    Deepness refuses a graph whose two spatial dimensions have different names.
    """
    shapes = [(graph.graph.input[0], len(card.bands), True)]
    shapes.append((graph.graph.output[0], card.channels, _maps(card)))
    for value, channels, has_pixels in shapes:
        dims = value.type.tensor_type.shape.dim
        del dims[:]
        dims.add().dim_param = "batch"
        dims.add().dim_value = channels
        if has_pixels:
            dims.add(), dims.add()
    del graph.graph.value_info[:]


def _halve_weights(graph: ModelProto) -> None:
    """Store each float32 tensor that loses nothing by it as float16, and cast it back."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if not np.array_equal(halved.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(halved, f"{name}.float16"))
        cast = helper.make_node("Cast", [tensor.name], [name], f"{name}.cast", to=TensorProto.FLOAT)
        casts.append(cast)
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _describe(graph: ModelProto, card: ModelCard) -> None:
    """Put the card's metadata in place of what the exporter says about itself."""
    graph.producer_name = "geotiler"
    graph.producer_version = card.geotiler_version
    graph.graph.name = card.name
    graph.doc_string = card.description
    graph.graph.doc_string = ""
    for node in graph.graph.node:
        node.doc_string = ""
    del graph.metadata_props[:]
    for key, value in deepness_metadata(card).items():
        graph.metadata_props.add(key=key, value=value)


def _check_parity(probabilities: nn.Module, content: bytes, card: ModelCard) -> None:
    """Raises: ModelError: graph and network differ on random input of two shapes."""
    run = graph_runner(content)
    random = np.random.default_rng(0)
    stride = card.stride_of_network
    for batch, height, width in ((2, 4 * stride, 5 * stride), (1, 6 * stride, 4 * stride)):
        values = random.standard_normal((batch, len(card.bands), height, width), dtype=np.float32)
        _difference(probabilities, run, values, card.name, PARITY_TOLERANCE)


def _difference(
    probabilities: nn.Module, run: Callable[[Batch], Batch], tiles: Batch, name: str, limit: float
) -> float:
    with torch.inference_mode():
        expected = probabilities(torch.from_numpy(tiles)).numpy()
    found = run(tiles)
    if found.shape != expected.shape:
        raise ModelError(f"the graph answers {found.shape}, the network {expected.shape}")
    difference = float(np.abs(found - expected).max())
    if not difference <= limit:
        raise ModelError(
            f"the graph of {name} differs from its network by {difference:.2g} on "
            f"{tiles.shape}, expected at most {limit:g}"
        )
    return difference

"""The graph is the network, small, without a trace of the machine, and readable to Deepness."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from geotiler.errors import ModelError
from geotiler.models import export
from geotiler.models.bundle import Bundle, load_network
from geotiler.models.card import ModelCard


@pytest.fixture(scope="module")
def graph(tiny_bundle: Bundle) -> Any:
    return onnx.load_from_string(tiny_bundle.read("model.onnx"))


def test_the_graph_is_valid_and_its_sizes_are_free(graph: Any) -> None:
    onnx.checker.check_model(graph, full_check=True)
    for value, channels in ((graph.graph.input[0], 3), (graph.graph.output[0], 1)):
        batch, depth, height, width = value.type.tensor_type.shape.dim
        assert depth.dim_value == channels
        for dim in (batch, height, width):
            assert not dim.HasField("dim_value")
        assert height.dim_param == width.dim_param  # else Deepness takes it for not square


def test_weights_are_stored_as_float16_and_are_the_networks(
    graph: Any, tiny_bundle: Bundle
) -> None:
    stored = [onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer]
    large = [array for array in stored if array.ndim >= 2]
    assert large
    assert {array.dtype for array in large} == {np.dtype(np.float16)}
    network = load_network(tiny_bundle).state_dict()
    weights = {tensor.numpy().tobytes() for tensor in network.values() if tensor.ndim >= 2}
    assert {array.astype(np.float32).tobytes() for array in large} <= weights
    assert len(tiny_bundle.read("model.onnx")) < 1.1 * len(tiny_bundle.read("model.safetensors"))


def test_deepness_finds_what_it_reads(graph: Any) -> None:
    found = {prop.key: json.loads(prop.value) for prop in graph.metadata_props}
    assert found["model_type"] == "Segmentor"
    assert found["class_names"] == {"0": "background", "1": "building"}
    assert found["resolution"] == 50  # cm per pixel
    assert (found["tile_size"], found["tiles_overlap"]) == (128, 25)  # px, percent
    assert found["standardization_mean"] == [0.45, 0.5, 0.55]
    assert found["standardization_std"] == [0.2, 0.25, 0.3]
    assert found["seg_thresh"] == 0.5


def test_the_graph_says_nothing_about_where_it_was_made(tiny_bundle: Bundle) -> None:
    content = tiny_bundle.read("model.onnx")
    for trace in (str(Path(export.__file__).parents[2]), "site-packages", ".py"):
        assert trace.encode() not in content


def test_a_graph_that_differs_is_refused(
    tiny_bundle: Bundle, make_card: Callable[..., ModelCard], tmp_path: Path
) -> None:
    class Moody(torch.nn.Module):
        """Answers otherwise when it is traced."""

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            logits = batch[:, :1]
            return logits + 1 if torch.jit.is_tracing() else logits

    with pytest.raises(ModelError, match="differs"):
        export.export_onnx(Moody(), make_card(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []

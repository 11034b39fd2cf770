"""A classifier's folder answers the same through every backend, resize and all."""

from __future__ import annotations

import numpy as np
import pytest

from geotiler.models.bundle import Bundle
from geotiler.models.predictor import open_predictor
from geotiler.specs import Backend


def _tiles(count: int) -> np.ndarray:
    random = np.random.default_rng(3)
    colours = random.standard_normal((count, 3, 1, 1))
    return (colours + 0.3 * random.standard_normal((count, 3, 64, 64))).astype(np.float32)


@pytest.mark.parametrize("backend", [Backend.ONNX, Backend.OPENVINO])
def test_tiles_become_probabilities_of_classes(tiny_landuse: Bundle, backend: Backend) -> None:
    pytest.importorskip({Backend.ONNX: "onnxruntime", Backend.OPENVINO: "openvino"}[backend])
    tiles = _tiles(6)
    by_torch = open_predictor(tiny_landuse, backend=Backend.TORCH, device="cpu", batch=6)(tiles)
    by_graph = open_predictor(tiny_landuse, backend=backend, device="cpu", batch=6)(tiles)
    assert by_graph.shape == (6, 10)
    np.testing.assert_allclose(by_graph.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(by_graph, by_torch, atol=1e-4)
    assert len(set(by_graph.argmax(axis=1))) > 1  # it tells tiles apart at all


def test_a_short_batch_gets_the_answers_of_a_full_one(tiny_landuse: Bundle) -> None:
    tiles = _tiles(3)
    predictor = open_predictor(tiny_landuse, backend=Backend.ONNX, device="cpu", batch=3)
    np.testing.assert_array_equal(predictor(tiles)[:2], predictor(tiles[:2]))

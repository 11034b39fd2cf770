"""A rewritten graph answers as the one it was, to the last digits of float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from openvino import opset13 as ops
from torch.nn import functional as F

from geotiler.models.bundle import Bundle
from geotiler.models.card import ModelCard
from geotiler.models.export import export_onnx
from geotiler.models.graph_rewrites import rewrite, transposed_kernel

RANDOM = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def kinds(graph: openvino.Model) -> Counter[str]:
    return Counter(node.get_type_name() for node in graph.get_ordered_ops())


def answer(graph: openvino.Model, *inputs: np.ndarray) -> np.ndarray:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(graph.clone(), "CPU", settings)
    return np.array(compiled(list(inputs))[0])


def assert_same(graph: openvino.Model, *inputs: np.ndarray) -> Counter[str]:
    """Rewrite a graph, compare its answers, and give what it consists of now."""
    before = answer(graph, *inputs)
    rewrite(graph)
    np.testing.assert_allclose(answer(graph, *inputs), before, rtol=0, atol=2e-5)
    return kinds(graph)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 4)])
def test_a_transposed_kernel_convolves_the_enlarged_image(shape: tuple[int, int]) -> None:
    weights, image = floats(3, 2, 3, 3), floats(1, 2, *shape)
    enlarged = torch.from_numpy(image.repeat(2, axis=2).repeat(2, axis=3))
    expected = F.conv2d(enlarged, torch.from_numpy(weights), padding=1)
    kernel = torch.from_numpy(transposed_kernel(weights))
    found = F.conv_transpose2d(torch.from_numpy(image), kernel, stride=2, padding=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def enlarged(image: Any, height: int, width: int, mode: str = "nearest", times: int = 2) -> Any:
    axes, sizes = np.array([2, 3]), np.array([times * height, times * width])
    coordinates = "asymmetric" if mode == "nearest" else "half_pixel"
    none = [0, 0]
    return ops.interpolate(image, sizes, mode, "sizes", none, none, coordinates, "floor", axes=axes)


def convolved(image: Any, weights: np.ndarray, stride: int = 1, pad: int = 1) -> Any:
    ones, pads = [1, 1], [pad, pad]
    return ops.convolution(image, ops.constant(weights), [stride] * 2, pads, pads, ones)


def normalised(image: Any, count: int) -> Any:
    gamma, beta, mean = (ops.constant(floats(count)) for _ in range(3))
    variance = ops.constant(np.abs(floats(count)) + 0.5)
    return ops.batch_norm_inference(image, gamma, beta, mean, variance, 1e-3)


@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize("beside", [0, 3])
def test_an_enlarged_image_is_never_made(with_norm: bool, beside: int) -> None:
    small = ops.parameter([2, 4, 5, 6], np.float32)
    inputs, values = [small], [floats(2, 4, 5, 6)]
    large = enlarged(small, 5, 6)
    if beside:
        inputs.append(ops.parameter([2, beside, 10, 12], np.float32))
        values.append(floats(2, beside, 10, 12))
        large = ops.concat([large, inputs[1]], 1)
    out = convolved(large, floats(7, 4 + beside, 3, 3))
    out = ops.relu(normalised(out, 7) if with_norm else out)
    found = assert_same(openvino.Model([out], inputs), *values)
    assert found["ConvolutionBackpropData"] == 1
    assert not found["Interpolate"]
    assert not found["Concat"]
    assert not found["BatchNormInference"]
    assert found["Convolution"] == bool(beside)


def test_what_two_ask_for_is_answered_to_both() -> None:
    small = ops.parameter([1, 4, 5, 6], np.float32)
    large = enlarged(small, 5, 6)
    both = convolved(large, floats(4, 4, 3, 3))
    out = ops.add(ops.add(normalised(both, 4), both), large)
    found = assert_same(openvino.Model([out], [small]), floats(1, 4, 5, 6))
    assert found["ConvolutionBackpropData"] == found["Interpolate"] == 1


def _as_it_is() -> dict[str, Callable[[Any], Any]]:
    def second(small: Any) -> Any:
        large = enlarged(small, 4, 6)
        return convolved(ops.concat([ops.relu(large), large], 1), floats(2, 8, 3, 3))

    return {
        "bilinear": lambda small: convolved(enlarged(small, 4, 6, "linear"), floats(2, 4, 3, 3)),
        "four times": lambda small: convolved(enlarged(small, 4, 6, times=4), floats(2, 4, 3, 3)),
        "five by five": lambda small: convolved(enlarged(small, 4, 6), floats(2, 4, 5, 5), pad=2),
        "stride": lambda small: convolved(enlarged(small, 4, 6), floats(2, 4, 3, 3), stride=2),
        "no pad": lambda small: convolved(enlarged(small, 4, 6), floats(2, 4, 3, 3), pad=0),
        "second": second,
    }


@pytest.mark.parametrize("name", _as_it_is())
def test_what_fits_no_rule_stays(name: str) -> None:
    small = ops.parameter([1, 4, 4, 6], np.float32)
    graph = openvino.Model([_as_it_is()[name](small)], [small])
    before = kinds(graph)
    after = assert_same(graph, floats(1, 4, 4, 6))
    assert after["Convolution"] == before["Convolution"] == 1
    assert not after["ConvolutionBackpropData"]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_one_output_is_summed_from_channels(kernel: int, stride: int) -> None:
    image = ops.parameter([2, 16, 9, 8], np.float32)
    out = convolved(image, floats(1, 16, kernel, kernel), stride, kernel // 2)
    found = assert_same(openvino.Model([out], [image]), floats(2, 16, 9, 8))
    assert found["GroupConvolution"] == 1


@pytest.mark.parametrize(
    ("architecture", "repeats_pixels"),
    [("Unet", True), ("UnetPlusPlus", True), ("FPN", False)],
)
def test_networks_answer_as_before(
    architecture: str,
    repeats_pixels: bool,
    make_card: Callable[..., ModelCard],
    make_network: Callable[[ModelCard], Any],
    tmp_path: Any,
) -> None:
    arguments: dict[str, Any] = {"encoder_name": "resnet18"}
    if architecture.startswith("Unet"):
        arguments["decoder_channels"] = [32, 16, 16, 8, 8]
    card = make_card(architecture=architecture, arguments=arguments)
    export_onnx(make_network(card), card, tmp_path / "model.onnx")
    graph = openvino.Core().read_model(tmp_path / "model.onnx")
    graph.reshape([1, 3, 64, 96])
    before = kinds(graph)
    found = assert_same(graph, floats(1, 3, 64, 96))
    folded = before["Interpolate"] if repeats_pixels else 0
    assert folded >= 5 or not repeats_pixels
    assert found["Interpolate"] == before["Interpolate"] - folded
    assert found["ConvolutionBackpropData"] == before["ConvolutionBackpropData"] + folded
    assert found["GroupConvolution"] == 1, "the head, of one class"


def test_the_shipped_form_is_the_one_that_runs(tiny_bundle: Bundle) -> None:
    from geotiler.models.predictor import open_predictor
    from geotiler.specs import Backend

    tiles = floats(1, 3, 64, 64)
    answers = [
        open_predictor(tiny_bundle, backend=backend, tile_shape=(64, 64))(tiles)
        for backend in (Backend.OPENVINO, Backend.ONNX, Backend.TORCH)
    ]
    for other in answers[1:]:
        np.testing.assert_allclose(answers[0], other, rtol=0, atol=1e-4)

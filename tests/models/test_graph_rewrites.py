"""A rewritten graph answers as the one it was, to the last digits of float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
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
    np.testing.assert_allclose(answer(graph, *inputs), before, rtol=1e-5, atol=1e-4)
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


def padded(small: Any) -> Any:
    """Eight by twelve pixels of an image that is first padded by one row and column."""
    sizes, axes, one = np.array([8, 12]), np.array([2, 3]), [0, 0, 1, 1]
    return ops.interpolate(
        small, sizes, "nearest", "sizes", one, [0] * 4, "asymmetric", "floor", axes=axes
    )


def times_2_3(small: Any) -> Any:
    """Three rows are six then, too, but not each of them twice."""
    cut = ops.slice(small, *(np.array(each) for each in ([0, 0], [3, 3], [1, 1], [2, 3])))
    factors, axes = np.array([2.3, 2.3], np.float32), np.array([2, 3])
    return ops.interpolate(
        cut, factors, "nearest", "scales", [0] * 4, [0] * 4, "asymmetric", "floor", axes=axes
    )


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
        "padded": lambda small: convolved(padded(small), floats(2, 4, 3, 3)),
        "nearly twice": lambda small: convolved(times_2_3(small), floats(2, 4, 3, 3)),
        "one pixel": lambda small: convolved(small, floats(1, 4, 1, 1), pad=0),
    }


@pytest.mark.parametrize("name", _as_it_is())
def test_what_fits_no_rule_stays(name: str) -> None:
    small = ops.parameter([1, 4, 4, 6], np.float32)
    graph = openvino.Model([_as_it_is()[name](small)], [small])
    before = kinds(graph)
    after = assert_same(graph, floats(1, 4, 4, 6))
    assert after["Convolution"] == before["Convolution"] == 1
    assert not after["ConvolutionBackpropData"]
    assert not after["GroupConvolution"]


@pytest.mark.parametrize("factors", [(2.0, 2.0), (1.0, 1.0, 2.0, 2.0)])
def test_factors_of_two_are_sizes_of_two(factors: tuple[float, ...]) -> None:
    small = ops.parameter([1, 4, 5, 6], np.float32)
    axes = np.arange(4)[-len(factors) :]
    scales = np.array(factors, np.float32)
    none = [0] * 4
    large = ops.interpolate(
        small, scales, "nearest", "scales", none, none, "asymmetric", "floor", axes=axes
    )
    graph = openvino.Model([convolved(large, floats(2, 4, 3, 3))], [small])
    assert assert_same(graph, floats(1, 4, 5, 6))["ConvolutionBackpropData"] == 1


def test_convolutions_of_lines_and_volumes_stay() -> None:
    line = ops.parameter([1, 4, 9], np.float32)
    answer_of_line = ops.convolution(line, ops.constant(floats(1, 4, 3)), [1], [1], [1], [1])
    assert assert_same(openvino.Model([answer_of_line], [line]), floats(1, 4, 9))["Convolution"]


def test_graphs_of_other_types_stay() -> None:
    small = ops.parameter([1, 4, 4, 6], np.float16)
    weights = floats(1, 4, 3, 3).astype(np.float16)
    graph = openvino.Model([convolved(enlarged(small, 4, 6), weights)], [small])
    before = kinds(graph)
    rewrite(graph)
    assert kinds(graph) == before
    openvino.Core().compile_model(graph, "CPU")


def test_no_model_is_refused_for_a_rewrite(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geotiler.models import openvino_predictor
    from geotiler.models.predictor import open_predictor

    def half_done(graph: openvino.Model) -> None:
        rewrite(graph)
        raise RuntimeError("OpenVINO takes it for wrong")

    tiles = floats(1, 3, 64, 64)
    expected = open_predictor(tiny_bundle, tile_shape=(64, 64))(tiles)
    monkeypatch.setattr(openvino_predictor, "rewrite", half_done)
    found = open_predictor(tiny_bundle, tile_shape=(64, 64))(tiles)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_weights_of_integers_stay_so() -> None:
    image = ops.parameter([1, 4, 4, 6], np.float32)
    weights = ops.constant(RANDOM.integers(-9, 9, (1, 4, 3, 3), np.int8))
    ones = [1, 1]
    out = ops.convolution(image, ops.convert(weights, "f32"), ones, ones, ones, ones)
    graph = openvino.Model([out], [image])
    before = kinds(graph)
    rewrite(graph)
    assert kinds(graph) == before


@pytest.mark.parametrize("kernel", [3, 5])
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
    tmp_path: Path,
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
    heads = 1 if repeats_pixels else 0  # the others' convolve single pixels
    assert found["GroupConvolution"] == before["GroupConvolution"] + heads


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

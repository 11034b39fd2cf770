"""What is computed in turns is what was computed at once, and its images are small."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from geotiler.models.graph_bands import compute_in_turns
from geotiler.models.graph_rewrites import rewrite

RANDOM = np.random.default_rng(7)
WEIGHTS = Path(__file__).parents[2] / "weights"
Image = Any


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def answer(graph: openvino.Model, image: np.ndarray) -> np.ndarray:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    return np.array(openvino.Core().compile_model(graph.clone(), "CPU", settings)([image])[0])


def largest(graph: openvino.Model) -> int:
    """Values of the largest image that is computed."""
    images = [
        node.get_output_shape(0)
        for node in graph.get_ordered_ops()
        if node.get_type_name() not in ("Constant", "Parameter", "Result")
    ]
    return max(int(np.prod(shape)) for shape in images)


def convolved(image: Image, count: int, size: int, step: int = 1, dilation: int = 1) -> Image:
    pads = [dilation * (size // 2)] * 2
    weights = ops.constant(floats(count, image.get_output_shape(0)[1], size, size) / size)
    return ops.convolution(image, weights, [step] * 2, pads, pads, [dilation] * 2)


def each_convolved(image: Image, step: int = 1, groups: int | None = None) -> Image:
    count = image.get_output_shape(0)[1]
    groups = groups or count
    weights = ops.constant(floats(groups, count // groups, count // groups, 3, 3) / 3)
    return ops.group_convolution(image, weights, [step] * 2, [1, 1], [1, 1], [1, 1])


def normalised(image: Image) -> Image:
    count = image.get_output_shape(0)[1]
    gamma, beta, mean = (ops.constant(floats(count)) for _ in range(3))
    variance = ops.constant(np.abs(floats(count)) + 0.5)
    return ops.batch_norm_inference(image, gamma, beta, mean, variance, 1e-3)


def up_to_six(image: Image) -> Image:
    zero, six = np.float32(0), np.float32(6)
    return ops.minimum(ops.constant(six), ops.maximum(image, ops.constant(zero)))


def enlarged(image: Image, count: int, size: int = 4) -> Image:
    is_output = isinstance(image, openvino.Output)
    channels = (image.get_shape() if is_output else image.get_output_shape(0))[1]
    weights = ops.constant(floats(channels, count, size, size) / size)
    pads = [(size - 2) // 2] * 2
    return ops.convolution_backprop_data(image, weights, [2, 2], pads_begin=pads, pads_end=pads)


def model(build: Callable[[Image], Image], height: int, width: int) -> openvino.Model:
    image = ops.parameter([1, 3, height, width], np.float32)
    return openvino.Model([build(image)], [image])


def block(image: Image, step: int = 1, channels: int = 80) -> Image:
    """A block of MobileNetV2, at half the resolution."""
    small = ops.relu(convolved(image, 8, 3, step=2))
    many = up_to_six(normalised(convolved(small, channels, 1)))
    many = up_to_six(normalised(each_convolved(many, step)))
    return normalised(convolved(many, 5, 1))


@pytest.mark.parametrize("channels", [80, 100])
@pytest.mark.parametrize("step", [1, 2])
def test_a_block_of_many_channels_is_computed_row_by_row(step: int, channels: int) -> None:
    graph = model(lambda image: block(image, step, channels), 46, 10)
    image = floats(1, 3, 46, 10)
    before, most = answer(graph, image), largest(graph)
    assert most == channels * 23 * 5
    compute_in_turns(graph, least_px=1)
    rows = {1: 8, 2: 7}[step]  # a quarter of them, and those they see
    assert largest(graph) == channels * rows * 5
    np.testing.assert_allclose(answer(graph, image), before, rtol=1e-4, atol=1e-4)


def test_what_a_decoder_takes_up_again_is_whole_and_all_else_as_high_is_not() -> None:
    def build(tile: Image) -> Image:
        first = ops.relu(convolved(tile, 9, 3, step=2))
        kept = ops.relu(convolved(ops.relu(each_convolved(first)), 4, 1))
        deep = ops.relu(convolved(ops.relu(convolved(kept, 6, 3, step=2)), 6, 3))
        half = ops.relu(ops.add(enlarged(deep, 7), convolved(kept, 7, 3)))
        return ops.sigmoid(convolved(ops.relu(enlarged(half, 5)), 1, 3))

    graph = model(build, 64, 12)
    image = floats(1, 3, 64, 12)
    before = answer(graph, image)
    compute_in_turns(graph, least_px=1)
    whole = [
        list(node.get_output_shape(0))
        for node in graph.get_ordered_ops()
        if node.get_type_name() not in ("Constant", "Parameter", "Result")
        and node.get_output_shape(0)[2] >= 32
    ]
    assert whole == [[1, 4, 32, 6], [1, 1, 64, 12]]
    np.testing.assert_allclose(answer(graph, image), before, rtol=1e-5, atol=1e-5)


def _wide_parts() -> dict[str, Callable[[Image], Image]]:
    return {
        "not pointwise": lambda image: convolved(
            each_convolved(convolved(image, 80, 3, step=2)), 3, 1
        ),
        "ends in more": lambda image: convolved(each_convolved(convolved(image, 80, 1)), 3, 3),
        "in groups": lambda image: convolved(
            each_convolved(convolved(image, 80, 1), groups=40), 3, 1
        ),
        "by channel": lambda image: convolved(
            ops.maximum(convolved(image, 80, 1), ops.constant(floats(1, 80, 1, 1))), 3, 1
        ),
        "never each": lambda image: convolved(ops.relu(convolved(image, 80, 1)), 3, 1),
    }


@pytest.mark.parametrize("name", _wide_parts())
def test_whatever_is_wide_between_narrow_images_is_computed_row_by_row(name: str) -> None:
    graph = model(lambda image: ops.softmax(_wide_parts()[name](image), 2), 46, 10)
    image = floats(1, 3, 46, 10)
    before, most = answer(graph, image), largest(graph)
    compute_in_turns(graph, least_px=1, most_work=2)
    assert largest(graph) < most / 2
    np.testing.assert_allclose(answer(graph, image), before, rtol=1e-4, atol=1e-4)


def _unknown_wide_parts() -> dict[str, Callable[[Image], Image]]:
    def seen_twice(image: Image) -> Image:
        many = convolved(ops.relu(convolved(image, 8, 3, step=2)), 80, 1)
        return ops.add(convolved(each_convolved(many), 3, 1), convolved(many, 3, 1))

    def last(image: Image) -> Image:
        return each_convolved(convolved(image, 80, 1))

    def no_image(image: Image) -> Image:
        flat = ops.reduce_mean(
            ops.relu(convolved(image, 80, 3)), ops.constant(np.array([1, 2, 3])), False
        )
        return ops.reshape(flat, ops.constant(np.array([1, 1, 1, 1])), False)

    return {build.__name__: build for build in (seen_twice, last, no_image)}


@pytest.mark.parametrize("name", _unknown_wide_parts())
def test_what_is_not_narrow_again_is_left(name: str) -> None:
    graph = model(lambda image: ops.softmax(_unknown_wide_parts()[name](image), 2), 46, 10)
    image = floats(1, 3, 46, 10)
    before, most = answer(graph, image), largest(graph)
    compute_in_turns(graph, least_px=1, most_work=9)
    assert largest(graph) == most
    np.testing.assert_allclose(answer(graph, image), before, rtol=1e-4, atol=1e-4)


def products(graph: openvino.Model) -> int:
    """Of all convolutions of a graph of plain ones."""
    return sum(
        int(np.prod(node.get_output_shape(0))) * int(np.prod(node.input_value(1).get_shape()[1:]))
        for node in graph.get_ordered_ops()
        if node.get_type_name() == "Convolution"
    )


def _residual(image: Image, blocks: int) -> Image:
    for _ in range(blocks):
        image = ops.relu(ops.add(image, convolved(ops.relu(convolved(image, 4, 3)), 4, 3)))
    return image


@pytest.mark.parametrize("blocks", [1, 2, 4, 8, 20])
def test_turns_take_little_more_work_or_none_are_made(blocks: int) -> None:
    """What several parts of a turn ask of one image is computed for them together."""
    graph = model(
        lambda tile: convolved(_residual(enlarged(convolved(tile, 5, 3, step=2), 4), blocks), 1, 3),
        640, 8,
    )  # fmt: skip
    image = floats(1, 3, 640, 8)
    before, most, work = answer(graph, image), largest(graph), products(graph)
    compute_in_turns(graph, least_px=1)
    assert products(graph) <= 1.15 * work
    assert (largest(graph) < most) == (blocks < 20)  # each adds the four rows that it sees
    assert np.abs(answer(graph, image) - before).max() <= 1e-5 * np.abs(before).max()


def test_what_something_else_needs_whole_is_not_computed_twice() -> None:
    def build(tile: Image) -> Image:
        both = ops.relu(convolved(tile, 6, 3, step=2))
        left, right = (ops.relu(convolved(ops.relu(convolved(both, 6, 3)), 4, 3)) for _ in "lr")
        deep = ops.concat([convolved(left, 4, 3, step=2), convolved(right, 4, 3, step=2)], 1)
        half = ops.add(enlarged(deep, 5), ops.add(convolved(left, 5, 1), convolved(right, 5, 1)))
        return convolved(ops.relu(half), 1, 1)

    graph = model(build, 640, 8)
    image = floats(1, 3, 640, 8)
    before, work = answer(graph, image), products(graph)
    compute_in_turns(graph, least_px=1)
    assert products(graph) <= 1.15 * work
    np.testing.assert_allclose(answer(graph, image), before, rtol=1e-4, atol=1e-4)


def _ends() -> dict[str, Callable[[Image, Image], Image]]:
    """What may follow the last enlargement: of (half as high, the tile)."""
    return {
        "as in a U-Net": lambda half, _: ops.sigmoid(
            convolved(ops.relu(normalised(convolved(ops.relu(enlarged(half, 6)), 6, 3))), 1, 3)
        ),
        "wide kernels": lambda half, _: convolved(enlarged(half, 4), 2, 5, dilation=2),
        "kernels of two": lambda half, _: convolved(enlarged(half, 4, size=2), 2, 1),
        "each channel": lambda half, _: each_convolved(ops.relu(enlarged(half, 6))),
        "the tile again": lambda half, tile: ops.add(
            convolved(tile, 5, 3), ops.add(enlarged(half, 5), ops.constant(floats(1, 5, 1, 1)))
        ),
        "classes": lambda half, _: ops.softmax(convolved(enlarged(half, 4), 3, 3), 1),
        "parts of one": lambda half, _: ops.add(
            *(
                enlarged(part, 4)
                for part in ops.split(
                    ops.concat([half, ops.relu(convolved(half, 7, 1))], 1), ops.constant(1), 2
                ).outputs()
            )
        ),
        "another type": lambda half, _: ops.convert(ops.convert(enlarged(half, 4), "f16"), "f32"),
        "one image twice": lambda half, _: (
            lambda large: ops.add(
                convolved(large, 4, 3), ops.maximum(large, convolved(large, 4, 1))
            )
        )(enlarged(half, 4)),
    }


@pytest.mark.parametrize("height", [2, 6, 26, 34])
@pytest.mark.parametrize("name", _ends())
def test_rows_after_rows_are_all_rows(name: str, height: int) -> None:
    def build(tile: Image) -> Image:
        half = ops.relu(convolved(tile, 7, 3, step=2))
        return convolved(_ends()[name](half, tile), 1, 1)

    graph = model(build, height, 12)
    image = floats(1, 3, height, 12)
    before, most = answer(graph, image), largest(graph)
    compute_in_turns(graph, least_px=1, most_work=9)
    if height > 20:
        assert largest(graph) < most
    np.testing.assert_allclose(answer(graph, image), before, rtol=1e-5, atol=1e-5)


def _unknown_ends() -> dict[str, Callable[[Image], Image]]:
    axes = ops.constant(np.array([2, 3]))
    by_row = ops.constant(floats(1, 1, 26, 1))
    return {
        "mean over rows": lambda large: ops.subtract(large, ops.reduce_mean(large, axes, True)),
        "a value per row": lambda large: ops.add(large, by_row),
        "add of a mean": lambda large: ops.add(large, ops.reduce_mean(large, axes, True)),
        "softmax over rows": lambda large: ops.softmax(large, 2),
        "a value per channel and row": lambda large: ops.add(large, ops.constant(floats(4, 26, 1))),
        "many blocks": lambda large: functools.reduce(
            lambda image, _: ops.add(image, convolved(ops.relu(convolved(image, 4, 3)), 4, 3)),
            range(12),
            large,
        ),
        "same padding": lambda large: ops.convolution(
            large, ops.constant(floats(2, 4, 3, 3)), [1, 1], [0, 0], [0, 0], [1, 1], "same_upper"
        ),
    }


@pytest.mark.parametrize("name", _unknown_ends())
def test_an_end_that_is_not_understood_is_left(name: str) -> None:
    def build(tile: Image) -> Image:
        return _unknown_ends()[name](enlarged(ops.relu(convolved(tile, 7, 3, step=2)), 4))

    graph = model(build, 26, 12)
    image = floats(1, 3, 26, 12)
    before, most = answer(graph, image), largest(graph)
    compute_in_turns(graph, least_px=1)
    assert largest(graph) == most
    np.testing.assert_allclose(answer(graph, image), before, rtol=1e-5, atol=1e-5)


def test_small_images_and_several_at_once_are_computed_as_ever() -> None:
    graph = model(block, 14, 10)
    compute_in_turns(graph)
    assert largest(graph) == 80 * 7 * 5
    image = ops.parameter([2, 3, 14, 10], np.float32)
    graph = openvino.Model([block(image)], [image])
    compute_in_turns(graph, least_px=1)
    assert largest(graph) == 2 * 80 * 7 * 5


@pytest.mark.parametrize("name", ["buildings", "buildings-accurate"])
def test_the_images_of_the_shipped_networks_are_small(name: str) -> None:
    graph = openvino.Core().read_model(WEIGHTS / name / "model.onnx")
    graph.reshape([1, 3, 1056, 992])
    assert largest(graph) == 32 * 1056 * 992
    at_once = graph.clone()
    rewrite(graph)
    assert largest(graph) <= 5 * 1056 * 992
    image = floats(1, 3, 1056, 992)
    np.testing.assert_allclose(answer(graph, image), answer(at_once, image), rtol=0, atol=5e-6)

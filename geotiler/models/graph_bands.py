"""Parts of a network's graph computed in turns, so that its largest images are never whole.

What a network needs of memory is set by a few images with many channels at a high resolution. They
are computed for some rows after others, each convolution being given the rows above and below that
it sees, from an image that is whole to the next one:

- a block that multiplies the channels, convolves each for itself and adds them up again
  (MobileNetV2), from its few channels to its few channels;
- what is as high as the tile or half as high: from the tile to what a decoder takes up later, and
  from the last but one enlargement of a decoder to the answer.

The products are the same, and those of the rows that two turns share are computed twice: at most
15 % more, else nothing is changed.

Source of the idea: Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep
Learning", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from openvino import Model
from openvino import opset13 as ops

from geotiler.models.graph_values import is_constant, replace_output

_Key = tuple[str, int]
"""Tells an output of a node."""

_LEAST_PX = 1_000_000
"""From here on it pays: what smaller images need is small anyway."""
_MOST_PER_PX = 8
"""Values per pixel of the tile that an image of many channels may have."""
_BAND_PX = 200
"""Rows of the tile that one turn is about. With fewer the bare network is faster still, but takes
longer to compile, and beside the threads of a run, which it waits for at each layer, it gains
nothing."""
_LEAST_BANDS = 4
_MOST_NODES = 64
"""Of one turn: each of them has to be compiled for each turn."""
_MOST_WORK = 1.15
"""Products over those of the graph as it was: turns share rows, the more the deeper they reach."""
_POINTWISE: dict[str, Callable[..., Any]] = {
    "Add": ops.add,
    "Maximum": ops.maximum,
    "Minimum": ops.minimum,
    "Relu": ops.relu,
    "Sigmoid": ops.sigmoid,
}


def compute_in_turns(
    graph: Model, least_px: int = _LEAST_PX, most_work: float = _MOST_WORK
) -> None:
    """Change a graph of one image of fixed size in place; what fits no rule stays as it is.

    Args:
        graph: takes one image.
        least_px: pixels of an image from which anything is changed.
        most_work: products that turns may take, over those of the graph as it is.

    Raises:
        RuntimeError: OpenVINO takes a change for wrong; the graph is of no use then.
    """
    shape = list(graph.inputs[0].get_shape())
    if len(shape) != 4 or shape[0] != 1 or shape[2] * shape[3] < least_px:
        return
    height, width = shape[2:]
    turns = _Turns(max(_LEAST_BANDS, height // _BAND_PX), most_work)
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            _split_expansion(node, _MOST_PER_PX * height * width, turns)
    images = _images(graph)
    taken_up = _taken_up(images)

    def is_whole(image: Any) -> bool:
        return 2 * _height(image) < height or _key(image) in taken_up

    for image in images:
        if _key(image) not in taken_up or 2 * _height(image) < height:
            continue
        takers = image.get_target_inputs()
        made = turns.by_rows(image, is_whole)
        if made is not None:
            taken_up.add(_key(made))
            for taker in takers:
                taker.replace_source_output(made)
    for result in graph.get_results():
        image = result.input_value(0)
        if _height(image) != height:
            continue
        made = turns.by_rows(image, is_whole)
        if made is None:  # what is half as high holds something unknown
            made = turns.by_rows(image, lambda other: _height(other) != height)
        if made is not None:
            result.input(0).replace_source_output(made)
    graph.validate_nodes_and_infer_types()


def _images(graph: Model) -> list[Any]:
    """All images that a graph computes, each before those that are made of it."""
    outputs = [
        output
        for node in graph.get_ordered_ops()
        if node.get_type_name() not in ("Constant", "Parameter", "Result")
        for output in node.outputs()
    ]
    return [output for output in outputs if _height(output)]


def _taken_up(images: Sequence[Any]) -> set[_Key]:
    """Images that smaller ones are made of, and that a decoder takes up again."""
    descends: set[_Key] = set()
    found: set[_Key] = set()
    for image in reversed(images):
        lower = [
            any(
                _key(made) in descends or 0 < _height(made) < _height(image)
                for made in taker.get_node().outputs()
            )
            for taker in image.get_target_inputs()
        ]
        if any(lower):
            descends.add(_key(image))
            if not all(lower):
                found.add(_key(image))
    return found


def _split_expansion(first: Any, most: int, turns: _Turns) -> None:
    """Compute what begins at a convolution with many outputs for some rows after others.

    Args:
        first: a convolution.
        most: values that its answer may have.
        turns: that are made.
    """
    if int(np.prod(first.get_output_shape(0))) <= most:
        return
    source = first.input_value(0)
    last = _narrow_again(first, int(np.prod(source.get_shape())))
    if last is None:
        return
    made = turns.by_rows(last.output(0), lambda image: _key(image) == _key(source))
    if made is not None:
        replace_output(last, made)


def _narrow_again(first: Any, size: int) -> Any | None:
    """The first node behind another, each with one taker, whose answer has at most `size` values.

    None, where there is none.
    """
    node = first
    while int(np.prod(node.get_output_shape(0))) > size:
        takers = {each.get_node().get_name(): each.get_node() for each in _takers(node)}
        if len(takers) != 1:
            return None
        node = next(iter(takers.values()))
        if len(node.outputs()) != 1:
            return None
    return node


class _UnknownError(Exception):
    """An operation of which it is not known what rows it sees."""


class _Turns:
    """What makes images in turns."""

    def __init__(self, count: int, most_work: float) -> None:
        """Args: count: turns of an image. most_work: see `compute_in_turns`."""
        self._count = count
        self._most_work = most_work

    def by_rows(self, image: Any, is_whole: Callable[[Any], bool]) -> Any | None:
        """An image as computed for some rows after others; None where that does not pay or work.

        Args:
            image: what is wanted.
            is_whole: whether another image, which it depends on, is there as a whole.
        """
        height = _height(image)
        if not height:
            return None
        try:
            parts = _depended_on(image, is_whole)
            work = {name: _work(node) for name, node in parts.items() if _work(node)}
            if len(work) < 2 or not _is_alone(image, parts):  # nothing large lies between
                return None
            step = -(-height // self._count)
            ranges = [
                _rows_needed(image, parts, first, min(first + step, height))
                for first in range(0, height, step)
            ]
            total = sum(
                work[name] * (last - first)
                for needed in ranges
                for (name, _), (first, last) in needed.items()
                if name in work
            )
            whole = sum(each * _height(parts[name].output(0)) for name, each in work.items())
            if total > self._most_work * whole:
                return None
            bands = [_made(image, parts, needed) for needed in ranges]
        except _UnknownError:
            return None
        return ops.concat(bands, 2).output(0)


def _depended_on(image: Any, is_whole: Callable[[Any], bool]) -> dict[str, Any]:
    """Nodes that are computed for an image, by name, each before those that it is made of.

    Raises:
        _UnknownError: there are too many, or rows of one cannot be had alone.
    """
    found: dict[str, Any] = {}
    order: list[Any] = []
    stack: list[tuple[Any, bool]] = [(image.get_node(), False)]
    while stack:  # depth first: a node is done when all that it is made of is
        node, is_done = stack.pop()
        if is_done:
            order.append(node)
            continue
        if node.get_name() in found:
            continue
        if len(found) >= _MOST_NODES or node.get_output_size() != 1:
            raise _UnknownError(node.get_type_name())
        found[node.get_name()] = node
        stack.append((node, True))
        for source, _ in _sources(node.output(0), 0, 1):
            below = source.get_node()
            if below.get_type_name() != "Parameter" and not is_whole(source):
                stack.append((below, False))
    return {node.get_name(): node for node in reversed(order)}


def _is_alone(image: Any, parts: Mapping[str, Any]) -> bool:
    """Whether nothing else is made of what is computed for an image, and would need it whole."""
    takers = {
        taker.get_node().get_name()
        for node in parts.values()
        if node.get_name() != image.get_node().get_name()
        for taker in _takers(node)
    }
    return takers <= parts.keys()


def _rows_needed(
    image: Any, parts: Mapping[str, Any], first: int, last: int
) -> dict[_Key, tuple[int, int]]:
    """Rows of each image that some rows of one are made of, those that several ask for together."""
    needed = {_key(image): (first, last)}
    for node in parts.values():
        for source, (low, high) in _sources(node.output(0), *needed[_key(node.output(0))]):
            before = needed.get(_key(source), (low, high))
            needed[_key(source)] = (min(low, before[0]), max(high, before[1]))
    return needed


def _made(image: Any, parts: Mapping[str, Any], needed: Mapping[_Key, tuple[int, int]]) -> Any:
    """The rows of an image, computed from the rows that they need."""
    made: dict[_Key, Any] = {}
    cut: dict[tuple[_Key, int, int], Any] = {}

    def rows(source: Any, first: int, last: int) -> Any:
        key = _key(source)
        low, high = needed[key]
        if key in made and (low, high) == (first, last):
            return made[key]
        if (key, first, last) not in cut:
            whole, above = (made[key], low) if key in made else (source, 0)
            at = [np.array([value]) for value in (first - above, last - above, 1, 2)]
            cut[key, first, last] = ops.slice(whole, *at).output(0)
        return cut[key, first, last]

    for node in reversed(list(parts.values())):
        output = node.output(0)
        first, last = needed[_key(output)]
        inputs = {_key(source): rows(source, *at) for source, at in _sources(output, first, last)}
        made[_key(output)] = _computed(node, inputs, first, last)
    return made[_key(image)]


def _sources(image: Any, first: int, last: int) -> list[tuple[Any, tuple[int, int]]]:
    """Images that rows [first, last) of one are made of, with the rows of each.

    Raises:
        _UnknownError: it is not known.
    """
    node, kind = image.get_node(), image.get_node().get_type_name()
    given = node.get_attributes()
    if given.get("auto_pad", "explicit") != "explicit" or not _height(image):
        raise _UnknownError(kind)
    if kind in ("Convolution", "GroupConvolution"):
        source, kernel = node.input_values()
        size, step = kernel.get_shape()[-2], given["strides"][0]
        low = first * step - given["pads_begin"][0]
        high = low + (last - 1 - first) * step + (size - 1) * given["dilations"][0] + 1
        return [(source, (max(0, low), min(_height(source), high)))]
    if kind == "ConvolutionBackpropData" and node.get_input_size() == 2:
        source, kernel = node.input_values()
        size, step, above = kernel.get_shape()[2], given["strides"][0], given["pads_begin"][0]
        if list(given["dilations"]) != [1, 1] or any(given["output_padding"]):
            raise _UnknownError(kind)
        # Row i adds to rows i * step - above ... + size - 1 of the answer.
        low = max(0, -(-(first + above - size + 1) // step))
        high = min(_height(source), (last - 1 + above) // step + 1)
        return [(source, (low, high))]
    is_by_pixel = kind in ("BatchNormInference", "Convert", *_POINTWISE)
    if not is_by_pixel and not (kind == "Softmax" and given["axis"] == 1):
        raise _UnknownError(kind)
    inputs = [each for each in node.input_values() if _is_image(each, _height(image))]
    return [(each, (first, last)) for each in inputs]


def _computed(node: Any, inputs: Mapping[_Key, Any], first: int, last: int) -> Any:
    """Rows [first, last) of a node's answer, from the rows that `_sources` names."""
    kind, given = node.get_type_name(), node.get_attributes()
    taken = [inputs.get(_key(each), each) for each in node.input_values()]
    if kind in ("Convolution", "GroupConvolution"):
        height = node.input_value(0).get_shape()[2]
        low = first * given["strides"][0] - given["pads_begin"][0]
        size = (node.input_value(1).get_shape()[-2] - 1) * given["dilations"][0] + 1
        high = low + (last - 1 - first) * given["strides"][0] + size
        before = [max(0, -low), given["pads_begin"][1]]
        behind = [max(0, high - height), given["pads_end"][1]]
        make = ops.convolution if kind == "Convolution" else ops.group_convolution
        return make(*taken, given["strides"], before, behind, given["dilations"]).output(0)
    if kind == "ConvolutionBackpropData":
        ((_, (low, high)),) = _sources(node.output(0), first, last)
        step, size = given["strides"][0], node.input_value(1).get_shape()[2]
        before = first + given["pads_begin"][0] - step * low
        behind = step * (high - low - 1) + size - before - (last - first)
        if min(before, behind) < 0:
            raise _UnknownError(kind)
        return ops.convolution_backprop_data(
            *taken, given["strides"],
            pads_begin=[before, given["pads_begin"][1]], pads_end=[behind, given["pads_end"][1]],
        ).output(0)  # fmt: skip
    if kind == "BatchNormInference":
        return ops.batch_norm_inference(*taken, given["epsilon"]).output(0)
    if kind == "Convert":
        return ops.convert(taken[0], given["destination_type"]).output(0)
    if kind == "Softmax":
        return ops.softmax(taken[0], 1).output(0)
    return _POINTWISE[kind](*taken).output(0)


def _work(node: Any) -> int:
    """Products of one row of a convolution's answer; 0 for what is none."""
    kind = node.get_type_name()
    if kind not in ("Convolution", "GroupConvolution", "ConvolutionBackpropData"):
        return 0
    _, channels, _, width = node.get_output_shape(0)
    kernel = list(node.input_value(1).get_shape())
    per_value = int(np.prod(kernel)) // channels
    if kind == "ConvolutionBackpropData":
        per_value //= int(np.prod(node.get_attributes()["strides"]))
    return max(1, int(per_value * channels * width))


def _is_image(value: Any, height: int) -> bool:
    """Whether a value has rows of its own. Raises: _UnknownError: but not so many."""
    shape = list(value.get_shape())
    if is_constant(value):
        if len(shape) > 1 and shape[-2] != 1:
            raise _UnknownError("Constant")
        return False
    if len(shape) != 4 or shape[2] != height:
        raise _UnknownError(value.get_node().get_type_name())
    return True


def _height(image: Any) -> int:
    """Rows of an image; 0 for what is none."""
    shape = image.get_partial_shape()
    return int(shape[2].get_length()) if len(shape) == 4 and shape[2].is_static else 0


def _key(image: Any) -> _Key:
    return image.get_node().get_name(), image.get_index()


def _takers(node: Any) -> Any:
    return node.output(0).get_target_inputs()

"""Parts of a network's graph computed in turns, so that its largest images are never whole.

What a network needs of memory is set by a few images with many channels at a high resolution. They
are computed for some rows after others, each convolution being given the rows above and below that
it sees, from an image that is whole to the next one:

- a block that multiplies the channels, convolves each for itself and adds them up again
  (MobileNetV2), from its few channels to its few channels;
- what is as high as the tile or half as high: from the tile to what a decoder takes up later, and
  from the last but one enlargement of a decoder to the answer.

The products are the same, but for the few rows that two turns share. What one turn needs stays in
a processor's cache, too: a U-Net took 0.93 to 0.95 of the time.

Source of the idea: Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep
Learning", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from openvino import Model
from openvino import opset13 as ops

from geotiler.models.graph_values import is_constant, replace_output

_LEAST_PX = 1_000_000
"""From here on it pays: what smaller images need is small anyway."""
_MOST_PER_PX = 8
"""Values per pixel of the tile that an image of many channels may have."""
_BAND_PX = 100
"""Rows of the tile that one turn is about. Fewer would be faster still, but each turn has to be
compiled, which takes longer than it gains on a scene of a few tiles."""
_LEAST_BANDS = 4
_MOST_NODES = 64
"""Of one band: where images are added to what was made of them, each may ask for other rows of the
same one, which would be computed again for each."""
_POINTWISE: dict[str, Callable[..., Any]] = {
    "Add": ops.add,
    "Maximum": ops.maximum,
    "Minimum": ops.minimum,
    "Relu": ops.relu,
    "Sigmoid": ops.sigmoid,
}


def compute_in_turns(graph: Model, least_px: int = _LEAST_PX) -> None:
    """Change a graph of one image of fixed size in place; what fits no rule stays as it is.

    Args:
        graph: takes one image.
        least_px: pixels of an image from which anything is changed.

    Raises:
        RuntimeError: OpenVINO takes a change for wrong; the graph is of no use then.
    """
    shape = list(graph.inputs[0].get_shape())
    if len(shape) != 4 or shape[0] != 1 or shape[2] * shape[3] < least_px:
        return
    height, width = shape[2:]
    count = max(_LEAST_BANDS, height // _BAND_PX)
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            _split_expansion(node, _MOST_PER_PX * height * width, count)
    images = _images(graph)
    taken_up = _taken_up(images)

    def is_whole(image: Any) -> bool:
        return 2 * image.get_shape()[2] < height or _key(image) in taken_up

    for image in images:
        if _key(image) not in taken_up or 2 * image.get_shape()[2] < height:
            continue
        takers = image.get_target_inputs()
        made = _by_rows(image, is_whole, count)
        if made is not None:
            taken_up.add(_key(made))
            for taker in takers:
                taker.replace_source_output(made)
    for result in graph.get_results():
        image = result.input_value(0)
        if len(image.get_shape()) != 4 or image.get_shape()[2] != height:
            continue
        made = _by_rows(image, is_whole, count)
        if made is None:  # what is half as high holds something unknown
            made = _by_rows(image, lambda other: bool(other.get_shape()[2] != height), count)
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
    return [output for output in outputs if len(output.get_partial_shape()) == 4]


def _taken_up(images: Sequence[Any]) -> set[tuple[str, int]]:
    """Images that smaller ones are made of, and that a decoder takes up again."""
    descends: set[tuple[str, int]] = set()
    found: set[tuple[str, int]] = set()
    for image in reversed(images):
        lower = [
            any(
                _key(made) in descends or made.get_shape()[2] < image.get_shape()[2]
                for made in taker.get_node().outputs()
                if len(made.get_partial_shape()) == 4
            )
            for taker in image.get_target_inputs()
        ]
        if any(lower):
            descends.add(_key(image))
            if not all(lower):
                found.add(_key(image))
    return found


def _key(image: Any) -> tuple[str, int]:
    return image.get_node().get_name(), image.get_index()


def _by_rows(image: Any, is_whole: Callable[[Any], bool], count: int) -> Any | None:
    """An image as computed for some rows after others; None where that cannot be or does not pay.

    Args:
        image: what is wanted.
        is_whole: whether another image, which it depends on, is there as a whole.
        count: turns.
    """
    height = image.get_shape()[2]
    step = -(-height // count)
    bands = []
    for first in range(0, height, step):
        band = _Band(image, is_whole)
        try:
            bands.append(band.rows(image, first, min(first + step, height)))
        except _UnknownError:
            return None
        if band.convolutions < 2:  # nothing large lies between
            return None
    return ops.concat(bands, 2).output(0)


def _split_expansion(first: Any, most: int, count: int) -> None:
    """Compute what begins at a convolution with many outputs for some rows after others.

    Args:
        first: a convolution.
        most: values that its answer may have.
        count: turns.
    """
    if int(np.prod(first.get_output_shape(0))) <= most:
        return
    source = first.input_value(0)
    last = _narrow_again(first, int(np.prod(source.get_shape())))
    if last is None:
        return
    made = _by_rows(last.output(0), lambda image: _key(image) == _key(source), count)
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


@dataclass
class _Band:
    """Rows of an image, made from the rows of those it depends on that they depend on."""

    wanted: Any
    """The image."""
    is_whole: Callable[[Any], bool]
    """Whether another image is there already."""
    convolutions: int = 0
    _made: dict[tuple[str, int, int, int], Any] = field(default_factory=dict)

    def rows(self, image: Any, first: int, last: int) -> Any:
        """Rows [first, last) of an image. Raises: _UnknownError: they cannot be had alone."""
        key = (image.get_node().get_name(), image.get_index(), first, last)
        if key not in self._made:
            if len(self._made) >= _MOST_NODES:
                raise _UnknownError("too many")
            self._made[key] = self._make(image, first, last)
        return self._made[key]

    def _make(self, image: Any, first: int, last: int) -> Any:
        node, kind = image.get_node(), image.get_node().get_type_name()
        is_wanted = _key(image) == _key(self.wanted)
        if kind == "Parameter" or (not is_wanted and self.is_whole(image)):
            at = [np.array([value]) for value in (first, last, 1, 2)]
            return ops.slice(image, *at).output(0)
        given = node.get_attributes()
        if given.get("auto_pad", "explicit") != "explicit" or node.get_output_size() != 1:
            raise _UnknownError(kind)
        if kind in ("Convolution", "GroupConvolution"):
            self.convolutions += 1
            return self._convolved(node, given, first, last)
        if kind == "ConvolutionBackpropData" and node.get_input_size() == 2:
            self.convolutions += 1
            return self._enlarged(node, given, first, last)
        inputs = [
            self.rows(each, first, last) if _is_image(each, image.get_shape()[2]) else each
            for each in node.input_values()
        ]
        if kind == "BatchNormInference":
            return ops.batch_norm_inference(*inputs, given["epsilon"]).output(0)
        if kind == "Convert":
            return ops.convert(inputs[0], given["destination_type"]).output(0)
        if kind == "Softmax" and given["axis"] == 1:
            return ops.softmax(inputs[0], 1).output(0)
        if kind not in _POINTWISE:
            raise _UnknownError(kind)
        return _POINTWISE[kind](*inputs).output(0)

    def _convolved(self, node: Any, given: Any, first: int, last: int) -> Any:
        source, kernel = node.input_values()
        size, step, dilation = (
            kernel.get_shape()[-2], given["strides"][0], given["dilations"][0],
        )  # fmt: skip
        above, height = given["pads_begin"][0], source.get_shape()[2]
        low = first * step - above
        high = (last - 1) * step - above + (size - 1) * dilation + 1
        rows = self.rows(source, max(0, low), min(height, high))
        make = ops.convolution if node.get_type_name() == "Convolution" else ops.group_convolution
        before = [max(0, -low), given["pads_begin"][1]]
        behind = [max(0, high - height), given["pads_end"][1]]
        made = make(rows, kernel, given["strides"], before, behind, given["dilations"])
        return made.output(0)

    def _enlarged(self, node: Any, given: Any, first: int, last: int) -> Any:
        source, kernel = node.input_values()
        size, step, above = kernel.get_shape()[2], given["strides"][0], given["pads_begin"][0]
        if list(given["dilations"]) != [1, 1] or any(given["output_padding"]):
            raise _UnknownError("ConvolutionBackpropData")
        # Row i adds to rows i * step - above ... + size - 1 of the answer.
        low = max(0, -(-(first + above - size + 1) // step))
        high = min(source.get_shape()[2], (last - 1 + above) // step + 1)
        before = first + above - step * low
        behind = step * (high - low - 1) + size - before - (last - first)
        if min(before, behind) < 0:
            raise _UnknownError("ConvolutionBackpropData")
        made = ops.convolution_backprop_data(
            self.rows(source, low, high), kernel, given["strides"],
            pads_begin=[before, given["pads_begin"][1]], pads_end=[behind, given["pads_end"][1]],
        )  # fmt: skip
        return made.output(0)


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


def _takers(node: Any) -> Any:
    return node.output(0).get_target_inputs()

"""Parts of a network's graph computed in turns, so that its largest images are never whole.

What a network needs of memory is set by a few images with many channels at a high resolution. Two
kinds of them can be had piece by piece, with the same products:

- A block that multiplies the channels, convolves each for itself and adds them up again
  (MobileNetV2) is the sum of such blocks over some of the channels.
- What follows the last enlargement is computed for some rows after others; each convolution is
  given the rows above and below that it sees.

Source of the first: Sandler et al., "MobileNetV2", CVPR 2018, section 5.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from openvino import Model
from openvino import opset13 as ops

from geotiler.models.graph_values import is_constant, replace_output, values

_LEAST_PX = 1_000_000
"""From here on it pays: what smaller images need is small anyway."""
_MOST_PER_PX = 8
"""Values per pixel of the tile that an image of many channels may have."""
_LANES = 16
"""Channels that processors compute at once."""
_BANDS = 4
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
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            _split_expansion(node, _MOST_PER_PX * height * width)
    for result in graph.get_results():
        _split_rows(result, height)
    graph.validate_nodes_and_infer_types()


def _split_expansion(first: Any, most: int) -> None:
    """Compute what begins at an expanding convolution for some channels after others.

    Args:
        first: a convolution.
        most: values that the expanded image may have.
    """
    chain = _expansion(first)
    parts = -(-int(np.prod(first.get_output_shape(0))) // most)
    if chain is None or parts < 2:
        return
    channels = first.get_output_shape(0)[1]
    step = max(_LANES, -(-channels // parts // _LANES) * _LANES)
    total = None
    for low in range(0, channels, step):
        part = first.input_value(0)
        for node in chain:
            part = _of_channels(node, part, slice(low, low + step), node is chain[0])
        total = part if total is None else ops.add(total, part).output(0)
    replace_output(chain[-1], total)


def _expansion(first: Any) -> list[Any] | None:
    """The nodes from a convolution 1×1 over one of each channel to the next one that adds up.

    None, if it is not the beginning of such a block.
    """
    chain, has_depthwise = [first], False
    while len(chain) == 1 or chain[-1].get_type_name() != "Convolution":
        takers = {each.get_node().get_name(): each.get_node() for each in _takers(chain[-1])}
        if len(takers) != 1:
            return None
        node = next(iter(takers.values()))
        kind, others = node.get_type_name(), node.input_values()[1:]
        if kind in ("Maximum", "Minimum"):  # with the constant first or last
            others = [each for each in node.input_values() if each.get_node() != chain[-1]]
            if any(np.prod(each.get_shape()) != 1 for each in others):
                return None
        elif kind == "GroupConvolution":
            has_depthwise = True
            if others[0].get_shape()[1] != 1 or others[0].get_shape()[2] != 1:
                return None
        elif kind not in ("BatchNormInference", "Relu", "Convolution"):
            return None
        if not all(map(is_constant, others)):
            return None
        chain.append(node)
    pointwise = [list(node.input_value(1).get_shape())[2:] == [1, 1] for node in (first, chain[-1])]
    return chain if has_depthwise and all(pointwise) and is_constant(first.input_value(1)) else None


def _of_channels(node: Any, image: Any, channels: slice, is_first: bool) -> Any:
    """A node of `_expansion` for some of the channels, applied to the image of these."""
    kind, given = node.get_type_name(), node.get_attributes()
    if kind in ("Convolution", "GroupConvolution"):
        (weights,) = values(node.input_value(1))
        weights = weights[channels] if is_first or kind != "Convolution" else weights[:, channels]
        make = ops.convolution if kind == "Convolution" else ops.group_convolution
        geometry = [given[key] for key in ("strides", "pads_begin", "pads_end", "dilations")]
        kernel = ops.constant(np.ascontiguousarray(weights))
        return make(image, kernel, *geometry, given["auto_pad"]).output(0)
    if kind == "BatchNormInference":
        each = [ops.constant(each[channels]) for each in values(*node.input_values()[1:])]
        return ops.batch_norm_inference(image, *each, given["epsilon"]).output(0)
    others = [each for each in node.input_values() if is_constant(each)]
    return _POINTWISE[kind](image, *others).output(0)


class _UnknownError(Exception):
    """An operation of which it is not known what rows it sees."""


@dataclass
class _Band:
    """Rows of images of one size, made from the rows of smaller images that they depend on."""

    height: int
    """Rows of these images."""
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
        if image.get_shape()[2] != self.height or kind == "Parameter":
            at = [np.array([value]) for value in (first, last, 1, 2)]
            return ops.slice(image, *at).output(0)
        given = node.get_attributes()
        if given.get("auto_pad", "explicit") != "explicit" or node.get_output_size() != 1:
            raise _UnknownError(kind)
        if kind in ("Convolution", "GroupConvolution"):
            return self._convolved(node, given, first, last)
        if kind == "ConvolutionBackpropData" and node.get_input_size() == 2:
            return self._enlarged(node, given, first, last)
        inputs = [
            self.rows(each, first, last) if self._is_image(each) else each
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

    def _is_image(self, value: Any) -> bool:
        shape = list(value.get_shape())
        if is_constant(value):
            if len(shape) > 1 and shape[-2] != 1:
                raise _UnknownError("Constant")
            return False
        if len(shape) != 4 or shape[2] != self.height:
            raise _UnknownError(value.get_node().get_type_name())
        return True

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


def _split_rows(result: Any, height: int) -> None:
    """Compute what is as high as the tile, behind the last enlargement, for some rows at a time."""
    image = result.input_value(0)
    if len(image.get_shape()) != 4 or image.get_shape()[2] != height:
        return
    step = -(-height // _BANDS)
    try:
        bands = [
            _Band(height).rows(image, first, min(first + step, height))
            for first in range(0, height, step)
        ]
    except _UnknownError:
        return
    result.input(0).replace_source_output(ops.concat(bands, 2).output(0))


def _takers(node: Any) -> Any:
    return node.output(0).get_target_inputs()

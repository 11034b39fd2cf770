"""Parts of a network's graph put into forms that a CPU computes faster, the function unchanged.

Two of them matter for networks that end in an image:

- An image enlarged twice by repeating its pixels and then convolved 3×3 is a transposed
  convolution 4×4 of stride 2 of the small image: of the nine pixels under a kernel, five are
  repetitions, whose weights add up beforehand. It takes 4 products where the other takes 9, and
  the large image is never there. A convolution is linear, so what was concatenated with the large
  image is convolved by itself, and the two are added.
- Kernels for convolutions compute 16 outputs at once, asked for or not. Where there is one, as in
  the head of a network of one class, convolving each channel for itself and adding up is cheaper,
  unless only single pixels are convolved.

Sums are formed in another order: answers differ in the last digits of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import Model, Type
from openvino import opset13 as ops
from openvino.passes import ConstantFolding, Manager

from geotiler.models.graph_bands import compute_in_turns
from geotiler.models.graph_values import is_constant, replace_output, values

_FLOAT = NDArray[np.float32]
_QUANTISED = (Type.i8, Type.u8, Type.i4, Type.u4)


def rewrite(graph: Model) -> None:
    """Change a graph whose shapes are fixed in place; what fits no rule stays as it is.

    Raises:
        RuntimeError: OpenVINO takes a change for wrong; the graph is of no use then.
    """
    if any(is_constant(node) and node.get_element_type() in _QUANTISED for node in _outputs(graph)):
        return  # folded weights would no longer be computed as integers
    folding = Manager()
    folding.register_pass(ConstantFolding())  # weights behind casts become constants
    folding.run_passes(graph)
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        weights = node.input_value(1)
        shape = list(weights.get_shape())
        is_plain = weights.get_element_type() == Type.f32 and len(shape) == 4
        if not is_constant(weights) or not is_plain:
            continue
        enlarged = _enlarged(node)
        if enlarged is not None:
            _fold_enlargement(node, *enlarged)
        elif shape[0] == 1 < shape[1] and shape[2] * shape[3] > 1:
            _spread_channels(node)
    graph.validate_nodes_and_infer_types()
    compute_in_turns(graph)


def transposed_kernel(weights: _FLOAT) -> _FLOAT:
    """The kernel (in, out, 4, 4) of the transposed convolution of stride 2, one pixel cut off at
    each side, that answers as `weights` (out, in, 3, 3) do on the image enlarged twice.
    """
    kernel = np.zeros((weights.shape[1], weights.shape[0], 4, 4), np.float32)
    for row in range(3):
        for col in range(3):
            # Pixel 2i + a of the answer sees pixel (2i + a + row - 1) // 2 of the small image, and
            # pixel p of the small image adds to pixels 2p - 1 ... 2p + 2 of the answer.
            for a in (0, 1):
                for b in (0, 1):
                    at = a - 2 * ((a + row - 1) // 2) + 1, b - 2 * ((b + col - 1) // 2) + 1
                    kernel[:, :, *at] += weights[:, :, row, col].T
    return kernel


def _fold_enlargement(conv: Any, small: Any, beside: list[Any]) -> None:
    """Put a transposed convolution where an image is enlarged and convolved.

    Args: small, beside: see `_enlarged`.
    """
    weights, scale, shift, last = _with_normalisation(conv)
    count = small.get_shape()[1]
    weights = weights * scale[:, None, None, None]
    answer = ops.convolution_backprop_data(
        small, ops.constant(transposed_kernel(weights[:, :count])), [2, 2],
        pads_begin=[1, 1], pads_end=[1, 1],
    )  # fmt: skip
    if beside:
        rest = ops.convolution(
            ops.concat(beside, 1) if len(beside) > 1 else beside[0],
            ops.constant(np.ascontiguousarray(weights[:, count:])),
            [1, 1], [1, 1], [1, 1], [1, 1],
        )  # fmt: skip
        answer = ops.add(rest, answer)
    replace_output(last, ops.add(answer, ops.constant(shift[None, :, None, None])).output(0))


def _spread_channels(conv: Any) -> None:
    """Put one convolution per channel and a sum where one convolution has one output."""
    (weights,) = values(conv.input_value(1))[0]
    given = conv.get_attributes()
    geometry = [given[key] for key in ("strides", "pads_begin", "pads_end", "dilations")]
    each = ops.group_convolution(
        conv.input_value(0), ops.constant(weights[:, None, None]), *geometry, given["auto_pad"]
    )
    ones = np.ones((1, len(weights), 1, 1), np.float32)
    total = ops.convolution(each, ops.constant(ones), [1, 1], [0, 0], [0, 0], [1, 1])
    replace_output(conv, total.output(0))


def _enlarged(conv: Any) -> tuple[Any, list[Any]] | None:
    """The image that a 3×3 convolution sees enlarged twice, and what is concatenated behind it.

    None, where it sees something else.
    """
    given = conv.get_attributes()
    ones = [[1, 1]] * 4
    fits = [list(given[key]) for key in ("strides", "pads_begin", "pads_end", "dilations")] == ones
    if not fits or list(conv.input_value(1).shape)[2:] != [3, 3]:
        return None
    source, beside = conv.input_value(0).get_node(), []
    if source.get_type_name() == "Concat" and source.get_attributes()["axis"] in (1, -3):
        first, *beside = source.input_values()
        source = first.get_node()
    if source.get_type_name() != "Interpolate":
        return None
    given = source.get_attributes()
    repeats = (given["mode"], given["coordinate_transformation_mode"], given["nearest_mode"])
    is_padded = any(given["pads_begin"]) or any(given["pads_end"])
    if repeats != ("nearest", "asymmetric", "floor") or is_padded or not _doubles(source):
        return None
    return source.input_value(0), beside


def _doubles(interpolate: Any) -> bool:
    """Whether height and width, and nothing else, become exactly twice as large."""
    image, *settings = interpolate.input_values()
    small, large = list(image.get_shape()), list(interpolate.output(0).get_shape())
    if large != [*small[:2], 2 * small[2], 2 * small[3]]:
        return False
    if interpolate.get_attributes()["shape_calculation_mode"] == "sizes":
        return True
    # Sizes are rounded: 2.3 times three pixels are six as well.
    factors = [values(each)[0] for each in settings if each.get_element_type() == Type.f32]
    return len(factors) == 1 and bool(np.isin(factors[0], (1, 2)).all())


def _with_normalisation(conv: Any) -> tuple[_FLOAT, _FLOAT, _FLOAT, Any]:
    """A convolution's weights, the factor and summand of each output behind it, and their node.

    These are of the batch normalisation that alone takes the convolution's answer, or 1, 0 and the
    convolution itself.
    """
    (weights,) = values(conv.input_value(1))
    takers = list(conv.output(0).get_target_inputs())
    norm = takers[0].get_node()
    if len(takers) == 1 and norm.get_type_name() == "BatchNormInference":
        inputs = [norm.input_value(index) for index in range(1, 5)]
        if all(map(is_constant, inputs)):
            gamma, beta, mean, variance = values(*inputs)
            scale = gamma / np.sqrt(variance + np.float32(norm.get_attributes()["epsilon"]))
            return weights, scale, beta - mean * scale, norm
    count = len(weights)
    return weights, np.ones(count, np.float32), np.zeros(count, np.float32), conv


def _outputs(graph: Model) -> list[Any]:
    return [output for node in graph.get_ordered_ops() for output in node.outputs()]

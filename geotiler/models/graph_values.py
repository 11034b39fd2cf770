"""Small things about the nodes of an OpenVINO graph that all changes of one need."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def values(*outputs: Any) -> list[NDArray[np.float32]]:
    """What constants hold."""
    return [np.array(output.get_node().data, np.float32) for output in outputs]


def is_constant(output: Any) -> bool:
    """Whether an output is a constant's."""
    return bool(output.get_node().get_type_name() == "Constant")


def replace_output(old: Any, new: Any) -> None:
    """Give everything that takes a node's answer another one.

    Args: old: the node. new: an output of another one.
    """
    for taker in old.output(0).get_target_inputs():
        taker.replace_source_output(new)

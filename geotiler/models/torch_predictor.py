"""The network of a model, run by torch: on GPUs in half precision unless asked for another."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import numpy as np
import torch

from geotiler.errors import DeviceError
from geotiler.models.bundle import Bundle, load_network
from geotiler.models.export import activated
from geotiler.models.predictor import Batch, FixedShapePredictor, no_such_precision
from geotiler.specs import Precision


class TorchPredictor(FixedShapePredictor):
    """A `Predictor`: channels last, one fixed shape; probabilities are computed in float32."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str,
        precision: Precision,
        batch: int,
        tile_shape: tuple[int, int],
        threads: int | None,
    ) -> None:
        """Raises: ModelError: weights and card do not fit.

        DeviceError: no memory for them, or a precision that the device lacks.
        """
        self._device = torch.device(device)
        self._half = _half_precision(self._device, precision)
        if threads is not None:
            torch.set_num_threads(threads)
        network = load_network(bundle).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            self._network = network.to(self._device)
        except torch.OutOfMemoryError as error:
            raise DeviceError(f"{device} has no memory for the model", "--device cpu") from error
        kind = str(self._half or torch.float32).removeprefix("torch.")
        version = torch.__version__.split("+")[0]
        name = f"torch {version} {self._device.type} {kind}"
        if device == "cpu":
            name += f" {torch.get_num_threads()} threads"
        super().__init__(bundle.card, name, batch, tile_shape)

    def answers(self, full: Batch, count: int) -> Batch:
        """See `FixedShapePredictor`."""
        with torch.inference_mode(), self._autocast():
            tiles = torch.from_numpy(np.require(full, requirements="W")).to(self._device)
            tiles = tiles.contiguous(memory_format=torch.channels_last)
            logits = self._network(tiles)
        with torch.inference_mode():
            answer = activated(logits[:count], self.card.activation)
            return np.ascontiguousarray(answer.cpu().numpy())

    def _autocast(self) -> AbstractContextManager[object]:
        if self._half is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._half)


def available_device(device: str) -> str:
    """The device as torch names it; auto becomes the best one that is there.

    Raises:
        DeviceError: it is not there.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if device == "auto":
        return "cuda:0" if cuda else "mps" if mps else "cpu"
    if device == "mps":
        there = mps
    else:
        index = int(device.partition(":")[2] or 0)
        device, there = f"cuda:{index}", index < cuda
    if not there:
        found = [f"cuda:{index}" for index in range(cuda)] + ["mps"] * mps + ["cpu"]
        raise DeviceError(
            f"device {device} is not available, found: {', '.join(found)}",
            hint="--device cpu runs everywhere",
        )
    return device


def _half_precision(device: torch.device, precision: Precision) -> torch.dtype | None:
    """What the network is run in by autocast; None: float32."""
    halves = {Precision.FLOAT16: torch.float16, Precision.BFLOAT16: torch.bfloat16}
    has_bfloat16 = device.type == "cpu" or (
        device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    if precision is Precision.BFLOAT16 and not has_bfloat16:
        raise no_such_precision(f"torch on {device}", precision, ["float32", "float16"])
    return halves.get(precision)

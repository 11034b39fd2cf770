"""The network of a model, run by torch: on GPUs in half precision unless asked for another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch

from geotiler.errors import DeviceError, GeotilerError
from geotiler.models.bundle import Bundle, load_network
from geotiler.models.export import activated
from geotiler.models.predictor import Batch, FixedShapePredictor, no_such_precision
from geotiler.models.resident import DecidedRows
from geotiler.models.torch_arrays import TorchArrays
from geotiler.specs import PROBABILITY_STEPS, Precision


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
        is_resident: bool | None = None,
    ) -> None:
        """Args: is_resident: whether it offers to keep arrays on the device; None: if that is cuda,
        which two threads may ask at a time.

        Raises: ModelError: weights and card do not fit.
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
        if is_resident is None:
            is_resident = self._device.type == "cuda"
        self.resident = TorchResident(self, TorchArrays(self._device)) if is_resident else None
        """See `resident_of`."""

    def answers(self, full: Batch, count: int) -> Batch:
        """See `FixedShapePredictor`."""
        tiles = torch.from_numpy(np.require(full, requirements="W")).to(self._device)
        return np.ascontiguousarray(self.answers_there(tiles, count).cpu().numpy())

    def answers_there(self, full: torch.Tensor, count: int) -> torch.Tensor:
        """As `answers`, on the device."""
        with torch.inference_mode(), self._autocast():
            logits = self._network(full.contiguous(memory_format=torch.channels_last))
        with torch.inference_mode():
            return activated(logits[:count], self.card.activation)

    def _autocast(self) -> AbstractContextManager[object]:
        if self._half is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._half)


class TorchResident:
    """See `Resident`."""

    def __init__(self, predictor: TorchPredictor, arrays: TorchArrays) -> None:
        """Args: predictor: the network. arrays: on its device."""
        self.arrays = arrays
        self._predictor = predictor

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """See `Resident.__call__`."""
        count = len(inputs)
        missing = self._predictor.batch - count
        if missing:
            inputs = torch.cat([inputs, inputs[:1].expand(missing, -1, -1, -1)])
        return self._predictor.answers_there(inputs, count)

    def decided(
        self,
        probabilities: torch.Tensor,
        seam_sums: torch.Tensor,
        *,
        ids: Sequence[int],
        threshold: float | None,
        probability_dtype: str | None,
    ) -> Callable[[], DecidedRows]:
        """See `Resident.decided`."""
        if threshold is None:
            lookup = self.arrays.of(np.asarray(ids, np.uint8))
            classes = lookup[probabilities.argmax(dim=0)]
        else:
            is_above = probabilities[0] >= float(np.float32(threshold))
            classes = is_above.to(torch.uint8) * ids[0]
        kept = []
        if probability_dtype == "float32":
            kept = [probabilities.clone(memory_format=torch.contiguous_format)]
        elif probability_dtype is not None:
            steps = probabilities.clamp(0, 1).mul_(PROBABILITY_STEPS).round_()
            kept = [steps.to(torch.uint8)]
        # A NaN of any window is one of its pixels' means, too.
        is_finite = torch.isfinite(probabilities.sum()).to(seam_sums.dtype)
        told = torch.cat([seam_sums.flatten(), is_finite[None]])
        awaited = self.arrays.back(classes, told, *kept)

        def arrived() -> DecidedRows:
            found, numbers, *probability = awaited()
            self._predictor.check_finite(bool(numbers[4]))
            return DecidedRows(
                classes=found,
                probability=probability[0] if probability else None,
                seam_sums=numbers[:4].reshape(2, 2).astype(float),
            )

        return arrived

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """See `Resident.failures`."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, GeotilerError):
                raise
            raise self._predictor.device_error(error) from error


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

"""Arrays of a sweep on a device of torch.

The host never waits here: what goes to a CUDA device is staged in pinned memory, which torch keeps
until it is copied, and travels on a stream of its own beside what is computed. On other devices the
same calls copy at once.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geotiler.core.tiles import Pieces, is_all_valid, network_inputs, put_raw
from geotiler.specs import Scale

_SENT_AS = {
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "uint16": torch.int16,  # torch knows uint16 on some devices only
    "float32": torch.float32,
}
"""Types whose values are normalised exactly in float32, and are sent as they were read."""
_KEPT = 256
"""Small arrays that are kept on the device: the weights of windows are the same row after row."""


class TorchArrays:
    """See `Arrays`."""

    rows_at_once = 512

    def __init__(self, device: torch.device) -> None:
        """Args: device: cuda, mps, or cpu for trials."""
        self.device = device
        self.returned_bytes = 0
        """What came back from the device so far."""
        self._is_cuda = device.type == "cuda"
        self._double = torch.float32 if device.type == "mps" else torch.float64
        self._kept: dict[tuple[object, ...], torch.Tensor] = {}
        self._true = torch.ones((1, 1), dtype=torch.bool, device=device)
        # One thread copies about as fast as a large GPU computes.
        self._copying = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "geotiler-copying")
        if self._is_cuda:
            self._going = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._coming = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def inputs(
        self,
        tiles: Sequence[Pieces],
        tile_shape: tuple[int, int],
        *,
        scale: Scale,
        mean: Sequence[float],
        std: Sequence[float],
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Arrays.inputs`; `out` is not needed, for torch takes up freed memory itself."""
        first = tiles[0][0][0]
        shape = (len(tiles), len(first), *tile_shape)
        if first.dtype.name not in _SENT_AS:
            staged = self._staging(shape, torch.float32)
            network_inputs(tiles, tile_shape, scale=scale, mean=mean, std=std, out=staged.numpy())
            return self._sent(staged)
        staged = self._staging(shape, _SENT_AS[first.dtype.name])
        some_invalid = not all(is_all_valid(known) for pieces in tiles for _, known in pieces)
        mask = self._staging((len(tiles), *tile_shape), torch.bool) if some_invalid else None
        raw = staged.numpy().view(first.dtype)

        def put(number: int, band: int) -> None:
            part = slice(band, band + 1)
            pieces = [(values[part], known) for values, known in tiles[number]]
            valid = None if mask is None or band else mask[number].numpy()
            put_raw(pieces, raw[number, part], valid)

        places = itertools.product(range(len(tiles)), range(len(first)))
        for _ in self._copying.map(put, *zip(*places, strict=True)):
            pass
        values = self._sent(staged)
        if first.dtype == np.uint16:
            values = values.to(torch.int32).bitwise_and_(0xFFFF)
        valid = None if mask is None else self._sent(mask)
        return self._normalised(values.to(torch.float32), valid, scale, mean, std)

    def _normalised(
        self,
        values: torch.Tensor,
        valid: torch.Tensor | None,
        scale: Scale,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> torch.Tensor:
        """As `normalise` does it, step by step, in place; (tile, band, row, col)."""
        span = scale.maximum - scale.minimum
        bands = list(zip(mean, std, strict=True))
        factor = self._per_band([1.0 / (span * s) for _, s in bands])
        shift = self._per_band([m / s for m, s in bands])
        low = self._per_band([-m / s for m, s in bands])
        high = self._per_band([(1.0 - m) / s for m, s in bands])
        values -= float(np.float32(scale.minimum))
        values *= factor
        values -= shift
        values.clamp_(low, high)
        if valid is not None:
            values.masked_fill_(~valid[:, None], 0)
        return values

    def _per_band(self, values: Sequence[float]) -> torch.Tensor:
        return self.of(np.asarray(values, np.float32)[:, None, None])

    def zeros(self, shape: tuple[int, ...]) -> torch.Tensor:
        """See `Arrays.zeros`."""
        return torch.zeros(shape, device=self.device)

    def of(self, values: NDArray[Any]) -> torch.Tensor:
        """See `Arrays.of`."""
        key = (values.dtype.str, values.shape, values.tobytes())
        kept = self._kept.get(key)  # two threads ask
        if kept is None:
            staged = torch.from_numpy(values.copy())
            staged = staged.pin_memory() if self._is_cuda else staged
            kept = staged.to(self.device, non_blocking=self._is_cuda)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = kept
        return kept

    def mask(self, valid: NDArray[np.bool_]) -> torch.Tensor:
        """See `Arrays.mask`; nothing travels where everything is valid."""
        if is_all_valid(valid):
            return self._true.expand(valid.shape)
        staged = self._staging(valid.shape, torch.bool)
        staged.numpy()[...] = valid
        return self._sent(staged)

    def copied(self, array: torch.Tensor) -> torch.Tensor:
        """See `Arrays.copied`."""
        return array.clone()

    def shift(self, array: torch.Tensor, axis: int, count: int) -> None:
        """See `Arrays.shift`."""
        moved = array.movedim(axis, 0)
        keep = max(0, len(moved) - count)
        if keep:
            moved[:keep] = moved[count:].clone()  # what overlaps is not copied in order
        moved[keep:] = 0

    def sums(self, steps: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        """See `Arrays.sums`."""
        return torch.stack([steps.sum(dtype=self._double), pairs.sum().to(self._double)])

    def zero_sums(self) -> torch.Tensor:
        """See `Arrays.zero_sums`."""
        return torch.zeros((2, 2), dtype=self._double, device=self.device)

    def back(self, *arrays: torch.Tensor) -> Callable[[], list[NDArray[Any]]]:
        """Send arrays to the host; the function waits until they are there.

        Everything that comes back from the device comes through here.
        """
        self.returned_bytes += sum(array.nbytes for array in arrays)
        if not self._is_cuda:
            here = [array.cpu().numpy() for array in arrays]
            return lambda: here
        staged = [self._staging(array.shape, array.dtype) for array in arrays]
        self._coming.wait_stream(torch.cuda.current_stream(self.device))
        arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._coming):
            for array, target in zip(arrays, staged, strict=True):
                target.copy_(array, non_blocking=True)
                array.record_stream(self._coming)  # its memory is not free before
            arrived.record(self._coming)

        def awaited() -> list[NDArray[Any]]:
            arrived.synchronize()
            return [target.numpy() for target in staged]

        return awaited

    def _staging(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Memory of the host that a device copies from or to by itself."""
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=self._is_cuda)

    def _sent(self, staged: torch.Tensor) -> torch.Tensor:
        """Staged values on the device, in time for what is asked of it next."""
        if not self._is_cuda:
            return staged.to(self.device)
        with torch.cuda.stream(self._going):
            there = staged.to(self.device, non_blocking=True)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._going)
        there.record_stream(computing)
        return there

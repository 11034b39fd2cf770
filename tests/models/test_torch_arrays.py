"""A sweep over arrays of torch is the sweep over arrays of numpy, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geotiler.core.arrays import HOST, Arrays
from geotiler.core.grid import Grid
from geotiler.core.resample import Axis
from geotiler.core.sweep import SweepCounts, SweepPlan, spanned, sweep, swept_columns
from geotiler.models.torch_arrays import TorchArrays
from geotiler.specs import Scale

TILE = (32, 64)
DTYPES = ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"]
DEVICE = torch.device("cpu")


def _swept(
    image: NDArray[Any],
    valid: NDArray[np.bool_],
    network: Callable[[Any], Any],
    arrays: Arrays,
    *,
    classes: int = 1,
    overlap_px: int = 8,
    panel_px: int = 10**9,
    scale: Scale | None = None,
) -> tuple[NDArray[np.float32], SweepCounts]:
    """Probabilities of a whole scene, and what was counted."""
    height, width = valid.shape
    axes = (Axis.scaled(height, 1.0), Axis.scaled(width, 1.0))
    grid = Grid(shape=(height, width), tile_shape=TILE, overlap_px=overlap_px)
    counts = SweepCounts(seam_sums=arrays.zero_sums())
    out = np.full((classes, height, width), np.nan, np.float32)
    rows = spanned(grid.rows, TILE[0], axes[0], (0, height))
    for columns in swept_columns(grid, axes[1], panel_px):
        plan = SweepPlan(
            axes=axes, rows=rows, columns=columns, tile_shape=TILE, classes=classes,
            scale=scale or Scale(minimum=0, maximum=255), mean=(0.4, 0.6), std=(0.2, 0.3), batch=3,
        )  # fmt: skip

        def chunks(left: int, right: int) -> Iterator[Any]:
            for row in range(0, height, 21):
                part = slice(row, row + 21), slice(left, right)
                yield image[:, *part], valid[part]

        read = columns.read
        for done in sweep(chunks(*read), network, plan, counts, arrays=arrays):
            stop = done.row + done.probabilities.shape[1]
            out[:, done.row : stop, slice(*columns.answered)] = np.asarray(done.probabilities)
    return out, counts


def _pointwise(batch: Any) -> Any:
    """Written with what numpy and torch have in common."""
    return batch[:, :1] * 0.125 + batch[:, 1:] * 0.0625 + 0.5


def _image(dtype: str, shape: tuple[int, int], seed: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        image = rng.normal(100, 300, (2, *shape)).astype(dtype)
        image[rng.random(image.shape) < 0.01] = np.finfo(np.float32).max
        return image
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (2, *shape), dtype=dtype, endpoint=True)


def _valid(shape: tuple[int, int], share: float, seed: int = 0) -> NDArray[np.bool_]:
    cells = np.random.default_rng(seed).random((-(-shape[0] // 9), -(-shape[1] // 9)))
    valid: NDArray[np.bool_] = cells.repeat(9, 0).repeat(9, 1) < share
    return valid[: shape[0], : shape[1]]


SHAPES = st.tuples(st.integers(1, 110), st.integers(1, 210))


@given(
    shape=SHAPES,
    dtype=st.sampled_from(DTYPES),
    overlap=st.sampled_from([0, 1, 8, 31]),
    share=st.sampled_from([0.3, 0.8, 1.0]),
    panel=st.sampled_from([10**9, 80]),
)
def test_probabilities_are_those_of_numpy_to_the_bit(
    shape: tuple[int, int], dtype: str, overlap: int, share: float, panel: int
) -> None:
    image, valid = _image(dtype, shape), _valid(shape, share)
    if dtype.startswith("float"):
        image[:, ~valid] = np.nan
    settings: dict[str, Any] = {"overlap_px": overlap, "panel_px": panel}
    settings["scale"] = Scale(minimum=-20.0, maximum=150.0)
    expected, host = _swept(image, valid, _pointwise, HOST, **settings)
    found, device = _swept(image, valid, _pointwise, TorchArrays(DEVICE), **settings)
    np.testing.assert_array_equal(found, expected)
    assert (device.computed, device.skipped) == (host.computed, host.skipped)
    sums = np.asarray(device.seam_sums)
    np.testing.assert_array_equal(sums[:, 1], host.seam_sums[:, 1])
    np.testing.assert_allclose(sums, host.seam_sums, rtol=1e-6, atol=1e-6)


@given(
    shape=SHAPES,
    overlap=st.sampled_from([0, 1, 8, 31]),
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=3),
)
def test_constant_in_constant_out_exactly(
    shape: tuple[int, int], overlap: int, values: list[float]
) -> None:
    constants = torch.tensor(values)[:, None, None]

    def network(batch: torch.Tensor) -> torch.Tensor:
        return constants.expand(len(batch), len(values), *TILE)

    image, valid = _image("uint8", shape), np.ones(shape, bool)
    arrays = TorchArrays(DEVICE)
    out, _ = _swept(
        image, valid, network, arrays, classes=len(values), overlap_px=overlap
    )  # fmt: skip
    np.testing.assert_array_equal(out, np.broadcast_to(constants.numpy(), out.shape))


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_travel_as_they_were_read(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a mask only where something is invalid."""
    sent: list[torch.Tensor] = []
    arrays = TorchArrays(DEVICE)
    whole = arrays._sent
    monkeypatch.setattr(arrays, "_sent", lambda staged: sent.append(staged) or whole(staged))
    image = _image(dtype, TILE)
    for share in (1.0, 0.5):
        sent.clear()
        arrays.inputs(
            [[(image, _valid(TILE, share))]] * 2, TILE, mean=(0.4, 0.6), std=(0.2, 0.3),
            scale=Scale(minimum=0, maximum=255),
        )  # fmt: skip
        wide = image.dtype.itemsize > 2 and dtype != "float32"  # normalised on the host
        pixel_bytes = 2 * (4 if wide else image.dtype.itemsize)
        mask_bytes = 0 if wide or share == 1.0 else 1
        expected = 2 * TILE[0] * TILE[1] * (pixel_bytes + mask_bytes)
        assert sum(tensor.nbytes for tensor in sent) == expected


def test_what_was_sent_once_is_kept() -> None:
    arrays = TorchArrays(DEVICE)
    first = arrays.of(np.arange(5))
    assert arrays.of(np.arange(5)) is first
    assert not torch.equal(arrays.of(np.arange(5.0)), arrays.of(np.arange(5.0)[::-1].copy()))
    for number in range(2_000):
        arrays.of(np.array([number]))
    assert len(arrays._kept) <= 256


@pytest.mark.parametrize("count", [0, 1, 3, 7, 8, 20])
@pytest.mark.parametrize("axis", [1, 2])
def test_shifting_overlapping_memory(count: int, axis: int) -> None:
    expected = np.arange(2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8)
    found = torch.from_numpy(expected.copy())
    TorchArrays(DEVICE).shift(found, axis, count)
    HOST.shift(expected, axis, count)
    np.testing.assert_array_equal(found.numpy(), expected)

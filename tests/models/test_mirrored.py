"""Test-time augmentation: a mean over mirror images, put back the right way round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geotiler.models.bundle import Bundle
from geotiler.models.mirrored import mirrored
from geotiler.models.predictor import open_predictor
from geotiler.specs import Backend

SHAPE = (64, 96)


def _tiles(count: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal((count, 3, *SHAPE), dtype=np.float32)


@pytest.fixture
def inner(tiny_bundle: Bundle) -> Any:
    return open_predictor(
        tiny_bundle, backend=Backend.ONNX, device="cpu", batch=2, tile_shape=SHAPE
    )


def test_one_image_is_the_predictor_itself(inner: Any) -> None:
    assert mirrored(inner, 1) is inner


@pytest.mark.parametrize(("images", "axes"), [(2, [(), (3,)]), (4, [(), (3,), (2,), (2, 3)])])
def test_it_answers_with_the_mean_of_answers_turned_back(
    inner: Any, images: int, axes: list[tuple[int, ...]]
) -> None:
    tiles = _tiles(2)
    one_by_one = [np.flip(inner(np.flip(tiles, turn).copy()), turn) for turn in axes]
    found = mirrored(inner, images)(tiles)
    assert found.dtype == np.float32
    assert np.allclose(found, np.mean(one_by_one, axis=0), atol=1e-6)
    assert np.abs(found - one_by_one[0]).max() > 1e-3  # the network tells left from right


@pytest.mark.parametrize("turn", [(3,), (2,), (2, 3)])
def test_mirroring_a_tile_mirrors_the_answer(inner: Any, turn: tuple[int, ...]) -> None:
    four, tiles = mirrored(inner, 4), _tiles()
    assert np.allclose(np.flip(four(tiles), turn), four(np.flip(tiles, turn).copy()), atol=1e-6)


def test_what_is_asked_is_left_as_it_was(inner: Any) -> None:
    tiles = _tiles(2)
    kept = tiles.copy()
    mirrored(inner, 4)(tiles)
    assert np.array_equal(tiles, kept)


def test_the_name_tells_results_apart(inner: Any) -> None:
    names = {mirrored(inner, images).name for images in (1, 2, 4)}
    assert len(names) == 3

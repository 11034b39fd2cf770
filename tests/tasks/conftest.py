"""What tests of several tasks share: a formula in the place of every network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geotiler.models.bundle import Bundle
from geotiler.models.card import ModelCard
from geotiler.models.networks import FROM_DISK


@dataclass
class Model:
    """A bundle whose network is a formula of the first band: p = 0.1 + 0.8 · scaled value."""

    bundle: Bundle
    formula: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
    batch: int = 1
    name: str = "formula"
    classes: int = 1
    tile_shape: tuple[int, int] = (0, 0)
    calls: int = 0
    opened: int = 0
    tiles: list[bytes] = field(default_factory=list)

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls += 1
        self.tiles += [tile.tobytes() for tile in batch]
        if self.formula is not None:
            return self.formula(batch)
        card = self.bundle.card
        unit = batch[:, :1] * np.float32(card.std[0]) + np.float32(card.mean[0])
        return np.float32(0.1) + np.float32(0.8) * unit


@pytest.fixture
def use_model(
    make_card: Callable[..., ModelCard], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Model]:
    """Puts a formula in the place of every model."""

    def use(formula: Any = None, **changes: Any) -> Model:
        card = make_card(**{"gsd_m": None, **changes})
        model = Model(Bundle(folder=Path("tiny"), card=card, digest="d" * 64), formula)

        def opened(
            bundle: Bundle, *, batch: int | None, tile_shape: tuple[int, int], **_: Any
        ) -> Model:
            model.batch, model.tile_shape = batch or 1, tile_shape
            model.opened += 1
            return model

        monkeypatch.setattr(FROM_DISK, "bundle", lambda name: model.bundle)
        monkeypatch.setattr(FROM_DISK, "predictor", opened)
        return model

    return use


@pytest.fixture
def torch_as_before() -> Iterator[None]:
    """What a run tells torch holds for the whole process: threads, and which operations it may."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)

"""What tests of several layers share: one small network with random weights, and its card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from geotiler.models.bundle import Bundle
    from geotiler.models.card import ModelCard


def _card(**changes: Any) -> ModelCard:
    from geotiler.models.card import ClassInfo, ModelCard
    from geotiler.specs import Scale

    values: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "task": "segmentation",
        "description": "Random weights, for tests.",
        "library": "smp",
        "architecture": "Unet",
        "arguments": {
            "encoder_name": "mobilenet_v2",
            "encoder_depth": 3,
            "encoder_weights": None,
            "decoder_channels": [16, 8, 8],
            "in_channels": 3,
            "classes": 1,
        },
        "bands": ("red", "green", "blue"),
        "scale": Scale(minimum=0.0, maximum=255.0),
        "mean": (0.45, 0.5, 0.55),
        "std": (0.2, 0.25, 0.3),
        "gsd_m": 0.5,
        "tile_px": 128,
        "overlap_px": 32,
        "classes": (ClassInfo(id=1, name="building", color="#d7301f"),),
        "activation": "sigmoid",
        "threshold": 0.5,
        "licence": "Apache-2.0",
        "geotiler_version": "0.0.0",
        "files": {},
    }
    return ModelCard(**{**values, **changes})


@pytest.fixture(scope="session")
def make_card() -> Callable[..., ModelCard]:
    """A valid card with the given values changed."""
    return _card


@pytest.fixture(scope="session")
def make_network() -> Callable[[ModelCard], Any]:
    """The card's network with random weights whose probabilities spread from 0 to 1."""

    def make(card: ModelCard) -> Any:
        import torch

        from geotiler.models.build import build_network

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            network = build_network(card.library, card.architecture, card.arguments).train()
            norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
            with torch.no_grad():
                network.segmentation_head[0].weight *= 3.0
                for norm in norms:
                    norm.momentum = 1.0  # one pass leaves statistics as training would
                network(torch.randn(2, len(card.bands), 64, 64))
        return network.eval()

    return make


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory,
    make_network: Callable[[ModelCard], Any],
) -> Bundle:
    """A verified model folder, written once per session. Copy it before changing it."""
    from geotiler.models.bundle import open_bundle, write_bundle

    folder: Path = tmp_path_factory.mktemp("weights") / "tiny"
    card = _card()
    write_bundle(folder, card, make_network(card))
    return open_bundle(folder)

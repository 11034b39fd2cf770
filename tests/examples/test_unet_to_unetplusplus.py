"""A U-Net++ made of a U-Net answers as that does, and has more to learn with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from geotiler.models.build import build_network
from geotiler.models.bundle import load_network, open_bundle, write_bundle
from geotiler.models.card import ModelCard

SCRIPT = Path(__file__).parents[2] / "examples" / "unet_to_unetplusplus.py"


def _run(model: Path, output: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPT), str(model), "-o", str(output)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("depth", [3, 5])
def test_the_answers_are_those_of_the_unet(
    make_card: Callable[..., ModelCard], tmp_path: Path, depth: int
) -> None:
    arguments = {
        "encoder_name": "mobilenet_v2", "encoder_depth": depth, "encoder_weights": None,
        "decoder_channels": [48, 32, 24, 16, 8][-depth:],
    }  # fmt: skip
    card = make_card(arguments=arguments, stride_of_network=32, tile_px=64, overlap_px=0)
    torch.manual_seed(3)
    network = build_network("smp", "Unet", dict(card.arguments)).eval()
    write_bundle(tmp_path / "unet", card, network)
    ran = _run(tmp_path / "unet", tmp_path / "nested")
    assert ran.returncode == 0, ran.stderr
    made = open_bundle(tmp_path / "nested")
    assert (made.card.name, made.card.architecture) == ("nested", "UnetPlusPlus")
    other = load_network(made)
    pixels = torch.randn(2, 3, 96, 64)
    first = load_network(open_bundle(tmp_path / "unet"))
    with torch.no_grad():
        torch.testing.assert_close(other(pixels), first(pixels))
    assert sum(p.numel() for p in other.parameters()) > sum(p.numel() for p in first.parameters())
    loss = other(pixels).square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    taken = other.get_parameter("decoder.blocks.x_0_1.conv1.0.weight")
    assert taken.grad is not None
    assert taken.grad[taken == 0].abs().sum() > 0  # of the inner nodes, which are learned from


def test_other_networks_are_refused(tmp_path: Path) -> None:
    ran = _run(SCRIPT.parents[1] / "weights" / "landuse", tmp_path / "nested")
    assert ran.returncode == 2
    assert "not a Unet of smp" in ran.stderr
    assert not (tmp_path / "nested").exists()

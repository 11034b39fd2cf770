"""The agreement of windows with their crops: nothing where context is not used."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from geotiler.training.agreement import WindowAgreement

CROP_PX = 96


def _pixels() -> torch.Tensor:
    """Noise that grows brighter to the right and below: parts have other means than the whole."""
    noise = torch.randn(2, 3, CROP_PX, CROP_PX, generator=torch.Generator().manual_seed(5))
    ramp = torch.linspace(-1, 1, CROP_PX)
    return noise + ramp[:, None] + ramp


class _Surroundings(nn.Module):
    """Answers by the pixel and by the mean of everything around it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.pixel = nn.Conv2d(3, channels, 1)
        self.around = nn.Linear(3, channels)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.pixel(pixels)
        return answer + 5 * self.around(pixels.mean(dim=(2, 3)))[:, :, None, None]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_sees_single_pixels_agrees_with_itself(channels: int) -> None:
    torch.manual_seed(1)
    network = nn.Conv2d(3, channels, 1)
    pixels = _pixels()
    apart = WindowAgreement(32)(network, pixels, network(pixels))
    assert float(apart.detach()) == pytest.approx(0.0, abs=1e-6)


def test_two_constants_are_as_far_apart_as_their_divergence() -> None:
    def network(pixels: torch.Tensor) -> torch.Tensor:
        value = 1.2 if pixels.shape[2] == CROP_PX else -0.4
        return torch.full((len(pixels), 1, *pixels.shape[2:]), value)

    pixels = _pixels()
    p, q = 1 / (1 + math.exp(-1.2)), 1 / (1 + math.exp(0.4))
    by_hand = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    found = WindowAgreement(32)(network, pixels, network(pixels))
    assert float(found) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_steps_against_its_gradient_bring_the_answers_together(channels: int) -> None:
    network, pixels = _Surroundings(channels), _pixels()
    agreement = WindowAgreement(32)

    @torch.no_grad()
    def apart() -> float:
        logits = network(pixels)
        return sum(float(agreement(network, pixels, logits)) for _ in range(40)) / 40

    before = apart()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        agreement(network, pixels, network(pixels)).backward()
        optimizer.step()
    assert before > 1e-3
    assert apart() < 0.5 * before


def test_the_crops_answers_are_not_drawn_to_the_windows() -> None:
    network, pixels = _Surroundings(1), _pixels()
    logits = network(pixels).detach().requires_grad_()
    WindowAgreement(32)(network, pixels, logits).backward()
    assert logits.grad is None
    assert network.around.weight.grad is not None


@pytest.mark.parametrize("multiple_px", [1, 8, 32, 96])
def test_windows_begin_at_multiples_inside_the_crop(multiple_px: int) -> None:
    seen: list[torch.Tensor] = []
    places = torch.arange(CROP_PX * CROP_PX).reshape(1, 1, CROP_PX, CROP_PX).float()

    def network(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(pixels)
        return torch.zeros_like(pixels)

    for _ in range(20):
        WindowAgreement(multiple_px)(network, places, torch.zeros_like(places))
    corners = {divmod(int(window[0, 0, 0, 0]), CROP_PX) for window in seen}
    assert all(row % multiple_px == 0 and column % multiple_px == 0 for row, column in corners)
    assert all(len(set(window.shape[2:])) == 1 for window in seen)
    assert len(corners) > 1 or multiple_px == CROP_PX

"""Every term looks at labelled pixels only, and prefers the right answer."""

from __future__ import annotations

import math

import pytest
import torch

from geotiler.errors import SpecError
from geotiler.specs import MASK_NODATA
from geotiler.training.config import LossConfig
from geotiler.training.losses import TERMS, SegmentationLoss

CASES = [(name, channels) for name in TERMS for channels in (1, 3)]


def _batch(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits and labels, a quarter of which are unlabelled."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, channels, 16, 16, generator=generator)
    labels = torch.randint(0, max(2, channels), (2, 16, 16), generator=generator)
    labels[:, :8, :8] = MASK_NODATA
    return logits, labels


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_unlabelled_pixels_change_nothing_and_get_no_gradient(name: str, channels: int) -> None:
    loss = SegmentationLoss(LossConfig(**{name: 1.0}), channels)
    logits, labels = _batch(channels)
    other = logits.clone()
    other[:, :, :8, :8] = 50.0
    logits.requires_grad_()
    value = loss(logits, labels)
    assert float(loss(other, labels)) == pytest.approx(float(value.detach()), rel=1e-5)
    value.backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, :8, :8] == 0).all()
    assert (logits.grad[:, :, 8:, 8:] != 0).any()


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_a_step_against_the_gradient_lowers_it(name: str, channels: int) -> None:
    loss = SegmentationLoss(LossConfig(**{name: 1.0}), channels)
    logits, labels = _batch(channels)
    logits.requires_grad_()
    value = loss(logits, labels)
    value.backward()
    gradient = logits.grad
    assert gradient is not None
    lower = loss((logits - 0.1 * gradient / gradient.norm()).detach(), labels)
    assert float(lower.detach()) < float(value.detach())


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_a_batch_without_labels_has_no_loss(name: str, channels: int) -> None:
    loss = SegmentationLoss(LossConfig(**{name: 1.0}), channels)
    logits, labels = _batch(channels)
    logits.requires_grad_()
    value = loss(logits, torch.full_like(labels, MASK_NODATA))
    value.backward()
    assert float(value) == 0
    assert (logits.grad == 0).all()


def test_terms_are_summed_with_their_weights() -> None:
    logits, labels = _batch(1)
    each = {n: float(SegmentationLoss(LossConfig(**{n: 1.0}), 1)(logits, labels)) for n in TERMS}
    both = SegmentationLoss(LossConfig(bce=1.0, dice=0.5), 1)(logits, labels)
    assert float(both) == pytest.approx(each["bce"] + 0.5 * each["dice"], rel=1e-5)


def test_tversky_with_even_weights_is_dice() -> None:
    logits, labels = _batch(1)
    even = LossConfig(tversky=1.0, tversky_alpha=0.5, tversky_beta=0.5)
    dice = SegmentationLoss(LossConfig(dice=1.0), 1)(logits, labels)
    assert float(SegmentationLoss(even, 1)(logits, labels)) == pytest.approx(float(dice), rel=1e-5)


def test_cross_entropy_is_the_textbook_one() -> None:
    logits = torch.tensor([[[[0.0, 2.0]]]])
    labels = torch.tensor([[[1, 0]]])
    by_hand = (math.log(2) + math.log(1 + math.exp(2.0))) / 2
    found = SegmentationLoss(LossConfig(bce=1.0), 1)(logits, labels)
    assert float(found) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("config", [LossConfig(), LossConfig(bce=1.0, dice=-1.0)])
def test_a_loss_of_nothing_is_refused(config: LossConfig) -> None:
    with pytest.raises(SpecError, match="loss"):
        SegmentationLoss(config, 1)

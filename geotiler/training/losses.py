"""What training minimises: a weighted sum of terms, over labelled pixels only."""

from __future__ import annotations

import torch
from torch import nn

from geotiler.errors import SpecError
from geotiler.models.vision import segmentation_models
from geotiler.specs import MASK_NODATA
from geotiler.training.config import LossConfig

TERMS = ("bce", "dice", "focal", "lovasz", "tversky")


class SegmentationLoss(nn.Module):
    """Mean loss of logits (N, K, H, W) against class indices (N, H, W), 255 left out.

    With K = 1 the labels are 0 and 1 and the terms those of a sigmoid; else of a softmax.

    Law: nothing at an unlabelled pixel changes the loss or gets a gradient from it; a batch
    without any label has the loss 0.
    """

    def __init__(self, config: LossConfig, channels: int) -> None:
        """Args: config: weights of the terms. channels: K.

        Raises:
            SpecError: no term has a weight, or one is negative.
        """
        super().__init__()
        weights = {name: float(getattr(config, name)) for name in TERMS}
        if min(weights.values()) < 0:
            name = min(weights, key=lambda each: weights[each])
            raise SpecError(
                f"loss.{name} must not be negative, got {weights[name]:g}",
                hint=f"loss.{name}=0 leaves the term out",
            )
        if not any(weights.values()):
            raise SpecError(
                f"loss has no term to minimise: {weights}", hint="loss=bce_dice is the default"
            )
        self._binary = channels == 1
        self._weights = {name: weight for name, weight in weights.items() if weight}
        self._terms = nn.ModuleDict({name: self._term(name, config) for name in self._weights})

    def _term(self, name: str, config: LossConfig) -> nn.Module:
        losses = segmentation_models().losses
        mode = "binary" if self._binary else "multiclass"
        known: dict[str, float | int] = {"ignore_index": MASK_NODATA}
        if name == "bce":
            kind = losses.SoftBCEWithLogitsLoss if self._binary else nn.CrossEntropyLoss
            term: nn.Module = kind(**known)
        elif name == "dice":
            term = losses.DiceLoss(mode, **known)
        elif name == "focal":
            term = losses.FocalLoss(mode, gamma=config.focal_gamma, **known)
        elif name == "lovasz":
            term = losses.LovaszLoss(mode, **known)
        else:
            rates = {"alpha": config.tversky_alpha, "beta": config.tversky_beta}
            term = losses.TverskyLoss(mode, **known, **rates)
        return term

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The weighted sum, a scalar in float32."""
        logits = logits.float()
        if not bool((labels != MASK_NODATA).any()):
            return logits.sum() * 0.0
        target = labels[:, None].float() if self._binary else labels.long()
        terms = (self._weights[name] * term(logits, target) for name, term in self._terms.items())
        total: torch.Tensor = sum(terms, torch.zeros((), device=logits.device))
        return total

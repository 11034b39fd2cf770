"""Lightning module of one-class segmentation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geotiler.errors import ModelError
from geotiler.models.build import build_network, load_encoder
from geotiler.models.vision import segmentation_models
from geotiler.specs import MASK_NODATA
from geotiler.training.config import Config
from geotiler.training.framework import pl


def rate_factor(step: int, *, warmup: int, steps: int, decay: int) -> float:
    """Learning rate at a step over the peak: linear warm-up, constant, cosine to zero at the end.

    The constant middle lets a run be lengthened or cut short at any checkpoint.
    """
    if step < warmup:
        return (step + 1) / warmup
    start = max(warmup, steps - decay)
    if step < start:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - start) / max(1, steps - start))))


def build_for_training(config: Config) -> nn.Module:
    """The network of a configuration, with encoder weights where it names them.

    Raises:
        ModelError: unknown architecture, or weights that do not fit it.
    """
    network = build_network(config.model.library, config.model.architecture, config.model.arguments)
    if config.model.encoder_weights == "imagenet":
        _download_encoder(network, config.model.arguments)
    elif config.model.encoder_weights:
        load_encoder(network, Path(config.model.encoder_weights))
    return network


def _download_encoder(network: nn.Module, arguments: dict[str, Any]) -> None:
    """Fill the encoder with ImageNet weights from the hub that smp knows.

    Raises:
        ModelError: the hub cannot be reached, or has no such weights.
    """
    name = arguments.get("encoder_name", "resnet34")
    depth = arguments.get("encoder_depth", 5)
    try:
        encoder = segmentation_models().encoders.get_encoder(name, depth=depth, weights="imagenet")
    except Exception as error:  # whatever a hub client or an unknown name raises
        reason = " ".join(str(error).split())[:240]
        raise ModelError(
            f"ImageNet weights of {name} cannot be fetched: {reason}",
            hint="model.encoder_weights takes the path of a safetensors file, or null",
        ) from error
    network.encoder.load_state_dict(encoder.state_dict())


class Segmentation(pl.LightningModule):
    """One-class segmentation: BCE + Dice loss over valid pixels, pooled validation IoU."""

    def __init__(self, config: Config, network: nn.Module | None = None) -> None:
        """Args: config: the run. network: weights to start from; None builds them."""
        super().__init__()
        losses = segmentation_models().losses
        self._config = config
        built = build_for_training(config) if network is None else network
        # Weights that were loaded for fine-tuning arrive in evaluation mode.
        self.network = built.train().to(memory_format=torch.channels_last)
        self._bce = losses.SoftBCEWithLogitsLoss(ignore_index=MASK_NODATA)
        self._dice = losses.DiceLoss("binary", ignore_index=MASK_NODATA)
        self._counts = [0, 0, 0]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (N, 1, H, W) of normalised pixels (N, C, H, W)."""
        logits: torch.Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last))
        return logits

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        """Mean loss of a batch."""
        pixels, labels = batch
        logits = self(pixels).float()
        target = labels[:, None].float()
        loss: torch.Tensor = self._bce(logits, target) + self._dice(logits, target)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Empty the pooled counts."""
        self._counts = [0, 0, 0]

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        """Add one chip to the pooled counts."""
        pixels, labels = batch
        logits = self(pixels)[:, 0]
        limit = math.log(self._config.model.threshold / (1 - self._config.model.threshold))
        found = logits.float() >= limit
        valid = labels != MASK_NODATA
        true = labels == 1
        for slot, hits in enumerate((found & true, found & valid & ~true, ~found & true)):
            self._counts[slot] += int(hits.sum())

    def on_validation_epoch_end(self) -> None:
        """Log the IoU over all pixels of the split."""
        union = sum(self._counts)
        self.log("val_iou", self._counts[0] / union if union else 0.0, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW with a slower encoder and the trapezoidal rate."""
        train = self._config.train
        encoder = [p for n, p in self.network.named_parameters() if n.startswith("encoder.")]
        rest = [p for n, p in self.network.named_parameters() if not n.startswith("encoder.")]
        optimiser = torch.optim.AdamW(
            [
                {"params": encoder, "lr": train.lr * train.encoder_lr_factor},
                {"params": rest, "lr": train.lr},
            ],
            weight_decay=train.weight_decay,
        )

        def factor(step: int) -> float:
            return rate_factor(
                step, warmup=train.warmup_steps, steps=train.steps, decay=train.decay_steps
            )

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

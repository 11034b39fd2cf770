"""Lightning module of segmentation: one class by a sigmoid, several by a softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geotiler.core.metrics import ConfusionMatrix, mean_of
from geotiler.errors import ModelError
from geotiler.models.build import build_network, load_encoder
from geotiler.models.vision import segmentation_models
from geotiler.training.config import Config, ModelConfig
from geotiler.training.framework import pl
from geotiler.training.losses import SegmentationLoss
from geotiler.training.optimisation import optimiser_and_rate, parameter_groups

Batch = tuple[torch.Tensor, torch.Tensor]


def channels_of(classes: Sequence[str]) -> int:
    """Channels of a network that tells classes apart: 1 for background and another one."""
    return 1 if len(classes) == 2 else len(classes)


def build_for_training(model: ModelConfig, channels: int) -> nn.Module:
    """The network of a configuration, with encoder weights where it names them.

    Raises:
        ModelError: unknown architecture, or weights that do not fit it.
    """
    network = build_network(
        model.library, model.architecture, {**model.arguments, "classes": channels}
    )
    if model.encoder_weights == "imagenet":
        _download_encoder(network, model.arguments)
    elif model.encoder_weights:
        load_encoder(network, Path(model.encoder_weights))
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


def with_other_head(network: nn.Module, model: ModelConfig, channels: int) -> nn.Module:
    """The network with as many answers, everything but its head kept; itself if it has as many.

    Raises:
        ModelError: the architecture of the configuration is another one.
    """
    built = build_network(
        model.library, model.architecture, {**model.arguments, "classes": channels}
    )
    wanted, given = built.state_dict(), network.state_dict()
    same = {name: t for name, t in given.items() if t.shape == wanted[name].shape}
    if len(same) == len(wanted):
        return network
    built.load_state_dict({**wanted, **same})
    return built


class Segmentation(pl.LightningModule):
    """A network with its loss over labelled pixels and its pooled validation IoU."""

    def __init__(
        self, config: Config, classes: Sequence[str], network: nn.Module | None = None
    ) -> None:
        """Args: config: the run. classes: names, background first. network: weights to start from;
        None builds them.

        Raises:
            ModelError: the network cannot be built.
            SpecError: a loss without terms.
        """
        super().__init__()
        self._config = config
        self.classes = tuple(classes)
        channels = channels_of(classes)
        if network is None:
            network = build_for_training(config.model, channels)
        # Weights that were loaded for fine-tuning arrive in evaluation mode.
        self.network = network.train().to(memory_format=torch.channels_last)
        self.loss = SegmentationLoss(config.loss, channels)
        self.counts = ConfusionMatrix()
        """Of the last validation."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (N, K, H, W) of normalised pixels (N, C, H, W)."""
        logits: torch.Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last))
        return logits

    def predicted(self, logits: torch.Tensor) -> torch.Tensor:
        """Class indices (N, H, W) of logits (N, K, H, W)."""
        if logits.shape[1] > 1:
            return logits.argmax(dim=1)
        threshold = self._config.model.threshold
        return (logits[:, 0].float() >= math.log(threshold / (1 - threshold))).long()

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        """Mean loss of a batch."""
        pixels, labels = batch
        loss: torch.Tensor = self.loss(self(pixels), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Empty the pooled counts."""
        self.counts = ConfusionMatrix()

    def validation_step(self, batch: Batch, index: int) -> torch.Tensor:
        """Add one chip to the pooled counts; its logits."""
        pixels, labels = batch
        logits: torch.Tensor = self(pixels).float()
        self.log("val_loss", self.loss(logits, labels), batch_size=len(labels))
        found = self.predicted(logits)
        self.counts.add(labels.byte().cpu().numpy(), found.byte().cpu().numpy())
        return logits

    def on_validation_epoch_end(self) -> None:
        """Log the IoU over all pixels of the split: the mean of the classes, if there are more."""
        ids = range(1, len(self.classes))
        found = {self.classes[k]: self.counts.score(k).iou for k in ids}
        self.log("val_iou", mean_of(list(found.values())) or 0.0)
        if len(found) > 1:
            for name, iou in found.items():
                self.log(f"val_iou_{name}", iou or 0.0)

    def configure_optimizers(self) -> Any:
        """The configured optimiser, slower in the encoder, and its rate."""
        train = self._config.train
        groups = parameter_groups(self.network, train.optimizer)
        return optimiser_and_rate(groups, train.optimizer, train.scheduler, train.steps)

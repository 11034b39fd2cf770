"""Classification of whole tiles: the Lightning module, where its weights start, its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from geotiler.errors import ModelError
from geotiler.models.build import build_network, tensors_of
from geotiler.models.classifiers import AtInputSize
from geotiler.models.vision import torchvision
from geotiler.training.classification_config import ClassifierRunConfig
from geotiler.training.fit import without_expected_warnings
from geotiler.training.framework import pl
from geotiler.training.optimisation import optimiser_and_rate

from torchmetrics.classification import MulticlassConfusionMatrix  # isort: skip

_HEADS = ("classifier", "fc", "head", "heads")
"""What the last layers are called in torchvision's classifiers."""


def head_arguments(config: ClassifierRunConfig) -> dict[str, Any]:
    """Arguments of the architecture, with as many answers as there are classes."""
    return {**config.model.arguments, "num_classes": len(config.model.classes)}


def build_classifier(config: ClassifierRunConfig) -> nn.Module:
    """The network of a configuration, started from the weights that it names.

    Raises:
        ModelError: unknown architecture, or weights that do not fit it.
    """
    model = config.model
    network = build_network(
        model.library, model.architecture, head_arguments(config), model.image_size
    )
    assert isinstance(network, AtInputSize)
    if model.weights == "imagenet":
        start_from(network.network, _downloaded(config), "ImageNet weights")
    elif model.weights:
        try:
            content = Path(model.weights).read_bytes()
        except OSError as error:
            raise ModelError(
                f"weights {model.weights} cannot be read: {error.strerror}",
                hint="model.weights takes a safetensors file, imagenet, or null",
            ) from error
        start_from(network.network, tensors_of(content, model.weights), model.weights)
    return network


def start_from(network: nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Fill everything but the head of a classifier; heads among the tensors are left out.

    Raises:
        ModelError: a tensor below the head is missing, left over, or of another shape.
    """
    own = {key: value for key, value in network.state_dict().items() if not _is_head(key)}
    given = {key: value for key, value in tensors.items() if not _is_head(key)}
    strange = sorted(own.keys() ^ given.keys()) or sorted(
        key for key, value in own.items() if value.shape != given[key].shape
    )
    if strange:
        raise ModelError(
            f"{source} does not fit {type(network).__name__}: {len(strange)} tensors differ, "
            f"the first is {strange[0]}",
            hint="model.weights=null starts from random weights",
        )
    network.load_state_dict(given, strict=False)


def _is_head(key: str) -> bool:
    return key.removeprefix("network.").split(".")[0] in _HEADS


def _downloaded(config: ClassifierRunConfig) -> dict[str, torch.Tensor]:
    """ImageNet weights of the architecture, fetched by torchvision.

    Raises:
        ModelError: there are none, or they cannot be reached.
    """
    name = config.model.architecture
    try:
        network = torchvision().models.get_model(name, weights="DEFAULT")
    except Exception as error:  # whatever an unknown name or a failed download raises
        reason = " ".join(str(error).split())[:240]
        raise ModelError(
            f"ImageNet weights of {name} cannot be fetched: {reason}",
            hint="model.weights takes the path of a safetensors file, or null",
        ) from error
    tensors: dict[str, torch.Tensor] = network.state_dict()
    return tensors


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well a classifier did on one set of tiles."""

    accuracy: float
    macro_f1: float
    """Unweighted mean of the F1 of all classes; a class that is neither there nor found is 0."""
    recall: tuple[float, ...]
    """Per class, in their order; 0 for a class that is not there."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts: row = true class, column = predicted class."""

    @classmethod
    def of(cls, confusion: torch.Tensor) -> Scores:
        """Scores of a confusion matrix (K, K) of counts."""
        counts = confusion.double()
        hits, true, found = counts.diag(), counts.sum(dim=1), counts.sum(dim=0)
        recall = hits / true.clamp(min=1)
        f1 = 2 * hits / (true + found).clamp(min=1)
        return cls(
            accuracy=float(hits.sum() / counts.sum().clamp(min=1)),
            macro_f1=float(f1.mean()),
            recall=tuple(float(value) for value in recall),
            confusion=tuple(tuple(int(n) for n in row) for row in confusion.tolist()),
        )


class Classification(pl.LightningModule):
    """Cross entropy with smoothed labels; accuracy, macro F1 and recalls on validation tiles."""

    def __init__(self, config: ClassifierRunConfig, network: nn.Module | None = None) -> None:
        """Args: config: the run. network: weights to start from; None builds them."""
        super().__init__()
        self._config = config
        built = build_classifier(config) if network is None else network
        # Weights that were loaded for fine-tuning arrive in evaluation mode.
        self.network = built.train().to(memory_format=torch.channels_last)
        self._classes: Sequence[str] = sorted(config.model.classes)
        self._counts = MulticlassConfusionMatrix(len(self._classes))
        self.scores: Scores | None = None
        """Of the last pass over validation or test tiles."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) of normalised tiles (N, C, H, W)."""
        logits: torch.Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last))
        return logits

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        """Mean loss of a batch."""
        pixels, labels = batch
        train = self._config.train
        target = F.one_hot(labels, len(self._classes)).float()
        if train.mixup > 0:
            share = torch.distributions.Beta(train.mixup, train.mixup).sample()
            other = torch.randperm(len(labels), device=labels.device)
            pixels = torch.lerp(pixels[other], pixels, share)
            target = torch.lerp(target[other], target, share)
        logits = self(pixels).float()
        loss = F.cross_entropy(logits, target, label_smoothing=train.label_smoothing)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        """Add one batch to the counts."""
        pixels, labels = batch
        logits = self(pixels).float()
        self._counts.update(logits, labels)
        loss = F.cross_entropy(logits, labels)
        self.log("val_loss", loss, batch_size=len(labels))

    def on_validation_epoch_end(self) -> None:
        """Log accuracy, macro F1 and each class's recall."""
        scores = self._taken()
        self.log("val_accuracy", scores.accuracy, prog_bar=True)
        self.log("val_macro_f1", scores.macro_f1)
        for name, recall in zip(self._classes, scores.recall, strict=True):
            self.log(f"val_recall_{name}", recall)

    def test_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        """Add one batch to the counts."""
        pixels, labels = batch
        self._counts.update(self(pixels).float(), labels)

    def on_test_epoch_end(self) -> None:
        """Keep the scores."""
        self._taken()

    def _taken(self) -> Scores:
        self.scores = Scores.of(self._counts.compute())
        self._counts.reset()
        return self.scores

    def configure_optimizers(self) -> Any:
        """The configured optimiser, slower where weights were there before, and its rate."""
        train = self._config.train
        rate = train.optimizer
        started = self._config.model.weights is not None or self._config.init is not None
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            factor = rate.encoder_lr_factor if started and not _is_head(name) else 1.0
            # Normalisations and biases are not weights to be kept small.
            decay = rate.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((rate.lr * factor, decay), []).append(parameter)
        each = [{"params": p, "lr": lr, "weight_decay": d} for (lr, d), p in groups.items()]
        return optimiser_and_rate(each, rate, train.scheduler, train.steps)


def score(module: Classification, data: pl.LightningDataModule, part: str) -> Scores:
    """Scores of the network as it stands on the validation or test tiles, in float32."""
    trainer = pl.Trainer(
        logger=False,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loaders = data.val_dataloader() if part == "val" else data.test_dataloader()
    with without_expected_warnings():
        trainer.test(module, dataloaders=loaders, verbose=False)
    assert module.scores is not None
    return module.scores

"""Classifiers of whole tiles: the simple baseline, and the resize in front of any of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


class SimpleCnn(nn.Module):
    """A plain convolutional baseline: blocks of convolution, normalisation, ReLU and pooling.

    Pixels (N, in_channels, H, W) become logits (N, num_classes); H and W are at least
    2 ** len(widths).
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128, 256),
        dropout: float = 0.3,
    ) -> None:
        """Args: widths: channels of each block. dropout: before the last layer, 0 to 1."""
        super().__init__()
        blocks: list[nn.Module] = []
        for before, after in zip((in_channels, *widths), widths, strict=False):
            blocks += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            ]
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1], num_classes))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits of pixels."""
        logits: torch.Tensor = self.classifier(self.features(pixels).mean(dim=(2, 3)))
        return logits


class AtInputSize(nn.Module):
    """A classifier behind a bilinear resize, so that callers pass tiles as they are on the scene.

    The resize is part of the network, and so of its graph: every backend does the same.
    """

    def __init__(self, network: nn.Module, input_px: int) -> None:
        """Args: network: answers (N, K). input_px: height and width that it sees."""
        super().__init__()
        self.network = network
        self.input_px = input_px

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) of tiles (N, C, H, W) of any size."""
        size = (self.input_px, self.input_px)
        pixels = F.interpolate(tiles, size=size, mode="bilinear", align_corners=False)
        logits: torch.Tensor = self.network(pixels)
        return logits

"""How far a network's answers depend on where its windows end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from geotiler.core.blend import window_weights

_WINDOW = 0.6
"""Side of a window over that of the crop around it: enough context is missing to be noticed."""


class WindowAgreement(nn.Module):
    """How far answers for a window lie from those for the crop around it, which sees more.

    A scene is answered window by window, and where two of them meet a seam shows as far as they
    answer differently. The crop's answers are what the window's are drawn to (they get no
    gradient of this term); the rim of the window counts as little as it does when windows are
    blended. Labels are not needed.
    """

    def __init__(self, multiple_px: int) -> None:
        """Args: multiple_px: windows begin and end at multiples of it, as those of a scene do."""
        super().__init__()
        self._multiple_px = multiple_px

    def forward(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        pixels: torch.Tensor,
        logits: torch.Tensor,
    ) -> torch.Tensor:
        """Mean Kullback-Leibler divergence in nats, a scalar in float32.

        Args:
            network: gives logits (N, K, h, w) of pixels (N, C, h, w).
            pixels: the crops (N, C, H, W).
            logits: their answers (N, K, H, W); K = 1 is a sigmoid, else a softmax.
        """
        rows, columns = (self._window(length) for length in pixels.shape[2:])
        seen = logits.detach()[:, :, rows, columns]
        answered = network(pixels[:, :, rows, columns])
        divergence = functional.kl_div(
            _log_shares(answered), _log_shares(seen), reduction="none", log_target=True
        ).sum(dim=1)
        weights = torch.outer(*(_weights(length, logits) for length in divergence.shape[1:]))
        return (divergence * weights).sum() / (weights.sum() * len(divergence))

    def _window(self, length_px: int) -> slice:
        """A random stretch of an axis, shorter than the axis where the multiples allow it."""
        step = self._multiple_px
        side = max(step, int(_WINDOW * length_px) // step * step)
        first = int(torch.randint((length_px - side) // step + 1, ())) * step
        return slice(first, first + side)


def _weights(length_px: int, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(window_weights(length_px)).to(like.device)


def _log_shares(logits: torch.Tensor) -> torch.Tensor:
    """Logarithms of the classes' probabilities (N, K, H, W), the background of a sigmoid too."""
    logits = logits.float()
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return functional.log_softmax(logits, dim=1)

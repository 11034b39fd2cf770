"""Optimisers and the learning rate's shape over a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from geotiler.training.config import OptimizerConfig, SchedulerConfig

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULERS = ("trapezoid", "cosine", "constant")


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


def decay_steps(config: SchedulerConfig, steps: int) -> int:
    """Over how many of a run's last steps the rate falls, by one of SCHEDULERS."""
    return {"trapezoid": config.decay_steps, "cosine": steps, "constant": 0}[config.name]


def parameter_groups(network: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """The encoder's parameters and all others, each with its learning rate."""
    encoder, rest = [], []
    for name, parameter in network.named_parameters():
        (encoder if name.startswith("encoder.") else rest).append(parameter)
    return [
        {"params": encoder, "lr": config.lr * config.encoder_lr_factor},
        {"params": rest, "lr": config.lr},
    ]


def make_optimizer(
    groups: Sequence[Mapping[str, Any]], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """The optimiser that a configuration names, one of OPTIMIZERS."""
    groups = [dict(group) for group in groups]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    if config.name == "adam":
        return torch.optim.Adam(groups, weight_decay=config.weight_decay)
    return torch.optim.SGD(groups, weight_decay=config.weight_decay, momentum=0.9, nesterov=True)


def optimiser_and_rate(
    groups: Sequence[Mapping[str, Any]],
    optimizer: OptimizerConfig,
    scheduler: SchedulerConfig,
    steps: int,
) -> dict[str, Any]:
    """What Lightning's `configure_optimizers` answers: an optimiser and a rate for every step.

    Args:
        groups: parameters with their peak rate, and whatever else the optimiser takes per group.
        optimizer: which one; `fit.prepare` has checked it and the scheduler.
        scheduler: the rate's shape.
        steps: of the whole run.
    """
    made = make_optimizer(groups, optimizer)
    decay = decay_steps(scheduler, steps)

    def factor(step: int) -> float:
        return rate_factor(step, warmup=scheduler.warmup_steps, steps=steps, decay=decay)

    rate = torch.optim.lr_scheduler.LambdaLR(made, factor)
    return {"optimizer": made, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

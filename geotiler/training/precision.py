"""What a network is trained in, and whether the machine computes it."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
"""As Lightning calls them; auto is `best_precision`."""


def best_precision(wanted: str, accelerator: str = "auto") -> str:
    """Lightning precision: the wanted one, or for "auto" bf16 where hardware multiplies it."""
    if wanted != "auto":
        return wanted
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if cpu_has_bfloat16() else "32-true"


def cpu_has_bfloat16() -> bool:
    """Whether torch has fast bfloat16 for this CPU."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def slow_precision(precision: str, device: str) -> str | None:
    """A line about a precision that a device imitates; None where it computes it.

    Args:
        precision: of the run, as Lightning calls it.
        device: cpu, cuda or mps.
    """
    # On a CPU Lightning takes bf16-mixed for 16-mixed.
    if device != "cpu" or not precision.startswith("bf16") or cpu_has_bfloat16():
        return None
    return (
        f"this CPU imitates {precision}, which takes many times as long: train.precision=32-true "
        "does not (auto would have taken it)"
    )

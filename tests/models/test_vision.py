"""torchvision and smp import beside any build of torch, in an interpreter that saw neither."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import torch
from geotiler.models import vision
smp, models = vision.segmentation_models(), vision.torchvision().models
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
tiles = torch.zeros(1, 3, 64, 64)
assert models.resnet18(weights=None).eval()(tiles).shape == (1, 1000)
assert v2.Resize(32)(tiles).shape == (1, 3, 32, 32)
assert smp.Unet("resnet18", encoder_weights=None).eval()(tiles).shape == (1, 1, 64, 64)
print("ok")
"""


def test_both_import_in_a_fresh_interpreter() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout.strip() == "ok"

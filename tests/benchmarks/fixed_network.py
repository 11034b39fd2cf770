"""The network that everybody runs in the comparison: smp's own U-Net, random weights, one seed.

python fixed_network.py FOLDER ENCODER
"""

from __future__ import annotations

import sys
from pathlib import Path

from geotiler.models.build import build_network
from geotiler.models.bundle import write_bundle
from geotiler.models.card import ClassInfo, ModelCard
from geotiler.specs import Scale


def write_fixed_network(folder: Path, encoder: str, gsd_m: float) -> None:
    """Write a model folder of `smp.Unet(encoder)` with its default decoder for scenes of a GSD."""
    import torch

    torch.manual_seed(0)
    arguments = {
        "encoder_name": encoder,
        "encoder_weights": None,
        "in_channels": 3,
        "classes": 1,
    }
    card = ModelCard(
        name=f"unet-{encoder.replace('_', '-')}",
        version="1",
        task="segmentation",
        description="smp.Unet with random weights, for measuring time.",
        library="smp",
        architecture="Unet",
        arguments=arguments,
        bands=("red", "green", "blue"),
        scale=Scale(minimum=0.0, maximum=255.0),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        gsd_m=gsd_m,
        tile_px=512,
        overlap_px=128,
        classes=(ClassInfo(id=1, name="object", color="#e4572e"),),
        activation="sigmoid",
        threshold=0.5,
        licence="Apache-2.0",
        geotiler_version="0",
        files={},
    )
    write_bundle(folder, card, build_network("smp", "Unet", arguments).eval())


if __name__ == "__main__":
    write_fixed_network(Path(sys.argv[1]), sys.argv[2], 0.5)

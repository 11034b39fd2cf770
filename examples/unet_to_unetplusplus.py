"""The U-Net++ that answers exactly as a U-Net does, to be trained from there.

    python examples/unet_to_unetplusplus.py weights/buildings-accurate -o outputs/nested
    geotiler train buildings-accurate train=buildings-accurate init=outputs/nested

The outermost nodes of a U-Net++ are a U-Net's decoder whose skip connections also carry the inner
nodes. Those nodes start at random, and what the outermost ones take of them at zero: nothing that
the U-Net has learned is lost, and the rest is learned from there.

Source: Zhou et al., "UNet++", DLMIA 2018; Chen et al., "Net2Net", ICLR 2016.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from geotiler.models.build import build_network
from geotiler.models.bundle import load_network, open_bundle, write_bundle


def nested(unet: nn.Module, architecture: dict[str, object]) -> nn.Module:
    """A U-Net++ of smp with a U-Net's answers.

    Args:
        unet: of segmentation-models-pytorch.
        architecture: the arguments that it was built from.
    """
    network = build_network("smp", "UnetPlusPlus", dict(architecture))
    tensors = network.state_dict()
    for name, tensor in unet.state_dict().items():
        part, _, rest = name.partition("decoder.blocks.")
        if part:  # encoder and head
            tensors[name] = tensor
            continue
        index, _, rest = rest.partition(".")
        own = f"decoder.blocks.x_0_{index}.{rest}"
        missing = tensors[own].shape[1] - tensor.shape[1] if tensor.ndim == 4 else 0
        if missing:  # channels: from below, of the inner nodes, of the encoder
            assert rest == "conv1.0.weight"
            encoder = tensors[f"decoder.blocks.x_{index}_{index}.conv2.0.weight"].shape[0]
            below = tensor.shape[1] - encoder
            zero = tensor.new_zeros(tensor.shape[0], missing, *tensor.shape[2:])
            tensor = torch.cat([tensor[:, :below], zero, tensor[:, below:]], dim=1)
        tensors[own] = tensor
    network.load_state_dict(tensors)
    return network.eval()


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("unet", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.unet)
    card = replace(bundle.card, architecture="UnetPlusPlus", metrics=())
    torch.manual_seed(0)
    network = nested(load_network(bundle), dict(card.arguments))
    write_bundle(arguments.output, card, network)


if __name__ == "__main__":
    main()

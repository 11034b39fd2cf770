r"""The U-Net++ that answers as a U-Net does, to be trained from there.

    python examples/unet_to_unetplusplus.py weights/buildings-accurate -o outputs/nested
    geotiler train buildings-accurate train=buildings-accurate init=outputs/nested \
      data.root=DATA/buildings

The outermost nodes of a U-Net++ are a U-Net's decoder whose skip connections also carry the inner
nodes. Those nodes start at random, and what the outermost ones take of them at zero: nothing that
the U-Net has learned is lost, and the rest is learned from there.

Source: Zhou et al., "UNet++", DLMIA 2018; Chen et al., "Net2Net", ICLR 2016.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geotiler.errors import GeotilerError, ModelError
from geotiler.models.build import build_network
from geotiler.models.bundle import load_network, open_bundle, write_bundle


def nested(unet: nn.Module, arguments: dict[str, Any]) -> nn.Module:
    """A U-Net++ of smp with a U-Net's answers.

    Args:
        unet: of segmentation-models-pytorch.
        arguments: that it was built from.
    """
    network = build_network("smp", "UnetPlusPlus", arguments)
    tensors = network.state_dict()
    for name, tensor in unet.state_dict().items():
        _, is_of_decoder, rest = name.partition("decoder.blocks.")
        if not is_of_decoder:  # of the encoder, or of the head
            tensors[name] = tensor
            continue
        index, _, rest = rest.partition(".")
        own = f"decoder.blocks.x_0_{index}.{rest}"
        inner = tensors[own].shape[1] - tensor.shape[1] if rest == "conv1.0.weight" else 0
        if inner:  # input channels: from below, then of the inner nodes, then of the encoder
            encoder = tensors[f"decoder.blocks.x_{index}_{index}.conv2.0.weight"].shape[0]
            below = tensor.shape[1] - encoder
            zero = tensor.new_zeros(tensor.shape[0], inner, *tensor.shape[2:])
            tensor = torch.cat([tensor[:, :below], zero, tensor[:, below:]], dim=1)
        tensors[own] = tensor
    network.load_state_dict(tensors)
    return network.eval()


def convert(model: Path, output: Path, seed: int = 0) -> None:
    """Write the model folder; it is named after its folder, and its card has no scores.

    Args:
        model: folder of a U-Net.
        output: a new folder.
        seed: of the inner nodes.

    Raises:
        ModelError: the model is another network.
    """
    bundle = open_bundle(model)
    card = bundle.card
    if (card.library, card.architecture) != ("smp", "Unet"):
        raise ModelError(f"{model} is a {card.architecture} of {card.library}, not a Unet of smp")
    torch.manual_seed(seed)
    network = nested(load_network(bundle), dict(card.arguments))
    card = replace(card, name=output.name, version="1", architecture="UnetPlusPlus", metrics=())
    write_bundle(output, card, network)


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        convert(arguments.model, arguments.output)
    except GeotilerError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

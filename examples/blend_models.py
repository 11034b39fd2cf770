"""A model between two: every weight on the straight line from one to the other.

    python examples/blend_models.py weights/buildings outputs/fine/model --share 0.25 -o blended/

Both are folders of one network, the second trained from the first. A little of the second gives
much of what it has learned about other places and takes little of what the first knew.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from geotiler.models.bundle import load_network, open_bundle, write_bundle


def blend(first: Path, second: Path, share: float, output: Path) -> None:
    """Write the model folder; the card is the first one's without scores.

    Args:
        first: a model folder.
        second: another one of the same network.
        share: 0 gives the first, 1 the second.
        output: a new folder.
    """
    bundle = open_bundle(first)
    network, other = load_network(bundle), load_network(open_bundle(second)).state_dict()
    network.load_state_dict(
        {
            name: torch.lerp(own.float(), other[name].float(), share).to(own.dtype)
            if own.is_floating_point()
            else own
            for name, own in network.state_dict().items()
        }
    )
    write_bundle(output, replace(bundle.card, metrics=()), network.eval())


def main() -> None:
    """Blend what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    blend(arguments.first, arguments.second, arguments.share, arguments.output)


if __name__ == "__main__":
    main()

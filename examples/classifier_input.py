"""A classifier that sees its tiles larger or smaller than it was trained with.

    python examples/classifier_input.py outputs/landuse/model --input-px 144 -o larger/

Crops that are enlarged while training make things look larger there than in whole tiles, so a
network does best on tiles that are enlarged a little more. Validation tiles tell which size is
best.

Source: Touvron et al., "Fixing the train-test resolution discrepancy", NeurIPS 2019.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from geotiler.errors import GeotilerError
from geotiler.models.bundle import load_network, open_bundle, write_bundle


def with_input(model: Path, input_px: int, output: Path) -> None:
    """Write the model folder; its card has no scores.

    Args:
        model: folder of a classifier.
        input_px: height and width that tiles are resized to on their way into the network.
        output: a new folder.

    Raises:
        GeotilerError: the model is no classifier, or its tiles do not fit that size.
    """
    bundle = open_bundle(model)
    card = replace(bundle.card, input_px=input_px, metrics=(), confusion=())
    network = load_network(bundle)
    network.input_px = input_px
    write_bundle(output, card, network.eval())


def main() -> None:
    """Change what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--input-px", type=int, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        with_input(arguments.model, arguments.input_px, arguments.output)
    except GeotilerError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

"""Score a building model on image tiles, through the released command.

Every tile of a split list is segmented by `geotiler segment TILE -o MASK --gsd 0.3`; the pixels of
all tiles are pooled into one confusion matrix. Black bands along the border of a tile are nodata
and are ignored, as in training.

    python examples/score_buildings.py DATA/buildings --split test
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from geotiler.cli.main import main as geotiler
from geotiler.core.metrics import ConfusionMatrix
from geotiler.core.radiometry import border_nodata
from geotiler.specs import MASK_NODATA


def score(root: Path, split: str, options: list[str]) -> dict[str, object]:
    """Pooled scores of the tiles in `<root>/<split>.txt`."""
    matrix = ConfusionMatrix()
    names = (root / f"{split}.txt").read_text(encoding="utf-8").split()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            image = root / "images" / f"{name}.jpg"
            mask = Path(folder) / f"{name}.png"
            code = geotiler(["segment", str(image), "-o", str(mask), "--quiet", *options])
            if code:
                sys.exit(code)
            pixels = cv2.imread(str(image), cv2.IMREAD_COLOR)
            truth = cv2.imread(str(root / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
            labels = (truth == 255).astype(np.uint8)
            labels[~border_nodata(pixels)] = MASK_NODATA
            matrix.add(labels, _class_ids(mask))
    result = matrix.score(1)
    return {
        "tiles": len(names),
        "pixels": matrix.scored,
        "ignored": matrix.ignored,
        "iou": result.iou,
        "f1": result.f1,
        "precision": result.precision,
        "recall": result.recall,
    }


def _class_ids(path: Path) -> np.ndarray:
    """Pixels of a mask as stored, not as its colour table paints them."""
    from geotiler.io.raster import open_scene
    from geotiler.specs import Window

    with open_scene(str(path)) as scene:
        window = Window(row=0, col=0, height=scene.height, width=scene.width)
        return scene.read(window, [1])[0]


def main() -> None:
    """Parse the command line and print the scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder with images/, masks/ and split lists")
    parser.add_argument("--split", default="test")
    parser.add_argument("--gsd", default="0.3", help="of the tiles, metres per pixel")
    parser.add_argument("--model", default="buildings")
    parser.add_argument("--precision", default="auto", help="as of geotiler segment")
    parser.add_argument("--tta", default="1", help="mirror images whose answers are averaged")
    arguments = parser.parse_args()
    options = ["--gsd", arguments.gsd, "--model", arguments.model, "--tta", arguments.tta]
    options += ["--precision", arguments.precision]
    with contextlib.redirect_stdout(io.StringIO()):  # the report of each tile
        result = score(arguments.root, arguments.split, options)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

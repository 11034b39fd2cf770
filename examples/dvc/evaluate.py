"""Accuracy, macro F1 and recalls of a model folder on the test list of a split, for DVC.

    python evaluate.py MODEL TILES LISTS spatial|random

Writes metrics.json and confusion.csv (one row per tile: actual, predicted).
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import classification_report

from geotiler.core.radiometry import normalise
from geotiler.models.predictor import open_predictor
from geotiler.models.registry import find_model
from geotiler.training.class_tiles import open_tiles


def main(model: str, tiles: str, lists: str, split: str) -> None:
    """Score and write."""
    bundle = find_model(f"./{model}")
    card = bundle.card
    classes = [item.name for item in card.classes]
    names = (Path(lists) / f"eurosat-{split}-test.txt").read_text().split()
    read = open_tiles(Path(tiles), classes).read(names, card.tile_px)
    predictor = open_predictor(bundle, device="cpu")
    valid = np.ones((card.tile_px, card.tile_px), bool)
    predicted = []
    for image in read.images:
        pixels = normalise(image, valid, scale=card.scale, mean=card.mean, std=card.std)
        predicted.append(classes[int(predictor(pixels[None])[0].argmax())])
    actual = [classes[label] for label in read.labels]
    scores = classification_report(actual, predicted, output_dict=True, zero_division=0)
    metrics = {
        "tiles": len(names),
        "accuracy": round(scores["accuracy"], 4),
        "macro_f1": round(scores["macro avg"]["f1-score"], 4),
        "recall": {name: round(scores[name]["recall"], 4) for name in classes},
    }
    Path("metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    with Path("confusion.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["actual", "predicted"])
        writer.writerows(zip(actual, predicted, strict=True))


if __name__ == "__main__":
    main(*sys.argv[1:])

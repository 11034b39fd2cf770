"""The shipped land-use weights, on tiles that their training never saw."""

from __future__ import annotations

import zipfile
from pathlib import Path

import geotiler
from geotiler.models.registry import find_model
from geotiler.specs import ClassifyImagesSpec
from geotiler.training.class_splits import spatial_split

PER_CLASS = 12


def test_tiles_of_the_test_list_are_named_right_about_as_often_as_the_card_says(
    real_data: Path, tmp_path: Path
) -> None:
    eurosat = real_data / "eurosat"
    parts = {part: set(names) for part, names in spatial_split(eurosat).items()}
    assert not parts["test"] & (parts["train"] | parts["val"])
    card = find_model("landuse").card
    chosen = []
    for item in card.classes:
        names = sorted(name for name in parts["test"] if _class_of(name) == item.name)
        chosen += names[:: len(names) // PER_CLASS][:PER_CLASS]
    assert len(chosen) == PER_CLASS * len(card.classes)
    with zipfile.ZipFile(eurosat / "EuroSAT_RGB.zip") as archive:
        members = {Path(name).stem: name for name in archive.namelist() if name.endswith(".jpg")}
        images = [archive.extract(members[Path(name).stem], tmp_path) for name in chosen]
    labels = list(geotiler.classify_images(ClassifyImagesSpec(images=tuple(images))))
    hits = [
        label.predicted_class == _class_of(name) for label, name in zip(labels, chosen, strict=True)
    ]
    said = [metric.value for metric in card.metrics if metric.name.startswith("recall of ")]
    assert abs(sum(hits) / len(hits) - sum(said) / len(said)) < 0.06


def _class_of(name: str) -> str:
    return Path(name).stem.rsplit("_", 1)[0]

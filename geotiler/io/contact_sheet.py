"""A picture of some chips of each split, to see at a glance what a data set holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from geotiler.core.contact import Thumbnail, contact_sheet
from geotiler.io.chip_folder import ChipFolder, ChipRecord
from geotiler.io.opening import quiet_about_georeferencing
from geotiler.io.preview import read_reduced, write_png

SIDE_PX = 160
COLUMNS = 8
MOST_PER_SPLIT = 24


def write_contact_sheet(
    path: Path,
    folder: ChipFolder,
    by_split: Mapping[str, Sequence[ChipRecord]],
    classes: Mapping[int, str],
) -> None:
    """Write a PNG with up to 24 chips of each split, evenly taken from its list.

    Args:
        path: the picture; replaced if it exists.
        folder: where the chips are.
        by_split: split → its chips; empty ones are left out.
        classes: id → name; none: there are no masks.
    """
    sections: dict[str, list[Thumbnail]] = {}
    for split, records in by_split.items():
        if records:
            shown = _evenly(records)
            heading = f"{split}: {len(shown)} of {len(records)} chips"
            sections[heading] = [_thumbnail(folder, record, bool(classes)) for record in shown]
    image = contact_sheet(sections, classes, side_px=SIDE_PX, columns=COLUMNS)
    write_png(path, image, overwrite=True)


def _evenly(records: Sequence[ChipRecord]) -> list[ChipRecord]:
    count = min(len(records), MOST_PER_SPLIT)
    return [records[i * len(records) // count] for i in range(count)]


def _thumbnail(folder: ChipFolder, record: ChipRecord, has_masks: bool) -> Thumbnail:
    scale = SIDE_PX / max(record.height, record.width)
    height, width = (
        max(1, round(side * min(1.0, scale))) for side in (record.height, record.width)
    )
    with quiet_about_georeferencing():
        image = read_reduced(str(folder.image(record.name)), (height, width))
        labels = None
        if has_masks:
            mask = read_reduced(str(folder.mask(record.name)), (height, width), categories=True)
            labels = mask.bands[0].astype(np.uint8)
    return Thumbnail(bands=image.bands, valid=image.valid, labels=labels)

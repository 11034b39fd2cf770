"""The contact sheet shows what it is given, where it says."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal

from geotiler.core.contact import Thumbnail, class_colour, contact_sheet
from geotiler.core.overlay import NODATA


def _thumbnail(value: int, label: int | None = None) -> Thumbnail:
    labels = None
    if label is not None:
        labels = np.zeros((20, 20), np.uint8)
        labels[5:15, 5:15] = label
    valid = np.ones((20, 20), bool)
    valid[:3] = False
    bands = np.full((3, 20, 20), value, np.uint8)
    return Thumbnail(bands=bands, valid=valid, labels=labels)


def test_pictures_stand_in_order_under_their_headings() -> None:
    sections = {"train": [_thumbnail(10), _thumbnail(20), _thumbnail(30)], "val": [_thumbnail(40)]}
    page = contact_sheet(sections, {}, side_px=20, columns=2)
    found = [int(page[row, col, 0]) for row in (36, 62, 114) for col in (16, 42)]
    assert found == [10, 20, 30, 255, 40, 255]
    assert tuple(page[27, 16]) == NODATA


def test_classes_are_tinted_in_their_colours() -> None:
    sections = {"all": [_thumbnail(100, 1), _thumbnail(100, 2)]}
    page = contact_sheet(sections, {1: "a", 2: "b"}, side_px=20, columns=2).astype(int)
    for col, key in ((6, 1), (32, 2)):
        assert_array_equal(page[26 + 5, col + 5], class_colour(key))  # the outline is solid
        inside = page[26 + 10, col + 10]
        towards = np.sign(np.array(class_colour(key)) - 100)
        assert_array_equal(np.sign(inside - 100), towards)

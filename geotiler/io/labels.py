"""Masks and label rasters, whoever made them, as class ids: 0 background, 255 unknown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from geotiler.errors import InputError, SpecError
from geotiler.io.probabilities import is_probability
from geotiler.io.raster import Scene
from geotiler.io.scene_tags import CONFIDENCE_CONTENT, CONTENT_TAG
from geotiler.specs import MASK_NODATA, Window
from geotiler.spelling import did_you_mean

_HINT = (
    "a mask holds whole numbers: 0 background, 1, 2, ... classes, 255 unknown; probabilities: "
    "vectorize --outlines-from probability"
)


_MANY_CLASSES = 64
"""Kinds of land cover are fewer; of probabilities 8 bits tell 255 apart."""
_MOST_STRIPS, _LOOKED_AT = 4096, 4


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """How stored values of one file are read as class ids; decided once per file."""

    path: str
    full_is_class_1: bool = False
    """255 is the one class, as in masks made to be looked at."""
    zero_is_background: bool = False
    """0 is declared as nodata, yet stands for "not of this class"."""

    @property
    def note(self) -> str | None:
        """What was decided, in words, where it needs saying."""
        notes = []
        if self.full_is_class_1:
            notes.append("holds only 0 and 255: 255 is read as class 1")
        if self.zero_is_background:
            notes.append("declares 0 as nodata: 0 is read as background")
        return f"{self.path} {', '.join(notes)}" if notes else None

    def apply(
        self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.uint8]:
        """Class ids (row, col).

        Raises:
            InputError: a valid value is no class id.
        """
        if self.zero_is_background:
            valid = valid | (values == 0)
        if values.dtype != np.uint8:
            usable = valid & np.isfinite(values)
            odd = usable & ((values < 0) | (values > MASK_NODATA) | (values != np.rint(values)))
            if odd.any():
                raise InputError(
                    f"{self.path} holds the value {values[odd].flat[0]:g}, expected class ids "
                    f"0 to {MASK_NODATA - 1}",
                    hint=_HINT,
                )
            values = np.where(usable, values, MASK_NODATA).astype(np.uint8)
        if self.full_is_class_1:
            values = (values == MASK_NODATA).astype(np.uint8)
        return np.where(valid, values, np.uint8(MASK_NODATA))


def label_rule(scene: Scene) -> LabelRule:
    """How to read an open raster as class ids.

    A raster that does not declare 255 as nodata is searched: if 0 and 255 are all it holds, 255
    is its class. The search ends at the first other value, mostly in the first strip.

    Floating-point rasters pass: what they hold is looked at when it is read, since many tools keep
    whole numbers in them.

    Raises:
        InputError: more than one band, or probabilities.
    """
    if is_probability(scene):
        raise InputError(
            f"{scene.path} holds probabilities, expected a mask",
            hint="geotiler segment writes the mask to -o/--output; vectorize reads both",
        )
    if scene.tags.get(CONTENT_TAG) == CONFIDENCE_CONTENT:
        raise InputError(
            f"{scene.path} holds how sure a map is of its classes, expected the classes",
            hint="take the map itself: geotiler classify writes it to -o/--output",
        )
    if scene.count != 1:
        raise InputError(
            f"{scene.path} has {scene.count} bands, expected the one band of a mask",
            hint="geotiler segment makes a mask of a scene",
        )
    zero = scene.nodata == 0
    full = scene.nodata != MASK_NODATA and _only_full(scene)
    return LabelRule(path=scene.path, full_is_class_1=full, zero_is_background=zero)


def check_few_classes(scene: Scene) -> None:
    """Look at a few strips of a raster of 8 bits that neither names nor colours its classes.

    Raises:
        InputError: so many values that they are hardly class ids.
    """
    if scene.class_names or scene.class_colours or scene.dtypes[0] != "uint8":
        return
    windows = list(islice(scene.strips(), _MOST_STRIPS))
    occurs = np.zeros(MASK_NODATA + 1, bool)
    for window in windows[:: max(1, len(windows) // _LOOKED_AT)]:
        values, valid = scene.read_with_valid(window, [1])
        occurs |= np.bincount(values[0][valid], minlength=len(occurs)) > 0
        if np.count_nonzero(occurs) > _MANY_CLASSES:
            raise InputError(
                f"{scene.path} holds more than {_MANY_CLASSES} different values, and says of none "
                "that it is a class: probabilities perhaps, or a picture",
                hint="--outlines-from probability takes them for probabilities, --outlines-from "
                "mask for class ids, --class takes some of them",
            )


def _only_full(scene: Scene) -> bool:
    """Whether 255 occurs and no other value but 0 and the declared nodata."""
    found = False
    for window in scene.strips():
        values, valid = scene.read_with_valid(window, [1])
        full = values[0] == MASK_NODATA
        if np.any(valid & ~full & (values[0] != 0)):
            return False
        found = found or bool(full.any())
    return found


class Labels:
    """An open raster read as class ids."""

    def __init__(self, scene: Scene, rule: LabelRule) -> None:
        """`scene` stays the caller's to close; `rule` is that scene's."""
        self._scene = scene
        self.rule = rule

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """Class ids (row, col) of a window; 0 background, 255 unknown."""
        values, valid = self._scene.read_with_valid(window, [1])
        return self.rule.apply(values[0], valid)

    def present(self) -> set[int]:
        """Class ids that occur; reads all of it."""
        counts = np.zeros(MASK_NODATA + 1, np.int64)
        for window in self._scene.strips():
            counts += np.bincount(self.read(window).ravel(), minlength=MASK_NODATA + 1)
        return set(np.flatnonzero(counts).tolist()) - {0, MASK_NODATA}


def class_name(names: dict[int, str], class_id: int) -> str:
    """The name of a class, its id where it has none."""
    return names.get(class_id, str(class_id))


def chosen_classes(
    wanted: Iterable[str], names: dict[int, str], present: set[int], path: str
) -> set[int]:
    """Class ids for names or ids that a user gave.

    Args:
        wanted: names or ids.
        names: of the raster's classes.
        present: ids that may be asked for besides.
        path: of the raster, for the message.

    Raises:
        SpecError: one of them is not in the raster.
    """
    by_name = {name.casefold(): class_id for class_id, name in names.items()}
    allowed = set(names) | present
    chosen = set()
    for text in wanted:
        class_id = by_name.get(text.strip().casefold())
        if class_id is None and text.strip().isdecimal() and int(text) in allowed:
            class_id = int(text)
        if class_id is None:
            have = ", ".join(class_name(names, each) for each in sorted(allowed)) or "none"
            raise SpecError(
                f"{path} has no class {text!r}{did_you_mean(text, names.values()) or ';'} "
                f"its classes: {have}",
                hint="--class takes one of these names or ids",
            )
        chosen.add(class_id)
    return chosen

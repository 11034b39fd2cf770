"""How `geotiler vectorize --separate` parts patches of several buildings; each patch by itself."""

from __future__ import annotations

import enum
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from geotiler.core.outlines import Outlines, covered, joined_outlines
from geotiler.core.polygons import object_outlines
from geotiler.core.watershed import parted
from geotiler.io.probability_sampler import ProbabilitySampler
from geotiler.specs import SMALLEST_M2, VectorizeSpec, Window
from geotiler.tasks.vectorize_draw import Sized

MOST_PX = 2**23
"""Patches whose bounds are larger stay whole: parting takes up to 60 bytes for each pixel."""


SEPARATED = "separated"
"""The column of features that says what became of each one's patch."""


class Patch(enum.IntEnum):
    """What became of a patch; the values of a column of features."""

    WHOLE = 0
    PART = 1
    TOO_LARGE = 2


def separated_patches(
    table: Sized, spec: VectorizeSpec, sampler: ProbabilitySampler
) -> tuple[Sized, npt.NDArray[np.uint8]]:
    """The outlines with patches parted where the probability drops between two objects, in the
    order of the patches, and what became (outline) of each.

    Args:
        table: outlines of whole patches.
        spec: what is asked for.
        sampler: of the probabilities.
    """
    outlines = table.outlines
    smallest_px = max(spec.min_area_m2, SMALLEST_M2) / table.pixel_area
    bounds = outlines.bounds_px()
    size = (bounds[:, 2] - bounds[:, 0]) * (bounds[:, 3] - bounds[:, 1])
    outcome = np.where(size > MOST_PX, Patch.TOO_LARGE, Patch.WHOLE).astype(np.uint8)
    may = (outlines.area_px() >= 2 * smallest_px) & (size <= MOST_PX)
    objects: dict[int, Outlines] = {}
    for index in np.flatnonzero(may).tolist():
        left, top, right, bottom = bounds[index].tolist()
        window = Window(row=top, col=left, height=bottom - top, width=right - left)
        class_id = int(outlines.class_id[index])
        probability = sampler.within(window, class_id)
        if probability is None:
            continue
        inside = covered(outlines.between(index, index + 1))
        least = float(smallest_px[index])
        found = parted(probability, inside, threshold=sampler.threshold, smallest_px=least)
        if found is not None:
            objects[index] = object_outlines(found, class_id, (top, left))
    if not objects:
        return table, outcome
    tables, start, count = [], 0, len(outlines)
    repeats = np.ones(count, np.int64)
    for index, parts in objects.items():
        tables += [outlines.between(start, index), parts]
        start, repeats[index] = index + 1, len(parts)
    tables.append(outlines.between(start, count))
    outcome[list(objects)] = Patch.PART
    # Holes that were filled are counted once, with the first part.
    first = np.cumsum(repeats) - repeats
    filled = np.zeros(int(repeats.sum()), np.int64)
    filled[first] = table.filled
    divided = replace(
        table,
        outlines=joined_outlines(tables),
        pixel_size=np.repeat(table.pixel_size, repeats, axis=0),
        pixel_area=np.repeat(table.pixel_area, repeats),
        filled=filled,
    )
    return divided, np.repeat(outcome, repeats)

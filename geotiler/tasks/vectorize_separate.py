"""How `geotiler vectorize --separate` parts patches of several buildings; each patch by itself."""

from __future__ import annotations

import enum
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from geotiler.core.outlines import Outlines, covered, joined_outlines
from geotiler.core.polygons import object_outlines
from geotiler.core.watershed import parted
from geotiler.io.probability_sampler import ProbabilitySampler, window_groups
from geotiler.specs import SMALLEST_M2, VectorizeSpec, Window
from geotiler.tasks.vectorize_draw import Sized

BOUNDS_BYTES, PATCH_BYTES = 32, 120
"""What parting takes at most for each pixel of a patch's bounds, and of the patch itself."""
MOST_BYTES = 600_000_000
"""Patches that would take more stay whole."""

SMALLEST_PX = 10
"""Cores of fewer pixels are noise, however many square metres these are."""

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
    smallest_px = np.maximum(max(spec.min_area_m2, SMALLEST_M2) / table.pixel_area, SMALLEST_PX)
    bounds = outlines.bounds_px()
    within_px = (bounds[:, 2] - bounds[:, 0]) * (bounds[:, 3] - bounds[:, 1])
    patch_px = outlines.area_px()
    is_large = BOUNDS_BYTES * within_px + PATCH_BYTES * patch_px > MOST_BYTES
    may = ~is_large & (patch_px >= 2 * smallest_px)
    outcome = np.full(len(outlines), Patch.WHOLE, np.uint8)
    objects: dict[int, Outlines] = {}
    for class_id in np.unique(outlines.class_id).tolist():
        if not sampler.has_any([class_id]):
            continue
        of_class = outlines.class_id == class_id
        outcome[of_class & is_large] = Patch.TOO_LARGE
        chosen = np.flatnonzero(of_class & may)
        for members in window_groups(bounds[chosen]):
            group = chosen[members]
            corner = bounds[group, :2].min(axis=0)
            width, height = (bounds[group, 2:].max(axis=0) - corner).tolist()
            left, top = corner.tolist()
            window = Window(row=top, col=left, height=height, width=width)
            probability = sampler.within(window, class_id)
            for index in group.tolist():
                x0, y0, x1, y1 = bounds[index].tolist()
                found = parted(
                    probability[y0 - top : y1 - top, x0 - left : x1 - left],
                    covered(outlines.between(index, index + 1)),
                    threshold=sampler.threshold,
                    smallest_px=float(smallest_px[index]),
                )
                if found is not None:
                    objects[index] = object_outlines(found, class_id, (y0, x0))
    if not objects:
        return table, outcome
    tables, start, count = [], 0, len(outlines)
    repeats = np.ones(count, np.int64)
    for index, parts in sorted(objects.items()):
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

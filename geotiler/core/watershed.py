"""One patch of a mask parted into the objects that its probabilities show, as houses that touch.

A network is less sure where two houses meet. Raising the threshold step by step parts a patch into
cores wherever two or more of them are large enough by themselves; each pixel then goes to the core
that it is reached from without crossing a deeper valley than needed: a watershed, computed as the
spanning forest of least cost that the cores are the roots of (Cousty, Bertrand, Najman and
Couprie, "Watershed Cuts: Minimum Spanning Forests and the Drop of Water Principle", PAMI 2009).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

Labels = NDArray[np.int32]
Floats = NDArray[np.float32]

LEVELS = (0.6, 0.7, 0.8, 0.9, 0.95)
"""Probabilities above which cores are looked for. Beyond them one roof falls apart into its
brighter and darker sides."""

_COSTS = 254
"""Costs are whole numbers up to this: what probabilities of 8 bits tell apart."""
_FARTHEST_PX = 1023
"""Greater distances from a core count as this one; they only settle ties."""


def parted(
    probability: Floats, inside: NDArray[np.bool_], *, threshold: float, smallest_px: float
) -> Labels | None:
    """The objects (row, col) of one patch, numbered from 1, 0 outside; None: it is one object.

    Args:
        probability: (row, col) of the patch's class; NaN where it is not known, which is neither a
            valley nor part of a core.
        inside: (row, col): the patch, connected along sides.
        threshold: that the patch is above; levels up to it part nothing.
        smallest_px: pixels of the smallest core that stands for an object.

    Law: each object is connected along sides, and has at least `smallest_px` pixels.
    """
    cores, count = _cores(probability, inside, threshold, smallest_px)
    return _grown(probability, inside, cores) if count > 1 else None


def _cores(
    probability: Floats, inside: NDArray[np.bool_], threshold: float, smallest_px: float
) -> tuple[Labels, int]:
    """What each object grows from (row, col), numbered from 1, and how many there are."""
    cores = inside.astype(np.int32)
    is_known = ~np.isnan(probability)
    all_known = bool(is_known.all())
    count = 1
    for level in LEVELS:
        if level <= threshold:
            continue
        above = (inside & ~(probability <= np.float32(level))).astype(np.uint8)
        found, labels, stats, _ = cv2.connectedComponentsWithStats(
            above, connectivity=4, ltype=cv2.CV_32S
        )
        area = stats[:, cv2.CC_STAT_AREA]
        if not all_known:
            area = np.bincount(labels[is_known], minlength=found)
        is_large = area >= smallest_px
        is_large[0] = False
        if not is_large.any():
            break
        if count == 1 and np.count_nonzero(is_large) == 1:  # most often
            cores = is_large[labels].astype(np.int32)
            continue
        # Each lies within one core so far, and takes its place; those without one stay.
        within = np.zeros(found, np.int32)
        within[labels] = cores
        replaced = np.zeros(count + 1, bool)
        replaced[within[is_large]] = True
        stays = np.cumsum(~replaced, dtype=np.int32) - np.int32(1)  # 0 is never replaced
        number = np.cumsum(is_large, dtype=np.int32) + stays[-1]
        stays[replaced] = 0
        kept = stays[cores]
        cores = np.where(is_large[labels], number[labels], kept)
        count = int(number[-1])
    return cores, count


def _grown(probability: Floats, inside: NDArray[np.bool_], cores: Labels) -> Labels:
    """Objects (row, col): every pixel inside goes to the core across the lowest pass."""
    free = inside & (cores == 0)
    count = int(np.count_nonzero(free))
    if not count:
        return cores
    number = np.zeros(inside.shape, np.int32)
    number[free] = np.arange(count, dtype=np.int32)
    # Where passes are as high, what is nearer to a core is first.
    away = cv2.distanceTransform((cores == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rank = np.minimum(away, _FARTHEST_PX).astype(np.int32)
    del away
    cost = np.nan_to_num((1 - probability) * np.float32(_COSTS), nan=0.0)
    rank += np.rint(cost).astype(np.int32) * (_FARTHEST_PX + 1)
    del cost

    ends, ranks = [], []
    beside = np.zeros(count, np.int32)
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        both = free[first] & free[second]
        ends.append(np.stack([number[first][both], number[second][both]]))
        ranks.append(np.maximum(rank[first], rank[second])[both])
        for here, there in ((first, second), (second, first)):
            hangs = free[here] & (cores[there] > 0)
            beside[number[here][hangs]] = cores[there][hangs]
    # All cores are one root: the pixel that a tree hangs from tells to which of them it belongs.
    hung = np.flatnonzero(beside).astype(np.int32)
    ends.append(np.stack([hung, np.full_like(hung, count)]))
    ranks.append(rank[free][hung])
    joined, order = np.concatenate(ends, axis=1), np.concatenate(ranks)
    del number, rank, ends, ranks  # a forest of many pixels needs the room
    tree, top = _trees(joined, order, count)
    of_tree = np.zeros(int(tree.max()) + 1, np.int32)
    of_tree[tree[top]] = beside[top]
    objects = cores.copy()
    objects[free] = of_tree[tree]
    return objects


def _trees(
    ends: NDArray[np.int32], ranks: NDArray[np.int32], root: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Tree (node) of the least spanning forest under a root, and the node that each hangs from.

    Args:
        ends: (2, edge): nodes from 0; the root, the last of them, only as second end.
        ranks: (edge): those of lower rank are taken first, of the same rank in this order.
        root: number of nodes besides it.
    """
    # No two weights are the same, or the forest would depend on how they are sorted.
    weight = np.empty(len(ranks), np.float64)
    weight[np.argsort(ranks, kind="stable")] = np.arange(1, len(ranks) + 1)
    graph = coo_array((weight, (ends[0], ends[1])), shape=(root + 1, root + 1)).tocsr()
    forest = minimum_spanning_tree(graph, overwrite=True).tocoo()
    hangs = forest.col == root
    rest = ~hangs
    trees = coo_array((forest.data[rest], (forest.row[rest], forest.col[rest])), shape=(root, root))
    return connected_components(trees, directed=False)[1], forest.row[hangs]

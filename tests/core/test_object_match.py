"""Objects are paired as if the scene were seen whole, however it is cut, and then forgotten."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from geotiler.core import object_streams
from geotiler.core.measure import Ground
from geotiler.core.object_match import Matches, ObjectMatcher, Objects, Unfinished
from geotiler.core.object_scores import ObjectTally, tallied
from geotiler.core.object_streams import GivenObjects, TracedObjects, given_objects
from geotiler.specs import Window

PIXELS = Ground((1, 0, 0, 0, 1, 0), None)


def objects(shapes: list[shapely.Geometry], classes: list[int] | None = None) -> Objects:
    ids = np.array(classes or [1] * len(shapes), np.uint8)
    made = np.empty(len(shapes), object)
    made[:] = shapes
    return Objects(shapes=made, class_id=ids, number=np.arange(len(shapes)))


def settled(truth: Objects, predicted: Objects, least: float = 0.5) -> Matches:
    matcher = ObjectMatcher(least)
    matcher.add(truth, predicted)
    return matcher.settle(np.inf, Unfinished.none(), Unfinished.none())


def boxes(draw: st.DrawFn, count: int) -> Objects:
    corners = draw(
        st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(2, 8)] * 2), max_size=count)
    )
    classes = [draw(st.sampled_from([1, 1, 2])) for _ in corners]
    return objects([shapely.box(x, y, x + w, y + h) for x, y, w, h in corners], classes)


@st.composite
def two_sides(draw: st.DrawFn) -> tuple[Objects, Objects]:
    return boxes(draw, 8), boxes(draw, 8)


def plain_pairs(truth: Objects, predicted: Objects, least: float) -> list[tuple[int, int]]:
    """Every pair, best first, one object after the other."""
    found = []
    for i, one in enumerate(truth.shapes):
        for j, other in enumerate(predicted.shapes):
            iou = one.intersection(other).area / one.union(other).area
            if iou >= least and truth.class_id[i] == predicted.class_id[j]:
                found.append((-iou, i, j))
    pairs, taken = [], (set(), set())
    for _, i, j in sorted(found):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            pairs.append((i, j))
    return sorted(pairs)


def pairs_of(matches: Matches) -> list[tuple[int, int]]:
    numbers = zip(matches.truth.number.tolist(), matches.predicted.number.tolist(), strict=True)
    return sorted(numbers)


@settings(max_examples=40)
@given(two_sides(), st.sampled_from([0.25, 0.5]))
def test_pairs_are_those_of_trying_all(sides: tuple[Objects, Objects], least: float) -> None:
    truth, predicted = sides
    matches = settled(truth, predicted, least)
    expected = plain_pairs(truth, predicted, least)
    # Equal overlaps may be paired in either way; how many there are is the same.
    assert len(matches.truth) == len(expected)
    ious = sorted(
        truth.shapes[i].intersection(predicted.shapes[j]).area
        / truth.shapes[i].union(predicted.shapes[j]).area
        for i, j in expected
    )
    assert sorted(matches.iou) == pytest.approx(ious)
    assert len(matches.missed) + len(matches.truth) == len(truth)
    assert len(matches.false) + len(matches.predicted) == len(predicted)


@settings(max_examples=40)
@given(two_sides(), st.integers(1, 6))
def test_rows_in_any_portions_give_the_same_pairs(
    sides: tuple[Objects, Objects], step: int
) -> None:
    truth, predicted = sides
    whole = settled(truth, predicted, 0.3)
    matcher = ObjectMatcher(0.3)
    given = GivenObjects(truth), GivenObjects(predicted)
    parts = []
    for row in [*range(step, 21, step), np.inf]:
        matcher.add(*(side.until(row) for side in given))
        parts.append(matcher.settle(row, Unfinished.none(), Unfinished.none()))
    assert sum(len(part.truth) for part in parts) == len(whole.truth)
    assert sorted(np.concatenate([part.iou for part in parts])) == pytest.approx(sorted(whole.iou))
    missed = np.concatenate([part.missed.class_id for part in parts])
    assert sorted(missed) == sorted(whole.missed.class_id)


MASKS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 20), st.just(2)),
    elements=st.sampled_from([0, 0, 1, 1, 2]),
)  # fmt: skip


def streamed(pair: np.ndarray, height: int) -> tuple[dict[int, ObjectTally], int]:
    """Tallies of two class rasters, and how many objects were held at most between strips."""
    sides = [TracedObjects(pair.shape[1], PIXELS, 0.0) for _ in range(2)]
    matcher, total, held = ObjectMatcher(), {}, 0

    def add(matches: Matches) -> None:
        for class_id, tally in tallied(matches, PIXELS).items():
            total[class_id] = total.get(class_id, ObjectTally()) + tally

    for row in range(0, len(pair), height):
        strip = pair[row : row + height]
        matcher.add(*(side.add_strip(strip[..., i]) for i, side in enumerate(sides)))
        add(matcher.settle(row + len(strip), *(side.unfinished for side in sides)))
        held = max(held, len(matcher._truth.objects) + len(matcher._predicted.objects))
    matcher.add(*(side.finish() for side in sides))
    add(matcher.settle(np.inf, Unfinished.none(), Unfinished.none()))
    return total, held


@settings(max_examples=30)
@given(MASKS, st.integers(1, 9))
def test_traced_objects_agree_with_labelled_pixels(pair: np.ndarray, height: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(object_streams, "SIMPLIFY_PX", 0.0)
        patched.setattr(object_streams, "SMALL_HOLE_M2", 0.0)
        total, _ = streamed(pair, height)
    for class_id in (1, 2):
        labels = [ndimage.label(pair[..., side] == class_id) for side in range(2)]
        shared = np.zeros((labels[0][1] + 1, labels[1][1] + 1))
        np.add.at(shared, (labels[0][0], labels[1][0]), 1)
        union = shared.sum(1)[:, None] + shared.sum(0)[None] - shared
        iou = (shared / np.maximum(union, 1))[1:, 1:]
        found = total.get(class_id, ObjectTally())
        assert (found.truth, found.predicted) == (labels[0][1], labels[1][1])
        # Over one half there is one partner at most; at exactly one half there may be two.
        strict = iou > 0.5
        assert strict.sum() <= found.matched <= (iou >= 0.5).sum()
        if not (iou == 0.5).any():
            assert found.iou_sum == pytest.approx(iou[strict].sum())


@settings(max_examples=30)
@given(MASKS, st.integers(1, 9))
def test_strips_of_any_height_give_the_same_sums(pair: np.ndarray, height: int) -> None:
    whole, parts = streamed(pair, len(pair))[0], streamed(pair, height)[0]
    assert whole.keys() == parts.keys()
    for class_id, tally in whole.items():
        assert vars(parts[class_id]) == pytest.approx(vars(tally))


def test_what_is_held_does_not_grow_with_the_scene() -> None:
    """A road runs through the whole scene beside its houses; it must not hold them back."""

    def scene(rows: int) -> np.ndarray:
        pair = np.zeros((rows, 64, 2), np.uint8)
        for row in range(0, rows - 12, 16):
            pair[row : row + 9, 8:20] = 1
            pair[row : row + 9, 40:52] = 1
        pair[:, 24:36] = 1
        pair[::16, 36:40] = 1  # and touches some of them, as every road does
        return pair

    held = [streamed(scene(rows), 32)[1] for rows in (320, 1280)]
    assert held[1] <= held[0] + 2


def test_an_object_of_another_class_is_no_partner() -> None:
    square = shapely.box(0, 0, 9, 9)
    matches = settled(objects([square], [1]), objects([square], [2]))
    assert (len(matches.truth), len(matches.missed), len(matches.false)) == (0, 1, 1)


def test_polygons_are_cut_at_the_grid_mended_and_left_out() -> None:
    grid = Window(row=0, col=0, height=100, width=100)
    shapes = [
        shapely.box(10, 10, 20, 20),
        shapely.box(-4, 30, 6, 40),  # most of it is seen
        shapely.box(-6, 50, 4, 60),  # most of it is not
        shapely.box(60, 60, 62, 62),  # too small
        shapely.Polygon([(70, 70), (90, 90), (90, 70), (70, 90)]),  # crosses itself
        shapely.box(30, 30, 40, 40),  # of no class
        shapely.Polygon([(-1, 80), (10, 80), (10, 90), (0, 90), (0, 95), (-1, 95)]),
    ]
    ids = np.array([1, 2, 1, 1, 1, 0, 1], np.uint8)
    found, mended = given_objects(objects(shapes).shapes, ids, grid, PIXELS, 10.0)
    assert found.number.tolist() == [0, 1, 4, 6]
    assert found.class_id.tolist() == [1, 2, 1, 1]
    assert mended == 1
    assert shapely.is_valid(found.shapes).all()
    assert shapely.area(found.shapes).tolist() == pytest.approx([100, 60, 200, 100])


def test_nothing_at_all() -> None:
    nothing = Objects.none()
    matches = settled(nothing, nothing)
    assert tallied(matches, PIXELS) == {}
    assert ObjectTally().f1 is None
    grid = Window(row=0, col=0, height=9, width=9)
    found, mended = given_objects(nothing.shapes, nothing.class_id, grid, PIXELS, 0.0)
    assert (len(found), mended) == (0, 0)

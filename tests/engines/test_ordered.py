"""Threads change when work is done, not what comes out nor in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotiler.engines.ordered import ordered_map


@given(
    items=st.lists(st.integers(), max_size=20),
    threads=st.integers(1, 4),
    ahead=st.integers(1, 6),
)
def test_it_is_map(items: list[int], threads: int, ahead: int) -> None:
    found = list(ordered_map(lambda value: value * 2, items, threads=threads, ahead=ahead))
    assert found == [value * 2 for value in items]


def test_order_holds_when_the_first_takes_longest() -> None:
    def slow_at_first(value: int) -> int:
        time.sleep(0.03 * (value == 0))
        return value

    assert list(ordered_map(slow_at_first, range(6), threads=3, ahead=4)) == list(range(6))


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_than_asked_for_is_ahead(ahead: int) -> None:
    begun: list[int] = []
    results = ordered_map(begun.append, range(50), threads=2, ahead=ahead)
    for taken, _ in enumerate(results, start=1):
        assert len(begun) <= taken - 1 + ahead


def test_the_source_is_not_read_further_than_needed() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for value in range(50):
            read.append(value)
            yield value

    results = ordered_map(lambda value: value, source(), threads=1, ahead=2)
    next(results)
    assert len(read) <= 3
    results.close()  # type: ignore[attr-defined]


def test_an_error_comes_at_its_place_and_stops_the_rest() -> None:
    begun: list[int] = []

    def fail_at_three(value: int) -> int:
        begun.append(value)
        if value == 3:
            raise ValueError("three")
        return value

    found: list[int] = []
    results = ordered_map(fail_at_three, range(100), threads=1, ahead=2)
    with pytest.raises(ValueError, match="three"):
        found.extend(results)
    assert found == [0, 1, 2]
    assert max(begun) <= 5


def test_leaving_early_leaves_no_thread_behind() -> None:
    results = ordered_map(lambda value: value, range(100), threads=2, ahead=4)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("geotiler")]

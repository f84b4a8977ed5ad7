"""Threads: results in the order of the items, bounded look-ahead, exceptions at their place."""

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurize.machine.parallel import THREADS, in_order


@given(st.lists(st.integers(), max_size=50), st.integers(0, 60))
def test_results_are_those_of_map_whatever_the_look_ahead(numbers: list[int], ahead: int) -> None:
    assert list(in_order(str, numbers, ahead)) == list(map(str, numbers))


def test_a_slow_item_does_not_lose_its_place() -> None:
    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(timeout=600)
        elif number == THREADS + 2:
            first_may_end.set()
        return number

    if THREADS == 1:
        first_may_end.set()
    assert list(in_order(work, range(THREADS + 20), ahead=THREADS + 10)) == list(range(THREADS + 20))


def test_no_more_items_are_taken_than_may_wait() -> None:
    taken = itertools.count()
    results = in_order(lambda item: item, taken, ahead=5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert next(taken) <= 3 + 5
    results.close()


def test_an_exception_comes_after_the_results_before_it() -> None:
    def work(number: int) -> int:
        return 10 // (3 - number)

    results = in_order(work, range(100), ahead=50)
    assert [next(results) for _ in range(3)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_who_leaves_early_does_not_wait_for_what_has_not_begun() -> None:
    begun = []
    may_end = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            assert may_end.wait(timeout=600)
        return number

    results = in_order(work, range(1000), ahead=500)
    assert next(results) == 0
    threading.Timer(0.2, may_end.set).start()
    results.close()
    assert len(begun) <= 1 + 2 * THREADS

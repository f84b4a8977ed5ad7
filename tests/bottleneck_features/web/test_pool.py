"""The pool of a service: what waits is taken together, in order, once; whoever has gone is not answered."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from bottleneck_features.web.pool import Full, Pool


class Work:
    """A function of several items that waits until it may go on, and notes what it was given."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.has_begun = threading.Event()
        self.taken: list[list[Any]] = []

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.taken.append([*items])
        self.has_begun.set()
        assert self.may_go_on.wait(60)
        return [10 * item for item in items]


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(1, 8)
    yield pool
    pool.close()


def run(pool: Pool, story: Callable[[Pool, Work], Awaitable[None]]) -> Work:
    """`story` once a first job of the only thread has begun; it lets it go on."""
    work = Work()

    async def told() -> None:
        first = pool.put(work, 4, [0])
        assert await asyncio.to_thread(work.has_begun.wait, 60)
        await story(pool, work)
        work.may_go_on.set()
        assert await first[0] == 0

    asyncio.run(told())
    return work


def test_what_waits_is_taken_together_in_order(pool: Pool) -> None:
    async def story(pool: Pool, work: Work) -> None:
        waiting = pool.put(work, 4, [1, 2, 3, 4, 5, 6, 7])
        assert pool.waiting == 7
        work.may_go_on.set()
        assert await asyncio.gather(*waiting) == [10, 20, 30, 40, 50, 60, 70]

    assert run(pool, story).taken == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_much_less_than_a_batch_goes_one_by_one(pool: Pool) -> None:
    async def story(pool: Pool, work: Work) -> None:
        waiting = pool.put(work, 8, [1, 2, 3])
        work.may_go_on.set()
        assert await asyncio.gather(*waiting) == [10, 20, 30]

    assert run(pool, story).taken == [[0], [1], [2], [3]]


def test_other_functions_keep_their_place(pool: Pool) -> None:
    async def story(pool: Pool, work: Work) -> None:
        order: list[str] = []
        other = pool.put(lambda items: order.append(f"other {items}") or [None], 1, ["a"])
        waiting = pool.put(work, 4, [1, 2])
        work.may_go_on.set()
        await asyncio.gather(*other, *waiting)
        assert order == ["other ['a']"]

    assert run(pool, story).taken == [[0], [1, 2]]


def test_a_full_line_takes_no_more(pool: Pool) -> None:
    async def story(pool: Pool, work: Work) -> None:
        waiting = pool.put(work, 1, range(6))
        with pytest.raises(Full):
            pool.put(work, 1, [6, 7, 8])
        assert pool.waiting == 6, "all of a request or none"
        for future in waiting[:4]:
            future.cancel()
        await asyncio.sleep(0)
        waiting += pool.put(work, 1, [6, 7, 8])
        work.may_go_on.set()
        await asyncio.gather(*waiting[4:])

    assert run(pool, story).taken == [[0], [4], [5], [6], [7], [8]], "whoever has gone is not answered"


def test_an_error_is_raised_where_it_is_waited_for(pool: Pool) -> None:
    def wrong(items: Sequence[Any]) -> list[Any]:
        raise ValueError(items[0])

    async def story(pool: Pool, work: Work) -> None:
        waiting = pool.put(wrong, 4, ["a", "b"])
        work.may_go_on.set()
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, ValueError)

    run(pool, story)


def test_what_waits_at_the_end_is_answered() -> None:
    pool = Pool(2, 64)

    async def story() -> None:
        waiting = pool.put(lambda items: [*items], 4, range(32))
        await asyncio.to_thread(pool.close)
        assert await asyncio.gather(*waiting) == [*range(32)]
        with pytest.raises(Full):
            pool.put(lambda items: [*items], 4, [1])

    asyncio.run(story())


def test_threads_outlive_a_loop_that_has_ended(pool: Pool) -> None:
    work = Work()

    async def leaves() -> None:
        pool.put(work, 1, [1])
        assert await asyncio.to_thread(work.has_begun.wait, 60)

    asyncio.run(leaves())
    work.may_go_on.set()

    async def comes() -> None:
        assert await pool.put(work, 1, [2])[0] == 20

    asyncio.run(comes())

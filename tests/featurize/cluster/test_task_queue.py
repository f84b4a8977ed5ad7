"""How pictures are cut into tasks, and what becomes of tasks that are lost."""

import numpy as np

from featurize.cluster.task_queue import FIRST, LEAST, MOST, TRIES, TaskQueue
from featurize.cluster.tasks import Task
from featurize.extract.outcome import Digests


def queue_of(count: int, workers: int = 2) -> TaskQueue:
    return TaskQueue([b"%d" % n for n in range(count)], Digests(count), np.arange(count), workers)


def positions(tasks: list[Task]) -> list[int]:
    return sorted(int(position) for task in tasks for position in task.positions)


def test_every_picture_is_in_one_task_and_the_last_ones_are_small() -> None:
    tasks = [*queue_of(10_000).tasks()]
    assert positions(tasks) == [*range(10_000)]
    sizes = [len(task.positions) for task in tasks]
    assert sizes[0] == FIRST == max(sizes) and sizes[-2] == LEAST
    assert len({task.number for task in tasks}) == len(tasks)


def test_a_task_is_half_a_minute_of_work() -> None:
    queue = queue_of(100_000)
    handed = queue.tasks()
    for _ in range(8):  # 50 pictures a second
        task = next(handed)
        queue.answered(task.number, len(task.positions) / 50)
    assert len(next(handed).positions) == 1500
    task = next(handed)
    queue.answered(task.number, 1e-6)
    assert len(next(handed).positions) == MOST


def test_a_lost_task_comes_again_after_the_others_then_alone() -> None:
    queue = queue_of(3 * FIRST)
    first = next(queue.tasks())
    assert queue.lost(queue.answered(first.number))
    *others, last = [*queue.tasks()]
    assert positions([last]) == positions([first]) and last.lost == 1 and len(others) > 1
    for task in others:
        queue.answered(task.number)
    assert queue.lost(queue.answered(last.number)) and queue
    (alone,) = queue.tasks()
    assert alone.lost == TRIES - 1 and positions([alone]) == positions([first])


def test_one_picture_that_is_lost_each_time_fails_and_no_other() -> None:
    queue, bad, failed, done = queue_of(500), 123, list[int](), list[int]()
    deaths = 0
    while queue:
        for task in queue.tasks():
            task = queue.answered(task.number)  # noqa: PLW2901
            if bad in task.positions:
                deaths += 1
                if not queue.lost(task):
                    failed += task.positions.tolist()
            else:
                done += task.positions.tolist()
    assert failed == [bad] and sorted(done) == [n for n in range(500) if n != bad]
    assert deaths <= 6


def test_what_was_on_its_way_is_known_when_all_workers_are_lost() -> None:
    queue = queue_of(3 * FIRST)
    handed = queue.tasks()
    tasks = [next(handed) for _ in range(3)]
    queue.answered(tasks[1].number)
    assert positions(queue.lost_all()) == positions([tasks[0], tasks[2]]) and queue.lost_all() == []


def test_a_pause_keeps_the_others_for_later() -> None:
    queue = queue_of(500)
    handed = queue.tasks()
    first = next(handed)
    queue.pause()
    assert [*handed] == [] and queue
    assert positions([first, *queue.tasks()]) == [*range(500)]

"""Pictures cut into tasks of about half a minute; what is lost comes again, if often then in pieces."""

import itertools
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from cache.digest_table import Stamp, take_stamp
from cache.files.path_kinds import is_url
from featurize.cluster.tasks import Task
from featurize.extract.outcome import Digests
from featurize.pictures.sources import Source

SECONDS = 30.0  # of work in a task: little to lose, and much more than it takes to hand it out
FIRST, LEAST, MOST = 64, 16, 8192  # pictures of a task: before the rate is known, and at all
TRIES = 3  # of a task that costs its worker the life, before it is cut into smaller ones
PIECES = 8


class TaskQueue:
    """The tasks of pictures at `positions` (n,) of `sources` for so many `workers`. Any thread may take the next one.

    Tasks are smaller towards the end, so that all workers end together. One that was lost comes again after the others;
    the second time alone, because what was lost with it need not have been its fault; the third time in `PIECES`. A
    single picture that is lost alone has failed.
    """

    def __init__(self, sources: Sequence[Source], digests: Digests, positions: np.ndarray, workers: int):
        self.workers = workers
        self.stamps: dict[int, Stamp] = {}  # of files whose digest is not known, from before they were handed out
        self._sources, self._digests = sources, digests
        self._left = positions
        self._again: deque[Task] = deque()
        self._suspects: deque[Task] = deque()
        self._taken: dict[int, Task] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._is_paused = False
        self._rate = 0.0  # pictures a second of one worker

    def __bool__(self) -> bool:
        return bool(len(self._left) or self._again or self._suspects)

    def tasks(self) -> Iterator[Task]:
        """Tasks to be handed out at once: all but the suspects, or where no others are left one of them."""
        if not len(self._left) and not self._again:
            with self._lock:
                suspect = self._handed(self._suspects.popleft())
            yield suspect
            return
        self._is_paused = False
        while not self._is_paused and (task := self._next()):
            yield task

    def pause(self) -> None:
        """Hand out no more at once; who asks for `tasks` again gets the others."""
        self._is_paused = True

    def _next(self) -> Task | None:
        with self._lock:
            if len(self._left):
                count = self._size()
                positions, self._left = self._left[:count], self._left[count:]
                return self._handed(self._cut(positions))
            return self._handed(self._again.popleft()) if self._again else None

    def _size(self) -> int:
        wanted = round(self._rate * SECONDS) if self._rate else FIRST
        at_the_end = -(-len(self._left) // (2 * self.workers))
        return max(LEAST, min(wanted, at_the_end, MOST))

    def _cut(self, positions: np.ndarray) -> Task:
        places = positions.tolist()
        digests = [self._digests[position] for position in places]
        for position, digest in zip(places, digests, strict=True):
            source = self._sources[position]
            if digest is None and isinstance(source, str) and (stamp := take_stamp(source)):
                self.stamps[position] = stamp
        return Task(0, positions, [_anywhere(self._sources[position]) for position in places], digests)

    def _handed(self, task: Task) -> Task:
        task = replace(task, number=next(self._numbers))
        self._taken[task.number] = task
        return task

    def answered(self, number: int, seconds: float = 0.0) -> Task:
        """The task of this number, which has come back, after so many `seconds` of work where that is known."""
        with self._lock:
            task = self._taken.pop(number)
            if seconds:
                rate = len(task.positions) / seconds
                self._rate = (self._rate + rate) / 2 if self._rate else rate
            return task

    def again(self, task: Task) -> None:
        """Hand a task out once more, through no fault of its own."""
        with self._lock:
            self._again.append(task)

    def lost(self, task: Task, times: int = 1) -> bool:
        """Note that a task has cost its worker the life so many `times`. False where its only picture has failed."""
        with self._lock:
            if task.lost < TRIES - 1:
                task = replace(task, lost=min(task.lost + times, TRIES - 1))
                (self._suspects if task.lost == TRIES - 1 else self._again).append(task)
                return True
            count = len(task.positions)
            for some in np.array_split(np.arange(count), min(PIECES, count)) if count > 1 else []:
                sources, digests = [task.sources[n] for n in some], [task.digests[n] for n in some]
                self._suspects.append(Task(0, task.positions[some], sources, digests, task.lost))
            return count > 1

    def lost_all(self) -> list[Task]:
        """All tasks that were handed out, of which nobody knows what has become."""
        with self._lock:
            taken = [*self._taken.values()]
            self._taken.clear()
            return taken


def _anywhere(source: Source) -> Source:
    """A source as workers in other folders can name it."""
    return source if isinstance(source, bytes) or is_url(source) else os.path.abspath(source)

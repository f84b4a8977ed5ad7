"""What processes do beside a test: read, merge, hold a lock. As a program: WHAT FOLDER [ROWS NUMBER]."""

import errno
import fcntl
import os
import select
import sys
import time

import numpy as np
from helpers.storage.cached_rows import PROVENANCE, SPEC, keys, rows

from cache.files.lock import holding
from cache.store import FeatureStore
from cache.upkeep.inventory import verify

BATCH = 5  # rows of a commit


def read(folder: str, total: int, number: int) -> None:
    """Look and read until stdin ends, then once more; print how often. Half of them open the store anew each time."""
    store, seen, count, last = FeatureStore(folder, SPEC), np.zeros(total, bool), 0, False
    while not last:
        last = bool(select.select([sys.stdin], [], [], 0)[0])
        if number % 2:
            store = FeatureStore(folder, SPEC)
        there = store.contains(keys(total))
        assert there[seen].all(), "rows have vanished"
        seen |= there
        if seen.any():
            assert (store.read(keys(total)[seen]) == rows(total)[seen]).all(), "wrong numbers"
        if number == 0:
            assert verify(folder).damaged == []
        count += 1
    assert seen.all()
    print(count)


def commit(folder: str, total: int, number: int) -> None:
    """Store the rows one at a time, in an order of one's own, without locks: commits merge what others commit."""
    without_locks()
    store = FeatureStore(folder, SPEC)
    for row in np.random.default_rng(number).permutation(total):
        store.commit(rows(total)[[row]], keys(total)[[row]], PROVENANCE)
        assert (store.read(keys(total)[[row]]) == rows(total)[[row]]).all()


def merge(folder: str, _: int, number: int) -> None:
    """Compact to a size of one's own, without locks."""
    without_locks()
    FeatureStore(folder, SPEC).compact((4, 11, 100)[number])


def without_locks() -> None:
    """As on a file system that has none."""

    def flock(*_: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = flock


def hold(folder: str) -> None:
    """Hold the locks of a spec's folder until killed."""
    with holding(os.path.join(folder, ".run.lock")), holding(os.path.join(folder, ".commit.lock")):
        print("held", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    _, what, folder, *numbers = sys.argv
    if what == "hold":
        hold(folder)
    else:
        print("ready", flush=True)
        sys.stdin.readline()
        {"read": read, "merge": merge, "commit": commit}[what](folder, *map(int, numbers))

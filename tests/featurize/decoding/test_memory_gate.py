"""Memory that pictures share: never more than there is, and nobody waits for ever."""

import random
import threading
import time

import pytest

from featurize.decoding import memory_gate
from featurize.decoding.memory_gate import LARGE_FILE, MOST, PART, MemoryGate, within_limit
from featurize.pictures import sources
from featurize.pictures.find_images import ImageError


def test_more_than_there_is_for_one_picture_is_refused_with_both_numbers() -> None:
    within_limit(MOST)
    with pytest.raises(ImageError, match="takes 1850 MB of memory to decode, more than 850 MB"):
        within_limit(MOST + 10**9)
    memory = MemoryGate(2)
    with memory.picture() as shares, pytest.raises(ImageError, match="takes 1850 MB"):
        shares.picture(MOST + 10**9)
    with memory.picture() as shares:
        shares.picture(MOST)  # nothing was lost by the refusal


def test_many_threads_have_a_part_each() -> None:
    assert MemoryGate(2)._left == MOST
    assert MemoryGate(100)._left == 100 * PART


@pytest.mark.parametrize("seed", range(3))
def test_threads_never_take_more_than_there_is_and_all_come_to_an_end(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(memory_gate, "LARGE_FILE", 100)
    for module in (memory_gate, sources):
        monkeypatch.setattr(module, "MOST", 1000)
    monkeypatch.setattr(memory_gate, "PART", 1)
    memory = MemoryGate(6)
    lock = threading.Lock()
    taken = most = done = 0

    def change(size: int) -> None:
        nonlocal taken, most
        with lock:
            taken += size
            most = max(most, taken)

    def decode_many(number: int) -> None:
        nonlocal done
        chance = random.Random(100 * seed + number)
        for _ in range(200):
            size = chance.choice([1, 50, 101, 300, 500])
            pixels = chance.randrange(size, 1100)
            with memory.picture() as shares:
                try:
                    shares.file(size)
                    held = size if size > 100 else 0
                    change(held)
                    shares.picture(pixels)
                    change(pixels - held)
                    held = pixels
                except ImageError:
                    assert pixels > 1000
                finally:
                    change(-held)
        with lock:
            done += 1

    threads = [threading.Thread(target=decode_many, args=(number,), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert done == 6
    assert 500 < most <= 1000
    assert memory._left == 1000


def test_two_that_come_to_need_more_do_not_wait_for_each_other() -> None:
    memory = MemoryGate(2)
    together = threading.Barrier(2)

    def decode_twice() -> None:
        with memory.picture() as shares:
            shares.picture(MOST // 2)
            together.wait()
            shares.picture(MOST - 1)

    threads = [threading.Thread(target=decode_twice, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert memory._left == MOST


def test_a_large_file_waits_before_it_is_read() -> None:
    memory = MemoryGate(1)
    read = threading.Event()

    def large() -> None:
        with memory.picture() as shares:
            shares.file(LARGE_FILE + 1)
            read.set()

    with memory.picture() as shares:
        shares.picture(MOST - LARGE_FILE)
        thread = threading.Thread(target=large)
        thread.start()
        time.sleep(0.1)
        assert not read.is_set()
    thread.join(600)
    assert read.is_set()

"""Random sequences of everything that can happen to two caches and the folder by which they share rows."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.storage.cached_rows import SPEC
from helpers.storage.kill_points import killed_at
from helpers.storage.remote_rows import COUNT, computed, key, numbers_in, numbers_there
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import cache.remote.pull
import cache.remote.push
from cache.remote.other_side import Entry, MountedFolder, StorageError
from cache.remote.pull import pull
from cache.remote.push import push
from cache.remote.selection import Transfer
from cache.store import FeatureStore
from cache.upkeep.inventory import collect_garbage

numbers = st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=8, unique=True)
which = st.integers(0, 1)


class LateFolder(MountedFolder):
    """A folder whose listings are those of an earlier moment."""

    listings: dict[str, list[Entry]]

    def entries(self, folder: str) -> list[Entry]:
        return self.listings.get(folder, super().entries(folder))


class Transfers(RuleBasedStateMachine):
    """`here`: pictures with a row in each cache. `there`: pictures with a row on the other side."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.caches = [os.path.join(self.folder, name) for name in "ab"]
        self.address = os.path.join(self.folder, "nas")
        self.here: list[set[int]] = [set(), set()]
        self.there: set[int] = set()
        self.doubles = False  # may be there
        self.listing: list[Entry] = []

    def teardown(self) -> None:
        """Both sides are equal in the end, and have every row that any has."""
        if self.here[0] | self.here[1] | self.there:
            for cache_dir in self.caches:
                push(cache_dir, self.address, check=True, merge=True)
            for cache_dir in self.caches:
                pull(cache_dir, self.address)
            everything = sorted(self.here[0] | self.here[1] | self.there)
            assert [numbers_in(cache_dir) for cache_dir in self.caches] == [everything, everything]
            assert sorted(set(numbers_there(self.address))) == everything
        shutil.rmtree(self.folder)

    def push(self, cache_dir: str, merge: bool = False) -> Transfer:
        return push(cache_dir, self.address, merge=merge)

    def pull(self, cache_dir: str) -> Transfer:
        return pull(cache_dir, self.address) if self.there else Transfer()

    @rule(which=which, batch=numbers)
    def compute(self, which: int, batch: list[int]) -> None:
        computed(self.caches[which], batch)
        self.here[which] |= set(batch)

    @rule(which=which, shard_rows=st.integers(1, 30))
    def compact(self, which: int, shard_rows: int) -> None:
        FeatureStore(self.caches[which], SPEC).compact(shard_rows)

    @rule(which=which, keep=st.sets(st.integers(0, COUNT - 1)))
    def drop(self, which: int, keep: set[int]) -> None:
        collect_garbage(self.caches[which], 2048, {key(number).tobytes() for number in keep})
        self.here[which] &= keep

    @rule(which=which, merge=st.booleans())
    def push_all(self, which: int, merge: bool) -> None:
        new = self.here[which] - self.there
        done = self.push(self.caches[which], merge)
        assert done.rows == len(new)
        self.there |= new

    @rule(which=which)
    def pull_all(self, which: int) -> None:
        new = self.there - self.here[which]
        assert self.pull(self.caches[which]).rows == len(new)
        self.here[which] |= new

    @rule(which=which, most=st.integers(0, 4000))
    def pull_some(self, which: int, most: int) -> None:
        if self.there:
            done = pull(self.caches[which], self.address, most=most)
            assert done.bytes <= most
            assert done.rows + done.left == len(self.there - self.here[which])
            self.here[which] |= set(numbers_in(self.caches[which]))

    @rule(which=which, merge=st.booleans(), point=st.integers(0, 20), torn=st.booleans())
    def push_and_be_killed(self, which: int, merge: bool, point: int, torn: bool) -> None:
        killed_at(point, torn, lambda: self.push(self.caches[which], merge))
        there = set(numbers_there(self.address))
        assert self.there <= there <= self.there | self.here[which]
        self.there = there
        self.doubles |= merge

    @rule(which=which, point=st.integers(0, 20), torn=st.booleans())
    def pull_and_be_killed(self, which: int, point: int, torn: bool) -> None:
        killed_at(point, torn, lambda: self.pull(self.caches[which]))
        here = set(numbers_in(self.caches[which]))
        assert self.here[which] <= here <= self.here[which] | self.there
        self.here[which] = here

    @rule(merges=st.tuples(st.booleans(), st.booleans()), point=st.integers(0, 12))
    def both_push_at_once(self, merges: tuple[bool, bool], point: int) -> None:
        with interrupted(point, lambda: self.push(self.caches[1], merges[1])):
            self.push(self.caches[0], merges[0])
        self.push(self.caches[1], merges[1])
        self.there |= self.here[0] | self.here[1]
        self.doubles = True

    @rule(point=st.integers(0, 12))
    def one_pulls_while_the_other_pushes_and_merges(self, point: int) -> None:
        with interrupted(point, lambda: self.push(self.caches[1], merge=True)):
            self.pull(self.caches[0])
        here = set(numbers_in(self.caches[0]))
        assert self.here[0] | self.there <= here <= self.here[0] | self.there | self.here[1]
        self.here[0] = here
        self.there |= set(numbers_there(self.address))

    @rule()
    def remember_the_listing(self) -> None:
        self.listing = MountedFolder(self.address).entries(SPEC.folder)

    @rule(which=which, merge=st.booleans())
    def push_by_a_late_listing(self, which: int, merge: bool) -> None:
        with late_listing(self.address, self.listing):
            self.push(self.caches[which], merge)
        self.there |= self.here[which]
        self.doubles = True

    @rule(which=which)
    def pull_by_a_late_listing(self, which: int) -> None:
        with late_listing(self.address, self.listing):
            try:
                self.pull(self.caches[which])
            except StorageError as error:
                assert "that are not there" in str(error)
        self.here[which] |= set(numbers_in(self.caches[which]))

    @precondition(lambda self: self.there)
    @rule(data=st.data(), cut=st.booleans())
    def damage(self, data: st.DataObject, cut: bool) -> None:
        """Nobody takes anything of a damaged object; whoever has its rows replaces it."""
        path = data.draw(st.sampled_from(sorted(Path(self.address, SPEC.folder).glob("*.h5"))))
        image = path.read_bytes()
        position = data.draw(st.integers(0, len(image) - 1))
        path.write_bytes(
            image[:position] if cut else image[:position] + bytes([image[position] ^ 64]) + image[position + 1 :]
        )
        for which, cache_dir in enumerate(self.caches):
            done = pull(cache_dir, self.address)
            here = set(numbers_in(cache_dir))
            assert self.here[which] <= here <= self.here[which] | self.there
            assert done.damaged or here == self.here[which] | self.there
            self.here[which] = here
        for cache_dir in self.caches:
            push(cache_dir, self.address, check=True)
        there = set(numbers_there(self.address))
        assert self.here[0] | self.here[1] <= there <= self.there | self.here[0] | self.here[1]
        self.there = there

    @invariant()
    def no_row_is_lost_or_wrong(self) -> None:
        assert [set(numbers_in(cache_dir)) for cache_dir in self.caches] == self.here
        there = numbers_there(self.address)
        assert set(there) == self.there
        assert self.doubles or len(there) == len(self.there)


@contextmanager
def interrupted(point: int, work: Callable[[], object]) -> Iterator[None]:
    """Before call number `point` by which files change in the body, all of `work` is done."""
    calls = {name: getattr(os, name) for name in ("replace", "unlink")}
    left = [point]

    def instead(name: str) -> Callable[..., None]:
        def call(*arguments: str) -> None:
            left[0] -= 1
            if left[0] == -1:
                work()
            calls[name](*arguments)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in calls:
            patch.setattr(os, name, instead(name))
        yield


@contextmanager
def late_listing(address: str, listing: list[Entry]) -> Iterator[None]:
    """In the body, push and pull are told that this is in the folder of the spec."""
    objects = LateFolder(address)
    objects.listings = {SPEC.folder: listing}
    with pytest.MonkeyPatch.context() as patch:
        for module in (cache.remote.push, cache.remote.pull):
            patch.setattr(module, "open_objects", lambda _: objects)
        yield


TestTransfers = Transfers.TestCase
TestTransfers.settings = settings(max_examples=20, stateful_step_count=25)

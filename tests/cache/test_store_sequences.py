"""Random sequences of everything that can happen to a store, against a dictionary."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.storage.cached_rows import PROVENANCE, SPEC, keys
from helpers.storage.kill_points import killed_at
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cache.shard_file import DamagedShardError, open_shard
from cache.store import FeatureStore
from cache.upkeep.inventory import collect_garbage, listing, verify
from cache.upkeep.spec_folders import leftovers

COUNT = 24
KEYS = keys(COUNT)
numbers = st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=10)


class Sequences(RuleBasedStateMachine):
    """`model`: number of key -> bytes of its row. Two stores, as two processes would have them."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.stores = [FeatureStore(self.folder, SPEC), FeatureStore(self.folder, SPEC)]
        self.model: dict[int, bytes] = {}
        self.made = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def shards(self) -> list[str]:
        return sorted(map(str, Path(self.folder, SPEC.folder).glob("*.h5")))

    def held_elsewhere(self, path: str) -> set[int]:
        others = [open_shard(other).digests for other in self.shards() if other != path]
        present = {key.tobytes() for digests in others for key in digests}
        return {number for number in range(COUNT) if KEYS[number].tobytes() in present}

    @rule(which=st.integers(0, 1), batch=numbers)
    def commit(self, which: int, batch: list[int]) -> None:
        self.made += 1
        features = np.random.default_rng(self.made).standard_normal((len(batch), 5), np.float32)
        before = len(self.model)
        for number, row in zip(batch, features, strict=True):
            self.model.setdefault(number, row.tobytes())
        assert self.stores[which].commit(features, KEYS[batch], PROVENANCE) == len(self.model) - before

    @rule(which=st.integers(0, 1), wanted=numbers)
    def read(self, which: int, wanted: list[int]) -> None:
        try:
            found = self.stores[which].read(KEYS[wanted])
        except KeyError:
            assert not set(wanted) <= set(self.model)
        else:
            assert [row.tobytes() for row in found] == [self.model[number] for number in wanted]

    @rule(which=st.integers(0, 1), shard_rows=st.integers(1, 30))
    def compact(self, which: int, shard_rows: int) -> None:
        self.stores[which].compact(shard_rows)

    @rule(which=st.integers(0, 1), batch=numbers, point=st.integers(0, 8), torn=st.booleans())
    def commit_and_be_killed(self, which: int, batch: list[int], point: int, torn: bool) -> None:
        """All rows of the batch that are new are there afterwards, or none of them."""
        self.made += 1
        features = np.random.default_rng(self.made).standard_normal((len(batch), 5), np.float32)
        killed_at(point, torn, lambda: self.stores[which].commit(features, KEYS[batch], PROVENANCE))
        new = {number: row.tobytes() for number, row in zip(reversed(batch), features[::-1], strict=True)}
        new = {number: row for number, row in new.items() if number not in self.model}
        there = FeatureStore(self.folder, SPEC).contains(KEYS[list(new)])
        assert there.all() or not there.any()
        self.model |= new if there.any() else {}

    @rule(which=st.integers(0, 1), shard_rows=st.integers(1, 30), point=st.integers(0, 30), torn=st.booleans())
    def compact_and_be_killed(self, which: int, shard_rows: int, point: int, torn: bool) -> None:
        killed_at(point, torn, lambda: self.stores[which].compact(shard_rows))

    @rule(shard_rows=st.tuples(st.integers(1, 30), st.integers(1, 30)), point=st.integers(0, 12))
    def two_compact_at_once_without_locks(self, shard_rows: tuple[int, int], point: int) -> None:
        """The second does all of its work before call number `point` of the first."""
        calls = {name: getattr(os, name) for name in ("replace", "unlink")}
        left = [point]

        def interrupted(name: str) -> Callable[..., None]:
            def call(*arguments: str) -> None:
                left[0] -= 1
                if left[0] == -1:
                    self.stores[1].compact(shard_rows[1])
                calls[name](*arguments)

            return call

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fcntl, "flock", without_locks)
            for name in calls:
                patch.setattr(os, name, interrupted(name))
            self.stores[0].compact(shard_rows[0])

    @rule(keep=st.none() | st.sets(st.integers(0, COUNT - 1)), shard_rows=st.integers(1, 30))
    def gc(self, keep: set[int] | None, shard_rows: int) -> None:
        collect_garbage(self.folder, shard_rows, None if keep is None else {KEYS[n].tobytes() for n in keep})
        if keep is not None:
            self.model = {number: row for number, row in self.model.items() if number in keep}
        assert leftovers(self.stores[0].folder) == []
        assert listing(self.folder)["rows"] == len(self.model)

    @precondition(lambda self: self.shards())
    @rule(data=st.data(), which=st.integers(0, 1), by_reading=st.booleans())
    def damage(self, data: st.DataObject, which: int, by_reading: bool) -> None:
        path = data.draw(st.sampled_from(self.shards()))
        shard = open_shard(path)
        lost = {n for n in self.model if KEYS[n].tobytes() in {key.tobytes() for key in shard.digests}}
        lost -= self.held_elsewhere(path)
        position = shard.offset + data.draw(st.integers(0, len(shard) * shard.row_bytes - 1))
        with open(path, "r+b") as file:
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ 128]))
        if by_reading and lost:
            try:
                self.stores[which].read(KEYS[sorted(self.model)])
            except DamagedShardError as error:
                assert error.path == path
                self.stores[which].set_aside(error)
            else:
                raise AssertionError("a flipped bit went unnoticed")
        else:
            assert [damage.path for damage in verify(self.folder).damaged] == [path]
        self.model = {number: row for number, row in self.model.items() if number not in lost}

    @rule(which=st.integers(0, 1))
    def look_afresh(self, which: int) -> None:
        self.stores[which] = FeatureStore(self.folder, SPEC)

    @rule()
    def leave_a_temporary_file(self) -> None:
        folder = Path(self.folder, SPEC.folder)
        if (folder / "spec.json").exists():
            (folder / f"{self.made}.h5.0123456789ab.tmp").write_bytes(b"half a shard")

    @rule()
    def verify(self) -> None:
        found = verify(self.folder)
        assert found.damaged == []
        assert found.rows >= len(self.model)  # more after a killed compaction

    @invariant()
    def every_row_of_the_model_is_there_and_right_and_no_other(self) -> None:
        for store in self.stores:
            assert np.flatnonzero(store.contains(KEYS)).tolist() == sorted(self.model)
        found = self.stores[0].read(KEYS[sorted(self.model)])
        assert [row.tobytes() for row in found] == [self.model[number] for number in sorted(self.model)]


def without_locks(*_: int) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


TestSequences = Sequences.TestCase
TestSequences.settings = settings(max_examples=40, stateful_step_count=30)

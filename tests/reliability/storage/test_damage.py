"""Point 5: a flipped bit or a cut in a shard is never a wrong number; the shard is named, set aside, computed again."""

import contextlib
import faulthandler
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.storage.cached_rows import PROVENANCE
from reliability.conftest import Count, Figure
from reliability.harness.real_command import empty_cache, features_report, finish, start, stored

from cache.shard_file import DamagedShardError, open_shard
from cache.store import FeatureStore
from cache.upkeep.spec_folders import stored_specs

PHOTOGRAPHS, SHARD_ROWS = 24, 8
KINDS = ("one shard", "three shards", "flattened", "one row", "float16")


@dataclass
class Whole:
    """A store as it was committed, and what is right: keys (n, 32), their rows."""

    store: FeatureStore
    keys: np.ndarray
    rows: np.ndarray

    def shards(self) -> list[str]:
        return [shard.path for shard in self.store.refresh()]


@pytest.fixture(scope="module")
def photos(photographs: Callable[[int], Path]) -> Path:
    return photographs(PHOTOGRAPHS)


@pytest.fixture(scope="module")
def cache(photos: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the real command has filled, in three shards."""
    cache = empty_cache(warm_cache, tmp_path_factory.mktemp("damage") / "cache")
    assert features_report(photos, cache, "--shard-rows", SHARD_ROWS)["computed"] > 2 * SHARD_ROWS
    return cache


def store_as(kind: str, cache: Path, folder: Path) -> Whole:
    """The rows of `cache`, stored in `folder` in one of several ways."""
    (origin,) = stored_specs(str(cache))
    keys = np.concatenate([shard.digests for shard in origin.refresh()])
    rows, spec = origin.read(keys), origin.spec
    if kind == "flattened":  # as large as they are with `--pooling flatten`: several blocks
        rows, spec = np.hstack([rows * factor for factor in range(1, 10)]), replace(spec, pooling="flatten")
    elif kind == "float16":
        rows, spec = rows.astype(np.float16), replace(spec, stored="float16")
    elif kind == "one row":
        keys, rows = keys[:1], rows[:1]
    step = SHARD_ROWS if kind == "three shards" else len(rows)
    store = FeatureStore(str(folder / kind), spec)
    for first in range(0, len(rows), step):
        store.commit(rows[first : first + step], keys[first : first + step], PROVENANCE)
    return Whole(store, keys, rows)


def read_afresh(whole: Whole) -> tuple[set[str], bool]:
    """(shards set aside, whether every row that is served is right), by a new process; the shards are put back."""
    faulthandler.dump_traceback_later(60, exit=True)  # HDF5 that loops for ever heeds no signal
    store = FeatureStore(os.path.dirname(whole.store.folder), whole.store.spec)
    there = np.flatnonzero(store.contains(whole.keys))
    right = True
    for chosen in [there, *there[:, None]]:  # together, and each by itself
        try:
            right &= not len(chosen) or store.read(whole.keys[chosen]).tobytes() == whole.rows[chosen].tobytes()
        except DamagedShardError as error:
            store.set_aside(error)
        except KeyError:
            continue  # its shard has been set aside
    named = {str(path.with_suffix("")) for path in Path(store.folder).glob("*.damaged")}
    for path in named:
        os.rename(path + ".damaged", path)
    faulthandler.cancel_dump_traceback_later()
    return named, right


def content_of(path: str) -> list[range]:
    """Where the rows, the keys and the checksums lie in a shard."""
    with h5py.File(path) as file:
        sets = [file[name] for name in ("features", "digest", "crc32")]
        return [range(each.id.get_offset(), each.id.get_offset() + each.nbytes) for each in sets]


def structural(path: str) -> list[int]:
    """Every byte that is neither rows nor keys: what HDF5 itself keeps, the attributes, the checksums."""
    features, digests, _ = content_of(path)
    return [place for place in range(os.path.getsize(path)) if place not in features and place not in digests]


def test_a_flipped_bit_is_never_a_wrong_number(
    cache: Path, tmp_path: Path, seed: int, count: Count, figure: Figure
) -> None:
    chance, noticed, total = random.Random(seed), 0, 0
    for kind in KINDS:
        whole = store_as(kind, cache, tmp_path)
        paths = whole.shards()
        anywhere = chance.choices(paths, k=count(1000, 100) // len(KINDS))
        places = [(path, chance.randrange(os.path.getsize(path))) for path in anywhere]
        inside = structural(paths[-1])
        places += [(paths[-1], place) for place in chance.sample(inside, count(len(inside), 40))]
        content = {path: content_of(path) for path in paths}
        for path, place in places:
            with flipped(path, place, 1 << chance.randrange(8)):
                named, right = read_afresh(whole)
            where = f"a flipped bit at {place} of {path} ({kind})"
            assert right, f"wrong numbers after {where}"
            assert named in ({path}, set()), f"{named} set aside after {where}"
            assert named or not any(place in part for part in content[path]), f"unnoticed: {where}"
            noticed += len(named)
        total += len(places)
    figure(5, f"{total:,} flipped bits in {len(KINDS)} kinds of shards: {noticed:,} noticed, 0 wrong numbers")


def test_a_cut_is_never_a_wrong_number(cache: Path, tmp_path: Path, seed: int, count: Count, figure: Figure) -> None:
    chance, total = random.Random(seed), 0
    for kind in KINDS:
        whole = store_as(kind, cache, tmp_path)
        path = chance.choice(whole.shards())
        data = Path(path).read_bytes()
        bounds = {bound for part in content_of(path) for bound in (part.start, part.stop)}
        lengths = {0, 1, 8, 48, len(data) - 1, *bounds, *(bound - 1 for bound in bounds)} - {len(data)}
        lengths |= set(chance.sample(range(len(data)), count(100, 15) // len(KINDS)))
        for length in sorted(lengths):
            os.truncate(path, length)
            named, right = read_afresh(whole)
            Path(path).write_bytes(data)
            assert right and named == {path}, f"{path} ({kind}) cut to {length} of {len(data)} bytes"
        total += len(lengths)
    figure(5, f"{total} cuts: all noticed, 0 wrong numbers")


def test_damage_in_several_shards_spares_the_others(cache: Path, tmp_path: Path, seed: int, count: Count) -> None:
    chance, whole = random.Random(seed), store_as("three shards", cache, tmp_path)
    for _ in range(count(100, 10)):
        struck = chance.sample(whole.shards(), chance.choice((2, 3)))
        before = {path: Path(path).read_bytes() for path in struck}
        for path in struck:
            shard = open_shard(path)
            flip(path, shard.offset + chance.randrange(len(shard) * shard.row_bytes), 1 << chance.randrange(8))
        assert read_afresh(whole) == (set(struck), True)
        for path, data in before.items():
            Path(path).write_bytes(data)


def test_without_checksums_the_same_bits_would_be_wrong_numbers(cache: Path, tmp_path: Path, seed: int) -> None:
    """So the tests above can fail: plain HDF5 serves what it finds."""
    (store,) = stored_specs(str(cache))
    rows = store.read(np.concatenate([shard.digests for shard in store.refresh()]))
    path, wrong, chance = str(tmp_path / "plain.h5"), 0, random.Random(seed)
    with h5py.File(path, "w") as file:
        offset = file.create_dataset("features", data=rows).id.get_offset()
    for _ in range(20):
        with flipped(path, offset + chance.randrange(rows.nbytes), 1), h5py.File(path) as file:
            wrong += file["features"][:].tobytes() != rows.tobytes()
    assert wrong == 20


def test_the_real_command_names_damage_and_computes_it_again(
    photos: Path, cache: Path, tmp_path: Path, seed: int, count: Count, figure: Figure
) -> None:
    chance, right, again, rounds = random.Random(seed), stored(cache), 0, count(24, 2)
    for number in range(rounds):
        copy = Path(shutil.copytree(cache, tmp_path / str(number)))
        paths = sorted(map(str, copy.glob("*/*.h5")))
        struck = sorted(chance.sample(paths, 1 + number % len(paths)))
        lost = sum(len(open_shard(path)) for path in struck)
        for path in struck:
            parts = content_of(path)
            if chance.random() < 0.25:
                os.truncate(path, chance.randrange(parts[2].stop))
            else:
                flip(path, chance.choice(chance.choice(parts)), 1 << chance.randrange(8))
        if number % 2:  # by what reads rows
            report = tmp_path / "train.json"
            words = ("train", "--head", "centroid", "--model", tmp_path / "m.joblib", "--json", report)
            status, _, err = finish(start(*words, "--data", photos, "--backbone", "nano", "--cache-dir", copy))
            assert status == 0, err
            assert f'"computed": {lost}' in report.read_text()
            named = err
        else:
            status, named, _ = finish(start("cache", "verify", "--cache-dir", copy))
            assert status == 1
            assert features_report(photos, copy)["computed"] == lost
        assert all(path in named for path in struck)
        assert sorted(map(str, copy.glob("*/*.damaged"))) == [f"{path}.damaged" for path in struck]
        assert stored(copy) == right
        assert features_report(photos, copy)["computed"] == 0
        again += lost
        shutil.rmtree(copy)
    figure(5, f"{rounds} times damaged and mended by the real command: {again} rows computed again, equal bit by bit")


def flip(path: str, place: int, bit: int) -> None:
    """Change one bit of a file."""
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ bit]))


@contextlib.contextmanager
def flipped(path: str, place: int, bit: int) -> Iterator[None]:
    """A file with one bit changed for the length of the block."""
    flip(path, place, bit)
    yield
    flip(path, place, bit)

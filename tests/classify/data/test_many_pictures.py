"""Many pictures in little memory: what is counted is what is asked for at once, and what is allocated at most."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from helpers.storage.cached_rows import PROVENANCE, keys
from helpers.storage.cached_rows import SPEC as STORED

import featurize.extract.missing_signatures
import featurize.machine.memory
from cache.signatures import SIDE, SPEC, StoredSignatures, signature_store
from cache.store import FeatureStore
from cache.stored_rows import StoredRows
from classify.data.dataset import Dataset
from classify.data.duplicates import BLOCK, COLUMNS, SAMPLE, near_duplicates
from classify.train import train_head
from featurize.extract.missing_signatures import SIGNATURE_BYTES, signatures_of

COUNT, WIDTH, CLASSES = 20_000, 1280, 10
FEATURES = COUNT * WIDTH * 4  # bytes of all rows in float32: 102 MB


def pictures(count: int) -> np.ndarray:
    """Signatures (count, SIDE, SIDE, 3) of large shapes; every hundredth is nearly the tenth before it."""
    random = np.random.default_rng(0)
    large = random.normal(0, 40, (count, 4, 4, 3)).repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    found = np.clip(128 + large, 0, 255).astype(np.uint8)
    found[100::100] = np.clip(found[90:-10:100].astype(int) + 2, 0, 255)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache with signatures of 3,000 pictures."""
    folder = str(tmp_path_factory.mktemp("signatures"))
    store, digests = signature_store(folder), keys(3000)
    for start in range(0, 3000, 500):
        store.commit(pictures(3000)[start : start + 500], digests[start : start + 500], PROVENANCE)
    return folder


@pytest.mark.parametrize("free", [0, 10**9])
def test_signatures_in_the_cache_give_the_groups_of_those_in_memory(
    cache: str, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: free)
    digests = keys(3000)
    order = np.random.default_rng(1).permutation(3000)
    store = signature_store(cache)
    stored = StoredSignatures(store, digests, store.contains(digests))[order]
    expected = near_duplicates(digests[order], pictures(3000)[order])
    np.testing.assert_array_equal(near_duplicates(digests[order], stored), expected)
    assert len(np.unique(expected)) == 3000 - 29


@pytest.mark.parametrize(("fits", "times"), [(True, 1), (False, 3)])
def test_signatures_of_many_pictures_stay_in_the_cache_and_few_are_read_at_once(
    cache: str, fits: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once where all fit into memory, else for the sample, all of them, and the few that may be near-duplicates."""
    monkeypatch.setattr(featurize.extract.missing_signatures, "MOST_BYTES", 2999 * SIGNATURE_BYTES)
    digests, counts = keys(3000), Counter[int]()
    signatures = signatures_of(cache, [""] * 3000, digests)
    assert isinstance(signatures, StoredSignatures) and signatures.known.all()
    read = FeatureStore.read

    def counting(self: FeatureStore, digests: np.ndarray) -> np.ndarray:
        if self.spec == SPEC:
            counts[len(digests)] += 1
        return read(self, digests)

    monkeypatch.setattr(FeatureStore, "read", counting)
    if not fits:
        monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 3000 * SIGNATURE_BYTES)
    near_duplicates(digests, signatures)
    assert max(counts) <= max(SAMPLE, BLOCK, COLUMNS)
    assert (times - 1) * 3000 < sum(size * count for size, count in counts.items()) <= times * 3000


def test_a_signature_that_is_unknown_has_no_contrast(cache: str) -> None:
    digests = np.concatenate([keys(3000)[:4], keys(2, seed=9)])
    store = signature_store(cache)
    stored = StoredSignatures(store, digests, store.contains(digests))
    assert stored.known.tolist() == [True] * 4 + [False] * 2
    assert not stored.read(np.array([4, 5])).any()
    with pytest.raises(TypeError, match="stay on the disk"):
        np.asarray(stored)


def test_training_on_rows_of_a_hundred_megabytes_allocates_less_than_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The split, near-duplicates, the fit, scores and what is kept for outliers: blocks of fixed size."""
    folder = str(tmp_path_factory.mktemp("many"))
    random, digests, labels = np.random.default_rng(0), keys(COUNT), np.arange(COUNT) % CLASSES
    centres = random.standard_normal((CLASSES, WIDTH), np.float32) / 4
    store, signatures = FeatureStore(folder, STORED), signature_store(folder)
    drawn = pictures(COUNT)
    for start in range(0, COUNT, 2000):
        chosen = slice(start, start + 2000)
        rows = random.standard_normal((2000, WIDTH), np.float32) + centres[labels[chosen]]
        store.commit(rows, digests[chosen], PROVENANCE)
        signatures.commit(drawn[chosen], digests[chosen], PROVENANCE)
    del drawn
    data = Dataset(
        StoredRows(store, digests, memory=FEATURES // 5),
        np.char.mod("class %d", labels),
        np.full(COUNT, "all"),
        digests,
        [f"{number}.png" for number in range(COUNT)],
        StoredSignatures(signatures, digests, np.ones(COUNT, bool)),
    )
    tracemalloc.start()
    try:
        training = train_head(data, "sgd", {"max_iter": 2})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert abs(training.scores.n - COUNT // 5) < 20 and training.scores.accuracy > 0.5
    assert peak < FEATURES, f"{peak / 1e6:.0f} MB"

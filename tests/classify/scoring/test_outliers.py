"""What is unlike the training pictures: how far it is, where the limit lies, what is kept of the training pictures."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import real_features
from helpers.storage import cached_rows

import classify.scoring.outliers
import pipeline
from bottleneck_features.report.parts.outlier_rates import outlier_rates
from cache.errors import UserError
from cache.stored_rows import StoredRows
from classify.data.dataset import Dataset
from classify.data.duplicates import near_duplicates
from classify.data.split import holdout
from classify.labels.read_labels import read_labels
from classify.scoring.outliers import LARGEST, NEIGHBOURS, WIDEST, OutlierDetector
from featurize.extract.missing_signatures import signatures_of


def alone(rows: np.ndarray) -> np.ndarray:
    """Groups (n,) of pictures without copies."""
    return np.arange(len(rows))


def plainly(pictures: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Distances (n,) by the definition."""
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (pictures, training)]
    return 1 - np.sort(units[0] @ units[1].T, axis=1)[:, -NEIGHBOURS:].mean(axis=1)


def test_the_distance_is_that_from_the_nearest_training_pictures(digits: real_features.Data) -> None:
    rows = digits[0]
    known = OutlierDetector.of(rows[:400], alone(rows[:400]))
    np.testing.assert_allclose(known.distances_of(rows[400:]), plainly(rows[400:], rows[:400]), atol=0.002)


def test_of_training_pictures_it_is_that_from_the_others(digits: real_features.Data) -> None:
    rows = digits[0][:100]
    left_out = [plainly(rows[[i]], np.delete(rows, i, axis=0))[0] for i in range(100)]
    np.testing.assert_allclose(OutlierDetector.of(rows, alone(rows)).distances, np.sort(left_out), atol=0.002)


def test_of_near_duplicates_one_counts(digits: real_features.Data) -> None:
    rows = digits[0][:100]
    once = OutlierDetector.of(rows, alone(rows))
    tripled = OutlierDetector.of(np.tile(rows, (3, 1)), np.tile(alone(rows), 3))
    np.testing.assert_array_equal(tripled.rows, once.rows)
    np.testing.assert_array_equal(tripled.distances, once.distances)
    as_different = OutlierDetector.of(np.tile(rows, (3, 1)), np.arange(300))
    assert as_different.limit(0.95) < tripled.limit(0.95)


@pytest.mark.parametrize("burst", [False, True])
@pytest.mark.parametrize(
    ("count", "share"), [(2, 0.6), (3, 0.7), (4, 0.8), (5, 0.8), (6, 0.85), (19, 0.95), (25, 0.95), (40, 0.5)]
)
def test_the_promised_share_is_kept_however_few_pictures_there_are(
    count: int, share: float, burst: bool, digits: real_features.Data
) -> None:
    """Over many draws of training pictures and of one new one: the mean is the promise, less what chance explains."""
    rows, random = digits[0], np.random.default_rng(count)
    kept = []
    for _ in range(100):
        order = random.permutation(600)
        training, new = order[:count], order[count : count + 25]
        times = np.ones(count, int)
        times[0] = 40 if burst else 1  # pictures that are nearly the same
        shown = np.repeat(training, times)
        noisy = rows[shown] + random.normal(0, 0.05, (len(shown), 64)).astype(np.float32)
        known = OutlierDetector.of(noisy, np.repeat(np.arange(count), times))
        kept.append((known.distances_of(rows[new]) <= known.limit(share)).mean())
    assert np.mean(kept) > share - 3 * np.std(kept) / np.sqrt(len(kept))


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_the_share_is_that_of_known_pictures_which_are_kept(share: float, digits: real_features.Data) -> None:
    rows = digits[0]
    kept = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(600)
        known = OutlierDetector.of(rows[order[:300]], alone(order[:300]))
        kept.append((known.distances_of(rows[order[300:]]) <= known.limit(share)).mean())
    assert abs(np.median(kept) - share) < 0.04


def test_a_share_has_its_limit_where_there_are_pictures_enough(digits: real_features.Data) -> None:
    rows = digits[0][:99]
    known = OutlierDetector.of(rows, alone(rows))
    assert [known.limit(share) for share in (0.01, 0.5, 0.99)] == known.distances[[0, 49, 98]].tolist()
    with pytest.raises(UserError, match=r"0.991.* takes 111 different .* has 99: .* a share of 0.99 or less"):
        known.limit(0.991)


@pytest.mark.parametrize(("share", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)])
def test_so_many_pictures_as_the_refusal_names_are_enough(share: float, needed: int) -> None:
    def known(count: int) -> OutlierDetector:
        return OutlierDetector(np.ones((count, 4), np.int8), np.arange(count, dtype=np.float32))

    assert known(needed).limit(share) == known(needed).limit(np.float32(share)) == needed - 1  # the furthest
    for count in {needed - 1, 0}:
        with pytest.raises(UserError, match=f"takes {needed} different training pictures, the model has "):
            known(count).limit(share)


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1, float("nan"), True, "0.95", None])
def test_what_is_no_share_is_refused(share: object, digits: real_features.Data) -> None:
    known = OutlierDetector.of(digits[0][:20], np.arange(20))
    with pytest.raises(UserError, match="give the share of known pictures to keep"):
        known.limit(share)  # type: ignore[arg-type]


def test_one_picture_and_its_copies_tell_nothing(digits: real_features.Data) -> None:
    known = OutlierDetector.of(np.tile(digits[0][:1], (7, 1)), np.zeros(7, int))
    assert len(known.distances) == 0
    with pytest.raises(UserError, match=r"takes 19 different training pictures, the model has 1: train it with more$"):
        known.limit(0.95)


def test_of_fewer_pictures_than_neighbours_all_but_one_are_compared(digits: real_features.Data) -> None:
    """As many as each of the training pictures is compared with."""
    rows = digits[0]
    known = OutlierDetector.of(rows[:3], np.arange(3))
    units = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (rows[3:50], rows[:3])]
    nearest = np.sort(units[0] @ units[1].T, axis=1)[:, 1:]
    np.testing.assert_allclose(known.distances_of(rows[3:50]), 1 - nearest.mean(axis=1), atol=0.002)
    assert len(known.distances) == 3 and np.isfinite(known.distances).all()


def test_rows_of_zeros_are_far_from_everything(digits: real_features.Data) -> None:
    known = OutlierDetector.of(np.concatenate([digits[0][:50], np.zeros((2, 64), np.float32)]), np.arange(52))
    assert np.isfinite(known.distances).all() and known.distances_of(np.zeros((1, 64), np.float32)) == [1]


def test_another_kind_of_pictures_is_further_than_the_limit(textures: real_features.Data) -> None:
    rows, labels = textures
    for name in ("coins", "gravel"):
        known = OutlierDetector.of(rows[labels != name], alone(rows[labels != name]))
        assert (known.distances_of(rows[labels == name]) > known.limit(0.95)).mean() > 0.5


def test_what_is_kept_has_a_largest_size(digits: real_features.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = digits[0]
    assert LARGEST // 1280 == 3276
    monkeypatch.setattr(classify.scoring.outliers, "LARGEST", 64 * 200)
    known = OutlierDetector.of(rows, alone(rows))
    assert known.rows.shape == (200, 64) and known.rows.nbytes == 64 * 200 and len(known.distances) == 200
    np.testing.assert_array_equal(known.rows, OutlierDetector.of(rows, alone(rows)).rows)


def test_wide_rows_are_folded_with_nearly_the_same_distances(digits: real_features.Data) -> None:
    wide = real_features.with_products(digits[0])
    known = OutlierDetector.of(wide[:300], alone(wide[:300]))
    assert wide.shape[1] > WIDEST and known.rows.shape == (300, WIDEST)
    np.testing.assert_allclose(known.distances_of(wide[300:]), plainly(wide[300:], wide[:300]), atol=0.06)


def test_rows_are_folded_everywhere_alike() -> None:
    """A model is carried to other machines and other versions of numpy, its rows as they were folded at first."""
    order, signs = classify.scoring.outliers.folding(4160)
    assert order[:4].tolist() == [1649, 3122, 1127, 599] and signs[:6].tolist() == [-1, 1, -1, 1, -1, -1]


def test_of_several_views_the_first_counts(digits: real_features.Data) -> None:
    rows = digits[0]
    known = OutlierDetector.of(rows[:100], np.arange(100))
    views = np.stack([rows[100:110], rows[110:120]], axis=1)
    np.testing.assert_array_equal(known.distances_of(views), known.distances_of(rows[100:110]))


def test_stored_rows_are_read_once_and_tell_the_same(
    digits: real_features.Data, tmp_path: Path, reads: Counter[tuple[str, int]]
) -> None:
    rows = digits[0]
    store = cached_rows.FeatureStore(str(tmp_path), cached_rows.SPEC)
    for start in range(0, 600, 200):
        keys = cached_rows.keys(600)[start : start + 200]
        store.commit(rows[start : start + 200], keys, cached_rows.PROVENANCE)
    stored = StoredRows(store, cached_rows.keys(600), 100_000)
    assert stored.rows_at_once < 100
    reads.clear()
    known = OutlierDetector.of(stored[:400], np.arange(400))
    assert set(reads.values()) == {1}
    in_memory = OutlierDetector.of(rows[:400], np.arange(400))
    np.testing.assert_array_equal(known.rows, in_memory.rows)
    np.testing.assert_allclose(known.distances_of(stored[400:]), in_memory.distances_of(rows[400:]), atol=1e-6)


def test_the_arrays_are_all_of_it(digits: real_features.Data) -> None:
    known = OutlierDetector.of(digits[0][:50], np.arange(50))
    again = OutlierDetector.from_arrays(known.to_arrays(), 64)
    np.testing.assert_array_equal(known.distances_of(digits[0]), again.distances_of(digits[0]))
    assert again.limit(0.9) == known.limit(0.9)


@pytest.mark.parametrize(
    "change",
    [
        {"known_rows": np.zeros((0, 64), np.int8)},
        {"known_rows": np.zeros((5, 63), np.int8)},
        {"known_rows": np.zeros((5, 64), np.float32)},
        {"known_rows": np.zeros(64, np.int8)},
        {"known_distances": np.array([0.1, np.nan], np.float32)},
        {"known_distances": np.array([0.2, 0.1], np.float32)},
        {"known_distances": np.array([0.1], np.float64)},
        {"known_distances": np.array([[0.1]], np.float32)},
    ],
)
def test_other_arrays_are_refused(change: dict[str, np.ndarray], digits: real_features.Data) -> None:
    named = OutlierDetector.of(digits[0][:50], np.arange(50)).to_arrays()
    with pytest.raises(ValueError, match="known_"):
        OutlierDetector.from_arrays(named | change, 64)


def test_the_rates_are_counted_on_pictures_that_nothing_was_learnt_from(digits: real_features.Data) -> None:
    rows, numbers = digits
    rows, labels = np.concatenate([rows, rows[:10]]), np.concatenate([numbers, numbers[:10]]).astype(str)
    digests = np.concatenate([cached_rows.keys(600), cached_rows.keys(600)[:10]])
    data = Dataset(rows, labels, np.full(610, "all"), digests, [str(number) for number in range(610)])
    found = outlier_rates(data, np.arange(400), np.arange(400, 610), keep=0.9)
    kept, *classes = found
    assert kept.name == "known pictures kept" and abs(kept.share - 0.9) < 0.06
    assert 190 <= kept.n <= 200  # copies of training pictures are none of them
    assert [rate.name for rate in classes] == [f"pictures of {digit} rejected" for digit in range(10)]
    for rate, digit in zip(classes, "0123456789", strict=True):
        assert rate.n == (labels == digit).sum() and 0.1 < rate.share <= 1
    two = np.flatnonzero(np.isin(labels, ["0", "1"]))
    assert len(outlier_rates(data, two[:60], two[60:])) == 1


def test_a_model_of_cats_and_dogs_knows_no_arctic_animals(shared: Path, tmp_path: Path) -> None:
    weights = shared / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    extractor = pipeline.open_extractor(str(tmp_path), weights=str(weights))
    pets = read_labels(
        str(shared / "images" / "cats_dogs"), label_pattern=r"(?P<label>cat|dog)\.\d+\.jpg", for_training=True
    )
    paths = pets.paths[::3]
    outcome, rows = extractor.features(paths)
    labels = np.array(pets.labels[::3])[outcome.succeeded]
    animals = (shared / "images" / "arctic_wildlife" / "test").glob("*/*")
    strangers = extractor.features(sorted(str(path) for path in animals))[1]
    groups = near_duplicates(outcome.keys, signatures_of(str(tmp_path), paths, outcome.keys))
    kept, rejected = [], []
    for seed in range(5):
        train, test = holdout(labels, groups, 0.2, seed)
        known = OutlierDetector.of(rows[train], groups[train])
        kept.append((known.distances_of(rows[test]) <= known.limit(0.95)).mean())
        rejected.append((known.distances_of(strangers) > known.limit(0.95)).mean())
    assert np.median(rejected) >= 0.85 and np.median(kept) >= 0.91

"""Training on real rows (scikit-learn's handwritten digits): what is fitted on what, scored on what, and refused."""

import json
import logging
import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.datasets import dataset
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

import classify.data.dataset
import classify.fit
import classify.train
from cache.errors import UserError
from classify.data.dataset import Dataset
from classify.data.split import GroupedFolds, duplicate_groups, folds, holdout
from classify.heads.head_table import make_head, search_grid
from classify.train import train_head

FAST = "centroid"  # a head that is fitted in a millisecond


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """300 digits from 0 to 4, all different."""
    pixels, numbers = load_digits(n_class=5, return_X_y=True)
    chosen = np.unique(pixels.astype(np.float32), axis=0, return_index=True)[1]
    chosen = np.random.default_rng(0).permutation(chosen)[:300]
    return dataset(pixels[chosen].astype(np.float32), [f"digit {number}" for number in numbers[chosen]])


@pytest.fixture
def split(digits: Dataset) -> Dataset:
    """The same with its own split: 150 to train on, 50 to validate with, 100 to test with."""
    return replace(digits, parts=np.repeat(["train", "validation", "test"], [150, 50, 100]))


def rows_of(data: Dataset, digests: np.ndarray) -> set[int]:
    known = {digest.tobytes(): row for row, digest in enumerate(data.digests)}
    return {known[digest.tobytes()] for digest in digests}


def same(first: Any, second: Any) -> bool:
    """Whether two trainings report the same, but for the time they took."""
    reports = [training.report() | {"stage_seconds": None} for training in (first, second)]
    return bool(reports[0] == reports[1])


def test_a_share_is_held_out_of_every_class_and_scored(digits: Dataset) -> None:
    training = train_head(digits, "logreg", {}, test_size=0.3, seed=1)
    assert training.scores.n == 90 and len(rows_of(digits, training.trained_on)) == 210
    assert training.scores.accuracy > 0.9
    assert training.scores.baseline_accuracy < 0.4
    assert training.training_counts == [
        sum(digits.labels[row] == name for row in rows_of(digits, training.trained_on))
        for name in training.scores.classes
    ]
    assert not training.leaked.paths and training.leaked.without is None
    report = training.report()
    assert report["cv_accuracy"] is report["cv_std"] is report["validation_accuracy"] is None


def test_the_datas_own_split_is_kept(split: Dataset) -> None:
    training = train_head(split, FAST, {}, test_size=0.9, seed=5)
    assert rows_of(split, training.trained_on) == set(range(150))
    predicted = training.estimator.predict(split.features)
    right = predicted == split.labels
    assert training.scores.accuracy == right[200:].mean() and training.scores.n == 100
    assert training.report()["validation_accuracy"] == right[150:200].mean()


def test_without_a_test_folder_the_validation_folder_is_scored(split: Dataset) -> None:
    data = replace(split, parts=np.where(split.parts == "test", "validation", split.parts))
    training = train_head(data, FAST, {})
    assert training.scores.n == 150 and training.report()["validation_accuracy"] is None


def test_pictures_in_both_train_and_test_are_kept_and_named(split: Dataset) -> None:
    digests = split.digests.copy()
    digests[[210, 290]] = digests[[3, 4]]
    training = train_head(replace(split, digests=digests), FAST, {})
    assert training.leaked.paths == [split.paths[210], split.paths[290]] and training.scores.n == 100
    assert training.leaked.without is not None and training.leaked.without.n == 98
    report = training.report()
    assert (report["leaked"], report["leaked_files"]) == (2, training.leaked.paths)


def test_cross_validation_under_an_own_split_sees_train_alone(split: Dataset) -> None:
    spoiled = split.features.copy()
    spoiled[150:] = np.random.default_rng(0).random((150, 64))
    plain = train_head(split, FAST, {}, cv=5)
    other = train_head(replace(split, features=spoiled), FAST, {}, cv=5)
    assert plain.cv_scores == other.cv_scores and len(plain.cv_scores) == 5
    assert plain.scores.accuracy != other.scores.accuracy


def test_cross_validation_without_one_sees_every_picture(digits: Dataset) -> None:
    training = train_head(digits, FAST, {}, cv=6, seed=2)
    groups = duplicate_groups(digits.digests)
    expected = []
    for train, test in folds(digits.labels, groups, 6, 2):
        estimator = make_head(FAST).fit(digits.features[train], digits.labels[train])
        expected.append(estimator.score(digits.features[test], digits.labels[test]))
    assert training.cv_scores == pytest.approx(expected)
    report = training.report()
    assert (report["cv_accuracy"], report["cv_std"]) == pytest.approx((np.mean(expected), np.std(expected)))


def test_refit_saves_another_model_and_scores_the_same(digits: Dataset) -> None:
    plain, refitted = (train_head(digits, FAST, {}, refit=refit) for refit in (False, True))
    assert same(plain, refitted)
    assert len(plain.trained_on) == 240 and len(refitted.trained_on) == 300
    everything = make_head(FAST).fit(digits.features, digits.labels)
    rows = digits.features
    assert np.array_equal(refitted.estimator.predict_proba(rows), everything.predict_proba(rows))
    assert not np.array_equal(plain.estimator.predict_proba(rows), everything.predict_proba(rows))


def test_a_search_takes_the_nearest_to_the_defaults_of_the_best(digits: Dataset) -> None:
    training = train_head(digits, "ridge", {"normalize": "standard"}, search=True)
    tried = search_grid("ridge")["alpha"]
    assert [row["params"] for row in training.search_table] == [{"alpha": alpha} for alpha in tried]
    best = max(training.search_table, key=lambda row: row["score"])
    least = best["score"] - np.std(best["scores"], ddof=1) / np.sqrt(5)
    as_good = [row["params"]["alpha"] for row in training.search_table if row["score"] >= least]
    alpha = min(as_good, key=lambda alpha: abs(np.log(alpha)))  # 1 is the default
    assert [row["params"]["alpha"] for row in training.search_table if row["chosen"]] == [alpha]
    assert training.head_params == {"normalize": "standard", "alpha": alpha} and training.estimator.alpha == alpha
    assert training.scoring == "neg_log_loss" and training.estimator.normalize == "standard"


def test_a_refit_keeps_what_the_search_has_chosen(digits: Dataset) -> None:
    training = train_head(digits, "ridge", {}, search=True, refit=True)
    assert training.estimator.alpha == training.head_params["alpha"] and len(training.trained_on) == 300


def test_parameters_that_are_given_are_not_searched(digits: Dataset) -> None:
    training = train_head(digits, "knn", {"n_neighbors": 3}, search=True)
    assert {tuple(row["params"]) for row in training.search_table} == {("temperature",)}
    assert training.head_params["n_neighbors"] == 3
    with pytest.raises(UserError, match="nothing to search"):
        train_head(digits, FAST, {"normalize": "l2"}, search=True)


def test_inside_a_cross_validation_every_fold_is_searched_anew(digits: Dataset) -> None:
    training = train_head(digits, "ridge", {}, search=True, cv=3, seed=4)
    groups = duplicate_groups(digits.digests)
    expected = []
    for table, (train, test) in zip(training.cv_search, folds(digits.labels, groups, 3, 4), strict=True):
        options: dict[str, Any] = {"cv": GroupedFolds(5, 4), "scoring": "neg_log_loss", "refit": False}
        search = GridSearchCV(make_head("ridge", {}, 4), search_grid("ridge"), **options)
        found = search.fit(digits.features[train], digits.labels[train], groups=groups[train]).cv_results_
        assert [row["score"] for row in table] == pytest.approx(found["mean_test_score"], abs=0.03)  # temperatures
        (best,) = [row["params"] for row in table if row["chosen"]]
        fitted = make_head("ridge", best, 4).fit(digits.features[train], digits.labels[train])
        expected.append(fitted.score(digits.features[test], digits.labels[test]))
    assert training.cv_scores == pytest.approx(expected)


@pytest.mark.parametrize("head", ["ridge", "knn"])
def test_no_candidate_of_a_search_sees_the_pictures_of_the_reported_accuracy(digits: Dataset, head: str) -> None:
    scored = holdout(digits.labels, duplicate_groups(digits.digests), 0.2, 0)[1]
    plain, other = (train_head(data, head, {}, search=True) for data in (digits, spoiled(digits, scored)))
    assert scores_of(other.search_table) == pytest.approx(scores_of(plain.search_table), abs=1e-12)
    assert other.head_params == plain.head_params and np.array_equal(other.trained_on, plain.trained_on)
    assert other.scores.accuracy < 0.3 and plain.scores.accuracy > 0.9


@pytest.mark.parametrize("head", ["ridge", "knn"])
def test_the_search_in_a_fold_does_not_see_the_pictures_of_that_fold(digits: Dataset, head: str) -> None:
    plain = train_head(digits, head, {}, search=True, cv=3)
    assert len(plain.cv_search) == 3
    for fold, (_, scored) in enumerate(folds(digits.labels, duplicate_groups(digits.digests), 3, 0)):
        other = train_head(spoiled(digits, scored), head, {}, search=True, cv=3)
        assert scores_of(other.cv_search[fold]) == pytest.approx(scores_of(plain.cv_search[fold]), abs=1e-12)
        assert other.cv_scores[fold] < 0.3 and plain.cv_scores[fold] > 0.9


def spoiled(data: Dataset, rows: np.ndarray) -> Dataset:
    """The same pictures, but that `rows` have the features of others of them, most of another class."""
    features = data.features.copy()
    by_class = rows[np.argsort(data.labels[rows], kind="stable")]
    features[by_class] = data.features[np.roll(by_class, len(rows) // 2)]
    return replace(data, features=features)


def scores_of(table: list[dict[str, Any]]) -> list[float]:
    return [score for row in table for score in row["scores"]]


@pytest.mark.parametrize("head", ["ridge", "knn"])
def test_every_score_of_a_search_is_kept_and_every_fit_told(digits: Dataset, head: str) -> None:
    told: list[tuple[str, int, int]] = []
    training = train_head(digits, head, {}, search=True, cv=2, progress=lambda *step: told.append(step))
    candidates = math.prod(map(len, search_grid(head).values()))
    for table in (training.search_table, *training.cv_search):
        assert [len(row["scores"]) for row in table] == [5] * candidates
        for row in table:
            assert (row["score"], row["std"]) == pytest.approx((np.mean(row["scores"]), np.std(row["scores"])))
    assert {total for _, _, total in told} == {5 * candidates}
    for stage in ("search", "search in fold 1 of 2", "search in fold 2 of 2"):
        done = [count for name, count, _ in told if name == stage]
        assert done == sorted(done) and len(done) > 4 and done[-1] == 5 * candidates


@pytest.mark.parametrize("head", ["logreg", "svm", "ridge", "knn"])
def test_a_seed_decides_everything(digits: Dataset, head: str) -> None:
    first, again, other = (train_head(digits, head, {}, seed=seed, cv=3) for seed in (3, 3, 4))
    assert same(first, again) and np.array_equal(first.trained_on, again.trained_on)
    assert np.array_equal(
        first.estimator.predict_proba(digits.features), again.estimator.predict_proba(digits.features)
    )
    assert rows_of(digits, first.trained_on) != rows_of(digits, other.trained_on)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cv": 61}, "cross-validation with 61 folds"),
        ({"cv": 1}, "at least 2 folds"),
        ({"test_size": 0.0}, "between 0 and 1"),
        ({"test_size": float("nan")}, "between 0 and 1"),
        ({"head": "forest"}, "unknown head 'forest'"),
        ({"params": {"C": 1}}, "no parameter 'C'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_fitted(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    fitted = []
    monkeypatch.setattr(classify.fit, "fit_head", lambda *arguments: fitted.append(arguments))
    with pytest.raises(UserError, match=message) as caught:
        train_head(digits, **({"head": FAST, "params": {}} | options))
    assert not fitted and "\n" not in str(caught.value)


def test_folders_without_a_usable_picture_are_named(split: Dataset) -> None:
    with pytest.raises(UserError, match="train folder"):
        train_head(replace(split, parts=np.repeat(["validation", "test"], [150, 150])), FAST, {})
    with pytest.raises(UserError, match="test or validation folder"):
        train_head(replace(split, parts=np.full(300, "train")), FAST, {})
    one_class = replace(split, labels=np.where(split.parts == "train", "digit 0", split.labels))
    with pytest.raises(UserError, match="only one class"):
        train_head(one_class, FAST, {})
    lacking = split.part("train")[split.labels[split.part("train")] != "digit 3"]
    kept = np.concatenate([lacking, split.part("test")])
    without = Dataset(
        *(value[kept] for value in (split.features, split.labels, split.parts, split.digests)), split.paths
    )
    with pytest.raises(UserError, match="'digit 3'"):
        train_head(without, FAST, {})


def test_a_head_that_did_not_converge_is_announced_in_one_line_for_each_fit(
    digits: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "bottleneck"):
        warnings.simplefilter("error")
        train_head(digits, "logreg", {"max_iter": 1}, search=True)
    assert len(caplog.messages) == 1 + 5 and len(set(caplog.messages)) == 1  # and those that answer out of fold
    assert "did not converge" in caplog.text and "\n" not in caplog.messages[0]


def test_the_report_is_plain_json(split: Dataset) -> None:
    report = train_head(split, "ridge", {}, cv=3, search=True).report()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report["stage_seconds"]) == {"near-duplicates", "train", "score", "cross-validation", "out-of-fold"}


def test_what_tells_unknowns_after_a_refit_does_not_depend_on_cross_validation(digits: Dataset) -> None:
    parts = np.where(np.arange(300) % 3, "train", "test")
    rows = digits.features.copy()
    copied = np.flatnonzero(parts == "test")[:10]
    rows[copied] = rows[np.flatnonzero(parts == "train")[:10]]
    digests = digits.digests.copy()
    digests[copied] = digests[np.flatnonzero(parts == "train")[:10]]
    data = replace(digits, features=rows, parts=parts, digests=digests)
    plain, checked = (train_head(data, FAST, {}, cv=cv, refit=True).outliers for cv in (0, 2))
    assert plain is not None and checked is not None
    np.testing.assert_array_equal(plain.distances, checked.distances)

"""Heads on pictures of several views: a picture counts once, and is decided by the mean of its views' probabilities.

The pictures are photographs of surfaces, their views the picture itself and crops of it, the rows those of nano.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from helpers.models.model_records import RECORD
from helpers.real_features import Data
from helpers.storage.cached_rows import keys
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from classify.data.dataset import Dataset
from classify.data.grouping import Grouping
from classify.data.split import duplicate_groups, folds
from classify.data.surfaces import PHOTOGRAPHS, draw_crop, photograph
from classify.evaluate import evaluate_head
from classify.heads.head_arrays import ArrayHead
from classify.heads.head_table import HEADS, make_head, search_grid
from classify.heads.solver.regularisation_path import PathHead
from classify.hyperparameter_search import held_out_scores, search_head
from classify.plan_options import Plan
from classify.saved.persist import load, save
from classify.scoring.metrics import score
from classify.train import train_head
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.writable import open_table
from featurize.resolve import resolve

VIEWS = 4
# Parameters with which a fit is quick, or comes so near to the optimum that two of them can be compared.
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name, row in HEADS.items() if not row.maps} | {
    "dense": ("dense", {"epochs": 30, "learning_rate": 0.03}),
    "hidden": ("dense", {"epochs": 10, "hidden": 16, "batch_norm": True}),
    "rbf": ("svm", {"kernel": "rbf", "C": 3.0, "tol": 1e-6}),
}


def head(case: str, **params: Any) -> Any:
    name, fixed = CASES[case]
    return make_head(name, fixed | params)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory, cache_dir: str) -> Dataset:
    """104 photographs of 13 surfaces, 8 of each, with 4 views: fitted on and scored on all of them."""
    folder, paths = tmp_path_factory.mktemp("pictures"), []
    for label in PHOTOGRAPHS:
        grey = photograph(label)
        for name in (f"{number:02}.png" for number in range(8)):
            paths.append(str(folder / f"{label}.{name}"))
            draw_crop(grey, label, "train", name).of(grey).save(paths[-1])
    asked = resolve(open_table(cache_dir), views=VIEWS, recipe="crops", **SPEC)
    outcome, rows = NetworkExtractor(asked, cache_dir).features(paths)
    return Dataset(
        features=rows,
        labels=np.array([Path(path).name.split(".")[0] for path in paths]),
        parts=np.full(len(paths), "all", dtype="U10"),
        digests=outcome.keys,
        paths=paths,
        views=VIEWS,
        predict_views=VIEWS,
    )


def with_views(data: Dataset, fitted: int, scored: int) -> Dataset:
    """The same pictures with fewer views, (n, d) where one is enough."""
    most = max(fitted, scored)
    features = data.features[:, :most] if most > 1 else data.features[:, 0]
    return replace(data, features=features, views=fitted, predict_views=scored)


def halves(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of every other picture, and of those between."""
    return np.arange(0, len(data.labels), 2), np.arange(1, len(data.labels), 2)


# ---- a picture counts once


@pytest.mark.parametrize(
    ("case", "class_weight"), [*((case, None) for case in CASES), ("logreg", "balanced"), ("knn", "balanced")]
)
def test_views_that_are_all_alike_give_the_fit_on_one(case: str, class_weight: str | None, digits: Data) -> None:
    X, y = digits
    params = {"class_weight": class_weight} if class_weight else {}
    expected = head(case, **params).fit(X[:200], y[:200]).predict_proba(X[200:])
    one, three = (head(case, **params).fit(np.repeat(X[:200, None], views, axis=1), y[:200]) for views in (1, 3))
    np.testing.assert_array_equal(one.predict_proba(X[200:]), expected)
    np.testing.assert_allclose(three.predict_proba(X[200:]), expected, rtol=0, atol=1e-4)
    alike = np.repeat(X[200:, None], 3, axis=1)
    np.testing.assert_allclose(three.predict_proba(alike), three.predict_proba(X[200:]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("case", "normalize"), [*((case, "l2") for case in CASES if case != "hidden"), ("logreg", "standard")]
)
def test_views_that_are_there_twice_change_nothing(case: str, normalize: str, viewed: Dataset) -> None:
    train, test = halves(viewed)
    X = viewed.features[train, :2]
    params = {"tol": 1e-5} if case in ("logreg", "svm") else {}
    once, twice = (
        head(case, normalize=normalize, **params).fit(views, viewed.labels[train]).predict_proba(viewed.features[test])
        for views in (X, np.tile(X, (1, 2, 1)))
    )
    np.testing.assert_allclose(once, twice, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (make_head("logreg", {"tol": 1e-6}), LogisticRegression(C=10, tol=1e-8, max_iter=10_000)),
        (make_head("ridge"), RidgeClassifier()),
        (make_head("svm", {"tol": 1e-6}), LinearSVC(C=0.5, tol=1e-8, max_iter=100_000)),
    ],
    ids=["logreg", "ridge", "svm"],
)
def test_planes_are_scikit_learns_of_rows_that_share_the_weight_of_a_picture(
    ours: Any, theirs: Any, viewed: Dataset
) -> None:
    X, y = viewed.features, viewed.labels
    rows = normalize(X.reshape(-1, X.shape[2]).astype(np.float64))
    theirs.fit(rows, np.repeat(y, VIEWS), sample_weight=np.full(len(rows), 1 / VIEWS))
    ours.fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-3 * np.abs(theirs.coef_).max())


def test_neighbours_are_counted_in_pictures_and_a_view_has_its_share_of_a_vote() -> None:
    X = np.array([[[1, 0], [0.96, 0.28]], [[0.8, 0.6], [0.6, 0.8]], [[0, 1], [-1, 0]]])
    fitted = make_head("knn", {"n_neighbors": 1, "temperature": None}).fit(X, ["a", "b", "b"])
    # The two nearest views have half a vote each; a prior of half a vote is spread as the classes are.
    for row, votes in (([1, 0], [1, 0]), ([0.9, 0.44], [0.5, 0.5]), ([0, 1], [0, 1])):
        np.testing.assert_allclose(fitted.predict_proba([row]), [np.add(votes, [0.5 / 3, 1 / 3]) / 1.5], rtol=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] != "dense"])
def test_the_order_of_the_views_changes_nothing(case: str, viewed: Dataset) -> None:
    params = {"tol": 1e-5} if case in ("logreg", "svm") else {}
    one, other = (
        head(case, **params).fit(viewed.features[:, order], viewed.labels).predict_proba(viewed.features)
        for order in ([0, 1, 2, 3], [3, 1, 0, 2])
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_every_view_is_learnt_from(case: str, viewed: Dataset) -> None:
    train, test = halves(viewed)
    y, views = viewed.labels, viewed.features[train].copy()
    views[:, [0, 1, 3]] = 0
    fitted = head(case).fit(views, y[train])
    assert fitted.score(viewed.features[test, 2], y[test]) > 0.4  # of 13 classes


@pytest.mark.parametrize("case", ["logreg", "knn", "dense"])
def test_training_views_make_crops_easier_to_recognise(case: str, viewed: Dataset) -> None:
    train, test = halves(viewed)
    y = viewed.labels
    crops = viewed.features[test, 1]
    plain = head(case).fit(viewed.features[train, 0], y[train])
    fitted = head(case).fit(viewed.features[train], y[train])
    assert fitted.score(crops, y[test]) >= plain.score(crops, y[test])
    assert fitted.score(crops, y[test]) > 0.5  # of 13 classes


# ---- the mean of the views' probabilities


@pytest.mark.parametrize("case", CASES)
def test_probabilities_are_the_means_over_the_views_also_once_saved(case: str, viewed: Dataset, tmp_path: Path) -> None:
    train, test = halves(viewed)
    fitted = head(case).fit(viewed.features[train, :2], viewed.labels[train])
    views = viewed.features[test, :3]
    expected = np.mean([fitted.predict_proba(views[:, number]) for number in range(3)], axis=0)
    model = str(tmp_path / "m.joblib")
    save(model, fitted, keys(len(train)), RECORD | {"training_counts": [4] * 13})
    saved = load(model)
    assert isinstance(saved.predictor, ArrayHead) == (case not in ("knn", "rbf"))
    for predictor in (fitted, saved.predictor, saved.estimator):
        np.testing.assert_allclose(predictor.predict_proba(views), expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(predictor.predict(views), fitted.classes_[expected.argmax(axis=1)])
        np.testing.assert_array_equal(predictor.predict_proba(views[:, :1]), predictor.predict_proba(views[:, 0]))


def test_views_that_are_none_are_refused(viewed: Dataset) -> None:
    fitted = make_head("logreg").fit(viewed.features, viewed.labels)
    views = viewed.features[:3]
    with_nan = np.where(np.arange(views.shape[2]) == 5, np.nan, views)
    for predictor in (fitted, fitted.arrays()):
        for wrong in (views[:, :, 1:], views[:, :0], views[:0], views[None], with_nan):
            with pytest.raises(ValueError):
                predictor.predict_proba(wrong)
    for wrong in (views[:, :0], views[None], with_nan):
        with pytest.raises(ValueError):
            make_head("logreg").fit(wrong, viewed.labels[:3])
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[3, 12\]"):
        make_head("logreg").fit(views, viewed.labels[:12])


@pytest.mark.parametrize("case", ["logreg", "ridge", "knn", "centroid"])
def test_tools_of_scikit_learn_take_views(case: str, viewed: Dataset) -> None:
    X, y = viewed.features, viewed.labels
    splits = [*StratifiedKFold(3).split(X, y)]
    found = cross_val_score(head(case), X, y, cv=splits, error_score="raise")
    expected = [clone(head(case)).fit(X[train], y[train]).score(X[test], y[test]) for train, test in splits]
    assert found.tolist() == expected
    grid = {parameter: values[:2] for parameter, values in search_grid(case).items()}
    searched = GridSearchCV(head(case), grid, cv=splits, error_score="raise").fit(X, y)
    assert searched.best_estimator_.predict_proba(X).shape == (len(y), 13)


# ---- folds inside a head


@pytest.mark.parametrize("case", ["svm", "rbf", "ridge", "centroid"])
def test_random_labels_give_probabilities_near_even(case: str, viewed: Dataset) -> None:
    y = np.random.RandomState(0).permutation(np.arange(len(viewed.labels)) % 3)
    fitted = head(case).fit(viewed.features, y)
    # With another view of a picture on the other side, decisions about the held-out ones would look sure.
    assert fitted.predict_proba(viewed.features).max(axis=1).mean() < 0.45


def test_early_stopping_holds_out_pictures(viewed: Dataset) -> None:
    y = np.random.RandomState(0).permutation(np.arange(len(viewed.labels)) % 2)
    params = {"validation_fraction": 0.4, "epochs": 40, "patience": 40, "dropout": 0}
    history = head("dense", **params).fit(viewed.features, y).history_
    assert history["accuracy"][-1] > 0.8 and history["val_accuracy"][-1] < 0.65


# ---- training


@pytest.mark.parametrize(
    ("case", "views", "predict_views"), [("logreg", 4, 1), ("logreg", 1, 4), ("logreg", 1, 1), ("knn", 3, 2)]
)
def test_training_fits_on_some_views_and_scores_pictures_on_some(
    case: str, views: int, predict_views: int, viewed: Dataset
) -> None:
    data = with_views(viewed, views, predict_views)
    training = train_head(data, case, {}, cv=3, test_size=0.3, seed=1)
    known = {digest.tobytes(): number for number, digest in enumerate(data.digests)}
    train = np.array([known[digest.tobytes()] for digest in training.trained_on])
    test = np.setdiff1d(np.arange(len(data.labels)), train)

    def fit(chosen: np.ndarray) -> Any:
        return make_head(case).fit(viewed.features[chosen, :views], data.labels[chosen])

    fitted = fit(train)
    chances = fitted.predict_proba(viewed.features[test, :predict_views])
    predicted = fitted.classes_[chances.argmax(axis=1)]
    expected = score(data.labels[test], predicted, chances, fitted.classes_, training_counts=training.training_counts)
    assert training.scores.n == len(test) == 31 and training.scores.accuracy == expected.accuracy
    assert training.scores.log_loss == pytest.approx(expected.log_loss, rel=1e-6)
    assert sum(training.training_counts) == len(train) == 73
    cv_scores = []
    for inside, outside in folds(data.labels, copies_of(data), 3, 1):
        found = fit(inside).predict(viewed.features[outside, :predict_views])
        cv_scores.append(np.mean(found == data.labels[outside]))
    assert training.cv_scores == pytest.approx(cv_scores)


def copies_of(data: Dataset) -> np.ndarray:
    return data.duplicates()[0]


def test_views_under_the_datas_own_split_decide_about_validation_pictures_too(viewed: Dataset) -> None:
    numbers = np.arange(len(viewed.labels)) % 8
    parts = np.where(numbers < 5, "train", np.where(numbers < 6, "validation", "test"))
    training = train_head(replace(viewed, parts=parts, views=2), "ridge", {}, refit=True)
    fitted = make_head("ridge").fit(viewed.features[parts == "train", :2], viewed.labels[parts == "train"])
    for part, found in (("validation", training.report()["validation_accuracy"]), ("test", training.scores.accuracy)):
        assert found == fitted.score(viewed.features[parts == part], viewed.labels[parts == part])
    everything = make_head("ridge").fit(viewed.features[:, :2], viewed.labels)
    np.testing.assert_allclose(training.estimator.coef_, everything.coef_)


def test_random_labels_score_at_chance_whatever_the_views(viewed: Dataset) -> None:
    labels = np.random.default_rng(0).choice(["heads", "tails"], len(viewed.labels))
    training = train_head(replace(viewed, labels=labels), "knn", {"n_neighbors": 1}, cv=5, search=True, test_size=0.4)
    assert all(row["accuracy"] < 0.65 for row in training.search_table)
    assert training.scores.accuracy < 0.7 and np.mean(training.cv_scores) < 0.65


def test_features_without_the_views_are_refused(viewed: Dataset) -> None:
    with pytest.raises(ValueError, match="not of 4 views"):
        train_head(replace(viewed, features=viewed.features[:, 0]), "centroid", {})


# ---- a search picks by pictures


@pytest.mark.parametrize(
    ("name", "params", "views", "predict_views"),
    [("logreg", {"tol": 1e-5}, 4, 1), ("svm", {"tol": 1e-5}, 1, 3), ("ridge", {}, 3, 3)],
)
def test_a_path_is_as_accurate_as_single_fits(
    name: str, params: dict[str, Any], views: int, predict_views: int, viewed: Dataset
) -> None:
    y = viewed.labels
    fitted_on, scored = viewed.features[:, :views], viewed.features[:, :predict_views]
    estimator = make_head(name, params)
    assert isinstance(estimator, PathHead) and estimator.walked is not None
    values = search_grid(name)[estimator.walked][::3]
    splits = [*StratifiedKFold(3).split(y, y)]
    most = viewed.features[:, : max(views, predict_views)]
    answers = estimator.path_probabilities(most, y, values, splits, views, predict_views)
    found = held_out_scores(answers, len(values), y, splits)[1]
    for value, accuracies in zip(values, found, strict=True):
        for (train, test), accuracy in zip(splits, accuracies, strict=True):
            fitted = clone(estimator).set_params(**{estimator.walked: value}).fit(fitted_on[train], y[train])
            # One picture more or less: what is mixed by its views' probabilities depends on the temperature.
            assert accuracy == pytest.approx(fitted.score(scored[test], y[test]), abs=1.01 / len(test))


def test_a_search_fit_by_fit_decides_by_the_views_that_are_scored(viewed: Dataset) -> None:
    X, y = viewed.features, viewed.labels
    groups = duplicate_groups(viewed.digests)
    chosen, best, table = search_head("knn", {"temperature": 0.07}, 0, X, y, Grouping(groups), 3, 1)
    assert len(chosen.rows_) == 3 * len(y)
    splits = folds(y, groups, 5, 0)
    for row in table:
        estimator = make_head("knn", row["params"] | {"temperature": 0.07})
        found = [clone(estimator).fit(X[train, :3], y[train]).score(X[test, 0], y[test]) for train, test in splits]
        assert row["accuracy"] == pytest.approx(np.mean(found))
    assert [row["params"] for row in table if row["chosen"]] == [best]


@pytest.mark.parametrize(("views", "predict_views"), [(1, 1), (3, 1), (1, 3)])
def test_training_searches_by_the_views_that_are_fitted_on_and_scored(
    views: int, predict_views: int, viewed: Dataset
) -> None:
    parts = np.where(np.arange(len(viewed.labels)) % 8 < 7, "train", "test")
    data = with_views(replace(viewed, parts=parts), views, predict_views)
    training = train_head(data, "ridge", {}, search=True)
    train = parts == "train"
    X, y, groups = data.features[train], data.labels[train], duplicate_groups(data.digests[train])
    counts = (views, predict_views) if X.ndim == 3 else ()
    fitted, best, table = search_head("ridge", {}, 0, X, y, Grouping(groups), *counts)
    assert training.search_table == table and training.head_params == best
    np.testing.assert_array_equal(training.estimator.coef_, fitted.coef_)


# ---- a saved head


def test_a_saved_head_is_scored_on_the_views_of_pictures_that_it_was_not_trained_on(
    viewed: Dataset, cache_dir: str, tmp_path: Path
) -> None:
    training = train_head(viewed, "logreg", {}, test_size=0.5)
    model = str(tmp_path / "m.joblib")
    save(model, training.estimator, training.trained_on, RECORD | {"training_counts": training.training_counts})
    scores, _, about = evaluate_head(load(model), replace(viewed, views=1), cache_dir, Plan())
    left_out = about["left_out_files"]
    assert scores.n == training.scores.n == len(viewed.labels) - len(left_out)
    assert (scores.accuracy, scores.log_loss) == pytest.approx((training.scores.accuracy, training.scores.log_loss))

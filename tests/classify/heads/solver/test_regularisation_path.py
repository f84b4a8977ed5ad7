"""A search along a path finds what single fits find, from one decomposition; coordinates change no distance."""

import warnings
from typing import Any

import numpy as np
import pytest
from helpers.real_features import Data, with_products
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import classify.heads.base
import classify.heads.solver.descent
import classify.heads.solver.whitening
from classify.data.grouping import Grouping
from classify.heads.head_table import make_head, search_grid
from classify.heads.solver.descent import Descent
from classify.heads.solver.losses import SoftmaxLoss, SquaredHingeLoss
from classify.heads.solver.regularisation_path import PathHead
from classify.heads.solver.whitening import coordinates
from classify.hyperparameter_search import held_out_scores, search_head

WALKING = [("logreg", {}), ("svm", {}), ("ridge", {}), ("logreg", {"normalize": "standard"})]


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """The first arguments of the calls of a function that goes on doing what it does."""
    calls, function = [], getattr(module, name)

    def count(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[0])
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, count)
    return calls


def planes_of_search(name: str, data: Data, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """All planes that a search starts from and finds."""
    planes, minimum = [], Descent.minimum

    def watched(self: Descent, start: np.ndarray, tol: float, max_iter: int) -> Any:
        fit = minimum(self, start, tol, max_iter)
        planes.extend([start, fit.planes])
        return fit

    monkeypatch.setattr(Descent, "minimum", watched)
    search_head(name, {}, 0, *data, Grouping(np.arange(len(data[0]))))
    return planes


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("uncorrelated", [False, True])
def test_coordinates_keep_distances_and_lead_back(textures: Data, wide: bool, free: bool, uncorrelated: bool) -> None:
    X = with_products(textures[0][:100]) if wide else textures[0]
    X = np.concatenate([X, X[:3]])  # copies are no obstacle
    points = coordinates(X, free_intercept=free, uncorrelated=uncorrelated, dtype=np.float64)
    assert points.rows.shape[1] <= (len(X) if wide else X.shape[1]) + 1
    between = np.linalg.norm(X[:, None] - X.astype(np.float64), axis=2)
    np.testing.assert_allclose(np.linalg.norm(points.rows[:, None] - points.rows, axis=2), between, atol=1e-7)
    np.testing.assert_allclose(points.spread, (points.rows**2).mean(axis=0))
    if uncorrelated:
        products = points.rows.T @ points.rows
        np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-10 * len(X))
    planes = points.rows.T @ np.random.default_rng(0).normal(size=(len(X), 3))
    coef, intercept = points.hyperplanes(planes)
    np.testing.assert_allclose(X @ coef.T + intercept, points.rows @ planes, atol=1e-8)
    length = np.linalg.norm(planes * points.penalised[:, None], axis=0)
    found = np.linalg.norm(coef if free else np.column_stack([coef, intercept]), axis=1)
    np.testing.assert_allclose(found, length, rtol=1e-6)


def test_many_columns_stay_as_they_are_and_the_optimum_is_the_same(
    textures: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = with_products(textures[0][:100]), textures[1][:100]
    turned = make_head("logreg", {"tol": 1e-6}).fit(X, y)
    monkeypatch.setattr(classify.heads.solver.whitening, "MOST_TURNED", 50)
    eigenvectors = counted(monkeypatch, classify.heads.solver.whitening, "eigh")
    straight = make_head("logreg", {"tol": 1e-6}).fit(X, y)
    assert not eigenvectors and straight.n_iter_ > turned.n_iter_
    np.testing.assert_allclose(straight.coef_, turned.coef_, atol=1e-4 * np.abs(turned.coef_).max())


@pytest.mark.parametrize(("name", "loss"), [("logreg", SoftmaxLoss), ("svm", SquaredHingeLoss)])
def test_fits_along_a_path_are_those_of_each_value_alone(textures: Data, name: str, loss: type) -> None:
    X, y = textures
    labels = np.unique(y, return_inverse=True)[1]
    points = coordinates(X, free_intercept=loss is SoftmaxLoss, uncorrelated=True, dtype=np.float64)
    head, cost = make_head(name, {"tol": 1e-6}), loss(labels, np.ones(len(X)))
    values = [0.1, 1.0, 10.0, 20.0, 1000.0]
    for C, fit in zip(values, head._walk(points, points.rows, labels, np.ones(len(X)), values), strict=True):
        alone = Descent(points.rows, points.spread, cost, points.penalised / C).minimum(0 * fit.planes, 1e-6, 1000)
        assert fit.converged and alone.converged
        apart = np.linalg.norm((fit.planes - alone.planes) * points.penalised[:, None])
        assert apart < 1e-5 * np.linalg.norm(alone.planes)


@pytest.mark.parametrize(("name", "params"), WALKING)
def test_a_path_scores_as_a_grid_search(name: str, params: dict, digits: Data) -> None:
    X, y = digits
    estimator = make_head(name, params if name == "ridge" else params | {"tol": 1e-5})
    assert isinstance(estimator, PathHead) and estimator.walked is not None
    values = search_grid(name)[estimator.walked]
    shuffled = [values[number] for number in np.random.default_rng(0).permutation(len(values))]
    splits = [*StratifiedKFold(3).split(X, y)]
    answers = estimator.path_probabilities(X, y, shuffled, splits)
    losses, accuracies = held_out_scores(answers, len(values), y, splits)
    scoring = ["accuracy", "neg_log_loss"]
    searched = GridSearchCV(estimator, {estimator.walked: shuffled}, cv=splits, refit=False, scoring=scoring).fit(X, y)
    for found, score, apart in ((accuracies, "accuracy", 1.01 / 200), (losses, "neg_log_loss", 0.02)):
        results = [searched.cv_results_[f"split{number}_test_{score}"] for number in range(3)]
        np.testing.assert_allclose(found, np.column_stack(results), atol=apart)  # one digit in a fold of 200
    assert not hasattr(estimator, "classes_")


@pytest.mark.parametrize(("name", "decompositions"), [("logreg", 2), ("svm", 2), ("ridge", 0)])
def test_a_search_normalises_and_decomposes_once_and_its_refit_once(
    name: str, decompositions: int, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = digits
    eigenvectors = counted(monkeypatch, classify.heads.solver.whitening, "eigh")
    normalised = counted(monkeypatch, classify.heads.base, "normalized")
    search_head(name, {}, 0, X, y, Grouping(np.arange(len(X))))
    assert len(eigenvectors) == decompositions and len(normalised) == 2


def test_a_wide_ridge_search_factors_the_products_of_all_rows_once_and_its_refit_once(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = with_products(digits[0][:200, 20:40]), digits[1][:200]
    factored = counted(monkeypatch, classify.heads.solver.whitening, "dpstrf")
    search_head("ridge", {}, 0, X, y, Grouping(np.arange(len(X))))
    assert [products.shape for products in factored] == [(200, 200)] * 2


def test_standard_learns_its_scale_in_every_fold_anew(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = digits
    learnt = counted(monkeypatch, classify.heads.base, "moments")
    search_head("logreg", {"normalize": "standard"}, 0, X, y, Grouping(np.arange(len(X))))
    assert [len(rows) for rows in learnt] == [480] * 5 + [600]


def test_a_temperature_needs_no_further_decomposition(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    eigenvectors = counted(monkeypatch, classify.heads.solver.whitening, "eigh")
    make_head("svm").fit(*digits)
    assert len(eigenvectors) == 1


def test_warm_starts_and_coordinates_save_steps(digits: Data) -> None:
    X, y = digits
    labels = y.astype(int)
    points = coordinates(X / 100, free_intercept=True, uncorrelated=True, dtype=np.float32)
    values = search_grid("logreg")["C"]

    def steps(values: list[float]) -> int:
        fits = make_head("logreg", {"tol": 1e-3})._walk(points, points.rows, labels, np.ones(len(X)), values)
        return sum(fit.n_iter for fit in fits)

    walked, alone = steps(values), sum(steps([C]) for C in values)
    assert walked < 0.8 * alone


def test_the_whole_path_is_computed_in_float32(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {array.dtype for name in ("logreg", "svm") for array in planes_of_search(name, digits, monkeypatch)}
    assert classes == {np.dtype(np.float32)}


def test_an_rbf_machine_is_searched_fit_by_fit(digits: Data) -> None:
    X, y = digits[0][:150], digits[1][:150]
    estimator, best, table = search_head("svm", {"kernel": "rbf"}, 0, X, y, Grouping(np.arange(150)))
    assert estimator.kernel == "rbf" and len(table) == len(search_grid("svm")["C"]) and best["C"] == estimator.C


def test_extreme_values_stay_finite(digits: Data) -> None:
    X, y = digits
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("logreg", "svm"):
            for C, scale, normalize in ((1e-6, 1, "l2"), (1e5, 1, "l2"), (1, 1e-3, "none"), (1, 1, "none")):
                fitted = make_head(name, {"C": C, "normalize": normalize}).fit(X[:150] * scale, y[:150])
                assert np.isfinite(fitted.coef_).all() and np.isfinite(fitted.predict_proba(X * scale)).all()

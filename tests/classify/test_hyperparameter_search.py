"""A search on easy pictures does not spoil probabilities, and goes by whatever scikit-learn can score."""

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from helpers.real_features import Data, textures
from sklearn.metrics import get_scorer_names, log_loss
from sklearn.model_selection import ParameterGrid

import pipeline
from cache.errors import UserError
from classify.data.grouping import Grouping
from classify.heads.head_table import HEADS, make_head, search_grid
from classify.hyperparameter_search import held_out_scores, nearest_of_best, search_head
from classify.scoring.scorers import check_scoring, score_by

MOBILENET = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
WALKING_AND_NOT = ["logreg", "ridge", "svm", "knn", "centroid"]


@pytest.fixture
def easy() -> tuple[Data, Data]:
    """Crops of brick and gravel, which every head tells apart: 60 to search with, 60 to score."""
    X, y = textures()
    two = np.flatnonzero(np.isin(y, ("brick", "gravel")))
    return (X[two[:60]], y[two[:60]]), (X[two[60:]], y[two[60:]])


@pytest.mark.parametrize("head", ["logreg", "sgd", "svm", "ridge", "knn", "centroid"])
def test_where_all_candidates_are_right_the_probabilities_stay_as_good(head: str, easy: tuple[Data, Data]) -> None:
    (X, y), (unseen, truth) = easy
    plain = make_head(head).fit(X, y)
    searched, _, table = search_head(head, {}, 0, X, y, Grouping(np.arange(len(X))))
    assert max(row["accuracy"] for row in table) == 1
    losses = [log_loss(truth, estimator.predict_proba(unseen)) for estimator in (searched, plain)]
    assert losses[0] < 1.1 * losses[1] + 0.005


@pytest.mark.parametrize("head", ["logreg", "sgd", "knn"])
def test_fox_against_walrus_is_no_worse_with_a_search(head: str, shared: Path, tmp_path: Path) -> None:
    """Accuracy is 1 for every candidate: the first of them gave a log loss of 0.53, 0.21 and 0.18."""
    data = tmp_path / "data"
    for name in ("arctic_fox", "walrus"):
        (data / name).mkdir(parents=True)
        for path in sorted((shared / "images" / "arctic_wildlife" / "train" / name).iterdir())[:60]:
            (data / name / path.name).symlink_to(path)
    options: dict[str, Any] = {
        "backbone": "mobilenet_v2",
        "weights": str(shared / "weights" / MOBILENET),
        "cache_dir": str(tmp_path / "cache"),
        "model": str(tmp_path / "m.joblib"),
    }
    plain, searched = (pipeline.train(str(data), head, search=search, **options) for search in (False, True))
    assert plain["accuracy"] == searched["accuracy"] == 1
    assert searched["log_loss"] < 1.1 * plain["log_loss"] + 0.005


# ---- what a search goes by


@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro", "neg_brier_score", "roc_auc_ovr"])
@pytest.mark.parametrize("head", WALKING_AND_NOT)
def test_any_scorer_of_classifiers_decides(head: str, scoring: str, digits: Data) -> None:
    X, y = digits[0][:200], digits[1][:200].astype(str)
    _, best, table = search_head(head, {}, 0, X, y, Grouping(np.arange(200)), scoring=scoring)
    (chosen,) = [row for row in table if row["chosen"]]
    assert chosen["params"] == best
    assert all(len(row["scores"]) == 5 and np.isfinite(row["scores"]).all() for row in table)
    if scoring == "accuracy":
        assert all(row["score"] == row["accuracy"] for row in table)


def test_scorers_of_something_else_are_refused_in_one_line() -> None:
    usable = {2: set(), 3: set()}
    for count, names in usable.items():
        labels = [str(number) for number in range(count)] * 3  # numbers, which regressions would take
        for name in get_scorer_names():
            try:
                check_scoring(name, labels)
                names.add(name)
            except UserError as error:
                assert "\n" not in str(error) and repr(name) in str(error) and f"{count} classes" in str(error)
    always = {"accuracy", "neg_log_loss", "neg_brier_score", "balanced_accuracy", "f1_macro", "roc_auc_ovr"}
    assert always <= usable[2] & usable[3]
    assert {"roc_auc"} <= usable[2] - usable[3]
    assert not {"r2", "neg_mean_squared_error", "rand_score", "f1_samples"} & (usable[2] | usable[3])
    for name, meant in (("acuracy", "did you mean accuracy"), ("log_loss", "neg_log_loss"), (None, "None")):
        with pytest.raises(UserError, match=f"unknown scoring .*{meant}"):
            check_scoring(name, labels)  # type: ignore[arg-type]


def test_a_class_without_a_picture_in_a_fold_is_no_obstacle() -> None:
    classes, truth = np.array(["a", "b", "c"]), np.array(["a", "b", "a"])
    given = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.2, 0.2]])
    assert score_by("neg_log_loss", classes, truth, given) == pytest.approx(np.log([0.8, 0.7, 0.6]).mean())
    assert score_by("top_k_accuracy", classes, truth, given) == score_by("accuracy", classes, truth, given) == 1
    assert np.isnan(score_by("roc_auc_ovr", classes, truth, given))


@pytest.mark.parametrize("head", ["logreg", "ridge", "svm"])
@pytest.mark.parametrize("missing", ["brick", "gravel"])  # the first of the classes, and the last
def test_a_class_may_be_missing_among_training_or_held_out_pictures(
    head: str, missing: str, textures: Data, caplog: pytest.LogCaptureFixture
) -> None:
    X, y = textures[0][:120], textures[1][:120]
    of_class = np.flatnonzero(y == missing)
    others = np.flatnonzero(y != missing)
    splits = [
        (np.concatenate([of_class, others[:40]]), others[40:]),  # nothing of it is held out
        (others[:40], np.concatenate([of_class, others[40:]])),  # nothing of it is trained on
        (np.concatenate([of_class[5:], others[40:]]), np.concatenate([of_class[:5], others[:40]])),
    ]
    estimator = make_head(head)
    values = search_grid(head)[estimator.walked]  # type: ignore[attr-defined]
    answers = [*estimator.path_probabilities(X, y, values, splits)]  # type: ignore[attr-defined]
    for fold, _, found in answers:
        assert found.shape == (len(splits[fold][1]), 4)
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert fold != 1 or not found[:, np.unique(y) == missing].any()
    losses, accuracies = held_out_scores(answers, len(values), y, splits)
    assert np.isfinite(losses).all() and accuracies[:, 0].max() > 0.9
    with caplog.at_level(logging.WARNING, "bottleneck"):
        areas, _ = held_out_scores(answers, len(values), y, splits, "roc_auc_ovr")
    assert (
        np.isnan(areas[:, 0]).all() and np.isfinite(areas[:, 2]).all() and "not defined in 1 of 3 folds" in caplog.text
    )
    with pytest.raises(UserError, match="not defined in any fold"):
        held_out_scores([a for a in answers if a[0] == 0], len(values), y, splits[:1], "roc_auc_ovr")


# ---- which of the best is taken


@pytest.mark.parametrize("head", HEADS)
def test_the_defaults_are_candidates(head: str) -> None:
    grid = search_grid(head)
    defaults = make_head(head).get_params()
    assert all(defaults[name] in values for name, values in grid.items())
    candidates = [*ParameterGrid(grid)]
    equal = np.ones((len(candidates), 5))
    taken = candidates[nearest_of_best(candidates, equal, grid, defaults)]
    assert taken == {name: defaults[name] for name in grid}


def test_the_nearest_within_a_standard_error_of_the_best_is_taken() -> None:
    grid = {"a": [1, 2, 3, 4], "b": [None, "x"]}
    candidates = [*ParameterGrid(grid)]
    wide = np.array([-0.2, 0.2, -0.1, 0.1])  # standard error of the mean: 0.091
    means = {(1, None): 0.9, (2, "x"): 0.83, (3, None): 0.84, (3, "x"): 0.7}
    scores = np.array([means.get((one["a"], one["b"]), 0.0) + wide for one in candidates])
    defaults = {"a": 3, "b": "x"}
    assert candidates[nearest_of_best(candidates, scores, grid, defaults)] == {"a": 3, "b": None}  # as near, better
    scores[:, 0] = np.nan  # a fold that does not count
    assert candidates[nearest_of_best(candidates, scores, grid, defaults)] == {"a": 3, "b": None}
    narrow = np.array([means.get((one["a"], one["b"]), 0.0) + wide / 10 for one in candidates])
    assert candidates[nearest_of_best(candidates, narrow, grid, defaults)] == {"a": 1, "b": None}


# ---- as a command


def test_the_scorer_is_named_wherever_the_search_is_shown(
    run: Callable[..., tuple[int, str, str]], surfaces: Path, warm_cache: Path, tmp_path: Path
) -> None:
    words = ("train", "--data", surfaces, "--cache-dir", warm_cache, "--backbone", SPEC["backbone"], "--head", "ridge")
    words += ("--model", tmp_path / "m.joblib", "--json", tmp_path / "r.json")
    status, out, _ = run(*words, "--search", "--scoring", "f1_macro")
    assert status == 0 and "scored by f1_macro" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["scoring"] == "f1_macro" and all("score" in row and "accuracy" in row for row in report["search"])
    with open(tmp_path / "m.search.csv", newline="") as file:
        assert {row["scoring"] for row in csv.DictReader(file)} == {"f1_macro"}
    for scoring in ("roc_auc", "r2", "nonsense"):
        status, _, err = run(*words, "--search", "--scoring", scoring)
        assert status == 2 and err.count("error:") == 1 and repr(scoring) in err and "Traceback" not in err
    status, _, err = run(*words, "--scoring", "accuracy")
    assert status == 0 and "give --search" in err


def test_a_comparison_goes_by_the_scorer(surfaces: Path, warm_cache: Path) -> None:
    options: dict[str, Any] = {"heads": ["ridge", "knn", "centroid"], "folds": 2, "cache_dir": str(warm_cache)}
    report = pipeline.compare(str(surfaces), scoring="neg_brier_score", **options)
    scores = [line["score"] for line in report["lines"]]
    assert report["order"] == report["scoring"] == "neg_brier_score" and scores == sorted(scores, reverse=True)
    with pytest.raises(UserError, match="'roc_auc' cannot be used with labels of 3 classes"):
        pipeline.compare(str(surfaces), scoring="roc_auc", **options)

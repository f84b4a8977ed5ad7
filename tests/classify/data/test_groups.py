"""Copies of one picture never part inside a head: not to stop early, not to fit probabilities."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from helpers.datasets import dataset
from helpers.real_features import Data
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, GroupKFold

import classify.fit
import classify.heads.dense.dense_head
import classify.heads.finetune.finetune_head
import classify.heads.solver.regularisation_path
import classify.heads.svm
import classify.scoring.out_of_fold
import classify.train
import pipeline
from cache.signatures import SIDE
from classify.data.dataset import Dataset
from classify.data.inner_split import held_out_rows, hold_several
from classify.data.split import copies_by_first
from classify.heads.calibrated import out_of_fold_temperature
from classify.heads.head_table import HEADS, make_head
from classify.train import train_head

seeds = st.integers(0, 2**32 - 1)
ON_ROWS = [name for name, row in HEADS.items() if not row.maps]
# Heads with a temperature, and parameters with which they find the same planes where every row is there twice: twice
# the rows weigh twice as much against the penalty.
CALIBRATED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("svm", {"C": 0.5}, {"C": 0.25}),
    ("svm", {"C": 3.0, "kernel": "rbf"}, {"C": 1.5, "kernel": "rbf"}),
    ("ridge", {"alpha": 0.1}, {"alpha": 0.2}),
    ("centroid", {}, {}),
]


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) of 2 to 4 classes, all of which occur twice, and groups (n,); copies may contradict each other."""
    labels = draw(st.lists(st.integers(0, 3), min_size=1, max_size=30))
    codes = np.unique([*labels, *labels, 0, 0, 1, 1], return_inverse=True)[1]
    groups = draw(st.lists(st.integers(-3, 12), min_size=len(codes), max_size=len(codes)))
    return np.array(draw(st.permutations(codes.tolist()))), np.array(groups)


def drawn_by_picture(labels: np.ndarray, fraction: float, random: np.random.RandomState) -> np.ndarray:
    """What is held out where no picture is a copy: the draw that models and published figures rest on."""
    mask = np.zeros(len(labels), bool)
    for label in range(labels.max() + 1):
        members = random.permutation(np.flatnonzero(labels == label))
        mask[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    return mask


def doubled(data: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and labels with a copy of each, and groups that say so."""
    X, y = data
    return np.concatenate([X, X]), np.concatenate([y, y]), np.tile(np.arange(len(X)), 2)


# ---- what is held out to stop by


@settings(max_examples=100)
@given(pictures(), st.floats(0, 0.99), seeds)
def test_what_is_held_out_is_whole_groups_and_a_share_of_each_class(
    drawn: tuple[np.ndarray, np.ndarray], fraction: float, seed: int
) -> None:
    labels, groups = drawn
    mask = held_out_rows(labels, copies_by_first(groups, len(labels)), fraction, np.random.RandomState(seed))
    assert not set(groups[mask]) & set(groups[~mask])
    assert set(labels[~mask]) == set(labels)
    if hold_several(labels, groups):  # the share is of all classes together: see test_group_split
        return
    agreeing = [group for group in set(groups) if len(set(labels[groups == group])) == 1]
    for label in set(labels):
        sizes = [int((groups == group).sum()) for group in agreeing if label in labels[groups == group]]
        share, held_out = round(fraction * sum(sizes)), int((mask & (labels == label)).sum())
        if sizes and min(sizes) > max(share, 1) - 1 > -1 and {*sizes} != {1}:  # all may be too large to be copies
            return
        assert held_out <= share
        if set(sizes) == {1}:
            assert held_out == min(share, len(sizes) - 1)


@settings(max_examples=50)
@given(pictures(), st.floats(0, 0.99), seeds, st.randoms())
def test_without_copies_the_draw_and_its_random_numbers_are_those_by_picture(
    drawn: tuple[np.ndarray, np.ndarray], fraction: float, seed: int, shuffled: Any
) -> None:
    labels, _ = drawn
    names = shuffled.sample(range(1000), len(labels))
    one, other = np.random.RandomState(seed), np.random.RandomState(seed)
    for groups in (None, names, [str(name) for name in names]):
        found = held_out_rows(labels, copies_by_first(groups, len(labels)), fraction, one)
        np.testing.assert_array_equal(found, drawn_by_picture(labels, fraction, other))
    assert one.randint(2**31) == other.randint(2**31)


def test_planted_copies_hold_out_the_same_pictures(textures: Data) -> None:
    _, labels, groups = doubled((textures[0], np.unique(textures[1], return_inverse=True)[1]))
    once = held_out_rows(labels[:240], np.arange(240), 0.1, np.random.RandomState(0))
    twice = held_out_rows(labels, copies_by_first(groups, 480), 0.1, np.random.RandomState(0))
    np.testing.assert_array_equal(twice, np.tile(once, 2))
    assert once.sum() == 24


# ---- the folds of a temperature


@settings(max_examples=100)
@given(pictures(), seeds)
def test_the_folds_of_a_temperature_never_part_a_group(drawn: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    labels, groups = drawn
    by_first = copies_by_first(groups, len(labels))
    assume(np.bincount(labels).max() > 1)
    free = {group for group in by_first if not any(set(by_first[labels == label]) == {group} for label in labels)}
    decided = np.zeros(len(labels), int)

    def decide(train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        decided[held_out] += 1
        assert sorted([*train, *held_out]) == list(range(len(labels)))
        assert set(labels[train]) == set(labels)
        if len(free) > 1:  # else all pictures are taken for different ones
            assert not set(groups[train]) & set(groups[held_out])
        return np.eye(max(labels) + 1)[labels[held_out]]

    out_of_fold_temperature(decide, labels, by_first, np.ones(len(labels)), seed)
    assert decided.max() == 1 and (len(free) < 2 or not (decided & ~np.isin(by_first, [*free])).any())


@pytest.mark.parametrize(("name", "params", "of_twice"), CALIBRATED)
def test_copies_do_not_make_probabilities_surer(
    name: str, params: dict[str, Any], of_twice: dict[str, Any], digits: Data
) -> None:
    once = digits[0][:200], digits[1][:200]
    X, y, groups = doubled(once)
    expected = make_head(name, params).fit(*once).temperature_
    assert make_head(name, of_twice).fit(X, y, groups=groups).temperature_ == pytest.approx(expected, rel=1e-3)
    assert make_head(name, of_twice).fit(X, y).temperature_ < 0.97 * expected


@pytest.mark.parametrize(("name", "params", "_"), CALIBRATED)
def test_a_class_of_copies_of_one_picture_is_trained_on_and_never_parted(
    name: str, params: dict[str, Any], _: dict[str, Any], digits: Data, caplog: pytest.LogCaptureFixture
) -> None:
    X, y = digits[0][:200], digits[1][:200].astype(str)
    groups = np.where(y == "7", -1, np.arange(200))
    fitted = make_head(name, params).fit(X, y, groups=groups)
    assert fitted.score(X, y) > 0.8
    assert not caplog.messages
    alone = make_head(name, params).fit(X, y, groups=np.unique(y, return_inverse=True)[1])
    (message,) = caplog.messages
    assert alone.score(X, y) > 0.8 and message.startswith("every class of the training pictures is in one group")


# ---- every head


@pytest.mark.parametrize("name", ON_ROWS)
def test_pictures_that_are_no_copies_are_fitted_as_without_groups(name: str, digits: Data) -> None:
    X, y = digits[0][:150], digits[1][:150]
    params = {"epochs": 3, "random_state": 0} if name == "dense" else {}
    plain = make_head(name, params).fit(X, y).predict_proba(X)
    for groups in (np.arange(150), [f"picture {number}" for number in range(150, 0, -1)]):
        np.testing.assert_array_equal(make_head(name, params).fit(X, y, groups=groups).predict_proba(X), plain)


@pytest.mark.parametrize("name", ON_ROWS)
def test_groups_of_another_number_of_pictures_are_refused(name: str, digits: Data) -> None:
    with pytest.raises(ValueError, match=r"groups .*\(599,\)"):
        make_head(name).fit(*digits, groups=np.arange(599))


# ---- what hands the groups down


def watch(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, seen: Callable[..., None]) -> None:
    """Let `seen` know the arguments and the result of each call of a function, which goes on as it is."""
    inner = getattr(place, name)

    def watched(*arguments: Any, **named: Any) -> Any:
        result = inner(*arguments, **named)
        seen(result, *arguments, **named)
        return result

    monkeypatch.setattr(place, name, watched)


@pytest.fixture
def re_encoded(photos: Path) -> Path:
    """Photographs with a JPEG copy of each beside it."""
    for path in sorted(photos.glob("*/*.png")):
        with Image.open(path) as picture:
            picture.save(path.with_name(f"{path.stem}.copy.jpg"), quality=90)
    return photos


@pytest.mark.parametrize(
    ("head", "module"),
    [("dense", classify.heads.dense.dense_head), ("finetune", classify.heads.finetune.finetune_head)],
    ids=["dense", "finetune"],
)
def test_no_copy_of_a_picture_held_out_inside_a_head_is_trained_on(
    head: str, module: Any, re_encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted_on: list[list[str]] = []
    masks: list[np.ndarray] = []
    inner = classify.fit.fit_on

    def fit_on(data: Dataset, rows: np.ndarray, *rest: Any, **named: Any) -> Any:
        fitted_on.append([Path(data.paths[row]).name for row in rows])
        return inner(data, rows, *rest, **named)

    for place in (classify.train, classify.scoring.out_of_fold):
        monkeypatch.setattr(place, "fit_on", fit_on)
    watch(monkeypatch, module, "held_out_rows", lambda mask, *_: masks.append(mask))
    quick = {"epochs": 1, "validation_fraction": 0.3}
    maps = {"layer": "down16", "views": 1} if head == "finetune" else {}
    report = pipeline.train(
        str(re_encoded),
        head,
        model=str(tmp_path / "model.joblib"),
        head_params=quick,
        cache_dir=str(tmp_path / "cache"),
        cv=2,
        refit=True,
        **(SPEC | maps),
    )
    assert report["images"] == 72 and len(masks) == len(fitted_on) == 1 + 2 + 1  # held out, folds, all of them
    for names, mask in zip(fitted_on, masks, strict=True):
        originals = np.array([name.split(".")[0] + "." + name.split(".")[1] for name in names])
        assert mask.any() and not set(originals[mask]) & set(originals[~mask])


@pytest.mark.parametrize(("params", "fits"), [({"kernel": "rbf"}, 6 * 5 + 1 + 5), ({}, 1 + 5)])
def test_a_search_hands_its_groups_to_every_fit(
    params: dict[str, Any], fits: int, textures: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[np.ndarray] = []
    place = classify.heads.svm if params else classify.heads.solver.regularisation_path
    watch(monkeypatch, place, "out_of_fold_temperature", lambda *seen: handed.append(seen[3]))
    X, y, _ = doubled((textures[0][:120], textures[1][:120]))
    train_head(dataset(X, y.tolist()), "svm", params, search=True)
    assert len(handed) == fits
    for groups in handed:
        assert (np.bincount(groups)[np.unique(groups)] >= 2).all()


def test_what_is_fitted_on_an_own_training_part_does_not_depend_on_what_is_scored(digits: Data) -> None:
    """A scored picture that lies between two of them does not make these near-duplicates."""
    rows, labels = digits[0][:200], np.array([f"digit {number}" for number in digits[1][:200]])
    noise = np.random.default_rng(0).standard_normal(rows.shape).astype(np.float32) * rows.std(axis=0)
    parts = np.repeat(["train", "train", "test"], 200)
    random = np.random.default_rng(0)
    seen, turned = (random.normal(128, spread, (200, SIDE, SIDE, 3)) for spread in (25, 6))
    fitted, bridged = [], []
    for between in (0.5, -40.0):
        X = np.concatenate([rows + share * 0.4 * noise for share in (0.0, 1.0, between)])
        shown = [seen + share * 1.9 * (turned - 128) for share in (0.0, 1.0, between)]
        signatures = np.clip(np.concatenate(shown), 0, 255).astype(np.uint8)
        data = replace(dataset(X, np.tile(labels, 3).tolist()), parts=parts, signatures=signatures)
        groups = data.duplicates()[0][:400]
        bridged.append(int((groups[:200] == groups[200:]).sum()))
        fitted.append(train_head(data, "svm", {}).estimator.temperature_)
    assert bridged[0] > bridged[1] + 20
    assert fitted[0] == fitted[1]


def test_a_report_hands_the_copies_that_it_finds_to_its_heads(
    re_encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[np.ndarray] = []
    for place, name, number in (
        (classify.heads.dense.dense_head, "held_out_rows", 2),
        (classify.heads.solver.regularisation_path, "out_of_fold_temperature", 3),
    ):
        watch(monkeypatch, place, name, lambda *seen, number=number: handed.append(seen[number]))
    model, cache = str(tmp_path / "model.joblib"), str(tmp_path / "cache")
    pipeline.train(str(re_encoded), "svm", model=model, cache_dir=cache, refit=True, **SPEC)
    handed.clear()
    pipeline.report(str(re_encoded), model, output=str(tmp_path / "report.html"), cache_dir=cache)
    whole = [groups for groups in handed if len(groups) > 50]
    assert len(whole) > 10  # five folds, each of them on the whole as well, and the curve by epoch
    for groups in whole:
        assert len(np.unique(groups)) == len(groups) / 2


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_picture_without_a_group_is_refused(textures: Data, missing: float | None) -> None:
    groups = [float(number) for number in range(239)]
    with pytest.raises(ValueError, match="the picture number 239 has no group"):
        make_head("centroid").fit(*textures, groups=[*groups, missing])


def test_metadata_routing_hands_groups_to_the_head_as_well(textures: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[np.ndarray] = []
    watch(monkeypatch, classify.heads.svm, "out_of_fold_temperature", lambda *seen: handed.append(seen[3]))
    X, y, groups = doubled((textures[0][:120], textures[1][:120]))
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(make_head("svm", {"kernel": "rbf"}), {"C": [1.0]}, cv=GroupKFold(2), refit=False)
        search.fit(X, y, groups=groups)
    assert len(handed) == 2
    for found in handed:
        assert (np.bincount(found)[np.unique(found)] == 2).all()

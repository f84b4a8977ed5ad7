"""Training on rows that stay on the disk: the model of rows in memory, each row read once an epoch, few at once."""

import logging
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from helpers import real_features
from helpers.storage.cached_rows import PROVENANCE, damage, keys
from helpers.storage.cached_rows import SPEC as STORED
from sklearn.base import clone

import cache.shard_file
import featurize.machine.memory
import pipeline
from cache.errors import UserError
from cache.shard_file import open_shard
from cache.signatures import BACKBONE as SIGNATURE
from cache.store import FeatureStore
from cache.stored_rows import PARTS, StoredRows
from classify.data.dataset import Dataset
from classify.heads.head_table import HEADS, make_head
from classify.train import train_head

STREAMING = [name for name, row in HEADS.items() if row.streams]
OTHERS = [name for name, row in HEADS.items() if not row.streams and not row.maps]
BLOCK_ROWS = 8
AT_ONCE = 120  # of 600
PARAMS: dict[str, dict[str, Any]] = {"sgd": {}, "dense": {"learning_rate": 0.01, "epochs": 30, "hidden": 32}}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredRows:
    """The digits, in the order of their classes, on the disk in 75 blocks of 8 rows."""
    X, y = real_features.digits()
    store = FeatureStore(str(tmp_path_factory.mktemp("digits")), STORED)
    order, digests = np.argsort(y, kind="stable"), keys(len(X))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cache.shard_file, "BLOCK_BYTES", BLOCK_ROWS * X[0].nbytes)
        for chosen in np.split(order, [200, 400]):
            store.commit(X[chosen], digests[chosen], PROVENANCE)
    return StoredRows(store, digests, PARTS * AT_ONCE * X[0].nbytes)


@pytest.fixture
def most_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows that the store was asked for."""
    counts: list[int] = []
    read = FeatureStore.read

    def counting(self: FeatureStore, digests: np.ndarray) -> np.ndarray:
        if self.spec.backbone != SIGNATURE:  # a tenth of a row
            counts.append(len(digests))
        return read(self, digests)

    monkeypatch.setattr(FeatureStore, "read", counting)
    return counts


@pytest.mark.parametrize("normalize", ["l2", "standard", "none"])
@pytest.mark.parametrize("head", STREAMING)
def test_the_model_is_nearly_that_of_rows_in_memory(
    head: str, normalize: str, stored: StoredRows, digits: real_features.Data, most_at_once: list[int]
) -> None:
    X, y = digits
    estimator = make_head(head, PARAMS[head] | {"normalize": normalize})
    in_memory, streamed = clone(estimator).fit(X[:400], y[:400]), estimator.fit(stored[:400], y[:400])
    chances = streamed.predict_proba(stored[400:])
    assert np.abs(chances - in_memory.predict_proba(X[400:])).mean() < 0.02
    assert (streamed.predict(stored[400:]) == y[400:]).mean() > (in_memory.predict(X[400:]) == y[400:]).mean() - 0.02
    np.testing.assert_allclose(chances, streamed.predict_proba(X[400:]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(chances, streamed.arrays().predict_proba(stored[400:]), rtol=0, atol=1e-12)
    if normalize == "standard":
        np.testing.assert_allclose(streamed.mean_, in_memory.mean_, rtol=1e-12)
        np.testing.assert_allclose(streamed.scale_, in_memory.scale_, rtol=1e-12)
    assert max(most_at_once) <= AT_ONCE + BLOCK_ROWS


@pytest.mark.parametrize(("normalize", "before"), [("l2", 1), ("standard", 2)])
def test_sgd_reads_each_block_once_an_epoch(
    normalize: str, before: int, stored: StoredRows, digits: real_features.Data, reads: Counter
) -> None:
    fitted = make_head("sgd", {"normalize": normalize, "max_iter": 7, "tol": 0.0})
    with pytest.warns(match="stopped after max_iter=7"):
        fitted.fit(stored, digits[1])
    # and a chunk of them before, to know how long the steps may be
    assert (
        len(reads) == 75 and set(reads.values()) <= {before + 7, before + 8} and sum(reads.values()) < 75 * (before + 8)
    )


def test_dense_reads_each_block_once_an_epoch(stored: StoredRows, digits: real_features.Data, reads: Counter) -> None:
    make_head("dense", {"epochs": 4, "validation_fraction": 0}).fit(stored, digits[1])
    assert len(reads) == 75 and set(reads.values()) == {1 + 4}
    reads.clear()
    make_head("dense", {"epochs": 4, "patience": 10}).fit(stored, digits[1])  # and once for what is held out
    assert len(reads) == 75 and set(reads.values()) <= {1 + 4, 2 + 4}


def test_dense_holds_out_no_more_than_it_may_hold(
    stored: StoredRows, digits: real_features.Data, most_at_once: list[int]
) -> None:
    make_head("dense", {"epochs": 1, "validation_fraction": 0.8}).fit(stored, digits[1])
    assert max(most_at_once) <= AT_ONCE + BLOCK_ROWS


@pytest.mark.parametrize("head", STREAMING)
def test_a_seed_decides_the_order_and_so_the_weights(head: str, stored: StoredRows, digits: real_features.Data) -> None:
    def weights(seed: int) -> np.ndarray:
        params = {"sgd": {"tol": 0.03}, "dense": {"epochs": 3}}[head]
        return make_head(head, params, seed).fit(stored, digits[1]).arrays().layers[0][0]

    assert np.array_equal(weights(3), weights(3)) and not np.array_equal(weights(3), weights(4))


@pytest.mark.parametrize("head", OTHERS)
def test_a_head_that_cannot_stream_does_not_read_everything_instead(
    head: str, stored: StoredRows, digits: real_features.Data, most_at_once: list[int]
) -> None:
    with pytest.raises((TypeError, AttributeError), match=r"StoredRows|rows stay on the disk"):
        make_head(head).fit(stored, digits[1])
    assert not most_at_once


def test_search_cross_validation_scoring_and_refit_hold_few_rows(
    stored: StoredRows, digits: real_features.Data, most_at_once: list[int]
) -> None:
    labels = digits[1].astype(str)
    data = Dataset(stored, labels, np.full(600, "all"), stored.digests, [str(number) for number in range(600)])
    params = {"tol": 0.05}
    training = train_head(data, "sgd", params, cv=3, search=True, refit=True)
    assert training.scores.accuracy > 0.85 and np.mean(training.cv_scores) > 0.85
    assert len(training.search_table) == 6 and len(training.trained_on) == 600
    assert max(most_at_once) <= AT_ONCE + BLOCK_ROWS
    in_memory = train_head(replace(data, features=digits[0]), "sgd", params)
    assert abs(training.scores.accuracy - in_memory.scores.accuracy) <= 0.05


# ---- whole runs, told that hardly any memory is free


@pytest.fixture
def cache_dir(surfaces: Path, tmp_path: Path) -> str:
    """36 rows of nano in shards of 8."""
    pipeline.features(str(surfaces), cache_dir=str(tmp_path / "cache"), shard_rows=8, **SPEC)
    return str(tmp_path / "cache")


@pytest.fixture
def hardly_any_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 100_000)


@pytest.mark.parametrize("head", STREAMING)
@pytest.mark.usefixtures("hardly_any_memory")
def test_train_evaluate_and_predict_stream_and_say_so(
    head: str, surfaces: Path, cache_dir: str, tmp_path: Path, most_at_once: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    model = str(tmp_path / f"{head}.joblib")
    with caplog.at_level(logging.INFO, "bottleneck"):
        report = pipeline.train(
            str(surfaces), head, model=model, cache_dir=cache_dir, head_params={"normalize": "standard"}, **SPEC
        )
    needed = {"sgd": "1.02 MB", "dense": "1.39 MB"}[head]
    assert [line for line in caplog.messages if "streamed" in line] == [
        f"the features of 36 images take 184 KB, {head} in memory {needed}, and 100 KB are free: they are streamed "
        "from the cache, 2 rows at once"
    ]
    assert report["accuracy"] > 0.8 and report["forward_passes"] == 0
    assert pipeline.evaluate(str(surfaces), model)["accuracy"] == report["accuracy"]
    found = pipeline.predict(str(surfaces), model, use_cache=True)
    assert (found == sorted(found)).mean() > 0.9
    assert max(most_at_once) <= 2 + 8


@pytest.mark.parametrize("head", OTHERS)
@pytest.mark.usefixtures("hardly_any_memory")
def test_other_heads_say_so_in_one_line(head: str, surfaces: Path, cache_dir: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        pipeline.train(str(surfaces), head, model=str(tmp_path / "m.joblib"), cache_dir=cache_dir, **SPEC)
    message = str(caught.value)
    assert message.startswith(f"the features of 36 images take 184 KB, {head} in memory ")
    assert message.endswith(f"and 100 KB are free: {head} cannot stream them, use HEAD=sgd or HEAD=dense")
    assert not os.path.exists(tmp_path / "m.joblib")


@pytest.mark.usefixtures("hardly_any_memory")
def test_an_rbf_kernel_could_be_linear(surfaces: Path, cache_dir: str) -> None:
    with pytest.raises(UserError, match=r"use HEAD=sgd or HEAD=dense, or kernel=linear$"):
        pipeline.train(str(surfaces), "svm", cache_dir=cache_dir, head_params={"kernel": "rbf"}, **SPEC)


@pytest.mark.usefixtures("hardly_any_memory")
def test_flattened_features_could_be_smaller(surfaces: Path, cache_dir: str) -> None:
    with pytest.raises(UserError, match=r"use HEAD=sgd or HEAD=dense, or POOLING=avg$"):
        pipeline.train(str(surfaces), "svm", cache_dir=cache_dir, **SPEC | {"pooling": "flatten"})


@pytest.mark.usefixtures("hardly_any_memory")
def test_damage_ends_a_run_in_one_line_and_the_next_one_computes_those_rows_alone(
    surfaces: Path, cache_dir: str, tmp_path: Path
) -> None:
    (folder,) = Path(cache_dir).glob("nano-*")
    path = str(sorted(folder.glob("*.h5"))[2])
    lost = len(open_shard(path))
    damage(path)
    run = {"model": str(tmp_path / "sgd.joblib"), "cache_dir": cache_dir, **SPEC}
    with pytest.raises(UserError, match="is damaged: run again, its rows alone are computed again"):
        pipeline.train(str(surfaces), "sgd", **run)
    report = pipeline.train(str(surfaces), "sgd", **run)
    assert (report["computed"], report["cached"]) == (lost, 36 - lost) and report["accuracy"] > 0.8

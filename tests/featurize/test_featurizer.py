"""The featurizer as scikit-learn uses it; the examples in its documentation run."""

import doctest
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SPEC
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import featurize.featurizer
from cache.errors import UserError
from featurize import Featurizer


@pytest.fixture
def featurizer(warm_cache: Path, tmp_path: Path) -> Featurizer:
    return Featurizer(cache_dir=str(shutil.copytree(warm_cache, tmp_path / "cache")), **SPEC)


@pytest.fixture
def paths(surfaces: Path) -> list[str]:
    return sorted(map(str, surfaces.rglob("*.png")))


def test_the_examples_run() -> None:
    found = doctest.testmod(featurize.featurizer)
    assert found.attempted and not found.failed


def test_a_table_of_one_column_becomes_a_table_of_features(featurizer: Featurizer, paths: list[str]) -> None:
    named = [f"featurizer{number}" for number in range(1280)]
    assert featurizer.get_feature_names_out().tolist() == named  # before a picture was seen
    index = pd.Index(range(100, 100 + len(paths)))
    pictures = pd.DataFrame({"picture": paths}, index=index)
    rows = featurizer.transform(paths)
    found = featurizer.set_output(transform="pandas").fit_transform(pictures)
    assert isinstance(found, pd.DataFrame) and found.index.equals(index) and found.columns.tolist() == named
    assert (found.to_numpy() == rows).all()
    with pytest.raises(UserError, match="a table of 2 columns"):
        featurizer.transform(pictures.assign(label="grass"))


def test_a_table_passes_a_pipeline_with_pandas_output(featurizer: Featurizer, paths: list[str]) -> None:
    labels = [Path(path).parent.name for path in paths]
    job = make_pipeline(featurizer, LogisticRegression(max_iter=1000)).set_output(transform="pandas")
    job.fit(pd.DataFrame({"picture": paths}), labels)
    assert job[:-1].get_feature_names_out()[0] == "featurizer0"
    assert job.score(pd.DataFrame({"picture": paths}), labels) > 0.9


def test_other_parameters_have_other_names(featurizer: Featurizer, paths: list[str]) -> None:
    featurizer.transform(paths[:1])
    flat = featurizer.set_params(pooling="flatten").get_feature_names_out()
    assert len(flat) == featurizer.transform(paths[:1]).shape[1] > 1280
    with pytest.raises(UserError, match="maps, which have no columns"):
        featurizer.set_params(pooling="none").get_feature_names_out()


def test_what_cannot_be_decoded_is_an_error_or_a_row_of_nan(
    featurizer: Featurizer, paths: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (broken := tmp_path / "broken.jpg").write_bytes(b"no picture")
    mixed = [paths[0], str(broken), paths[1]]
    with pytest.raises(UserError, match=r"1 of 3 images have no features, the first is .*broken.jpg"):
        featurizer.transform(mixed)
    rows = featurizer.set_params(errors="nan").transform(mixed)
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False] and "broken.jpg" in caplog.text
    assert (rows[[0, 2]] == featurizer.transform(paths[:2])).all()
    with pytest.raises(UserError, match="errors 'skip'"):
        featurizer.set_params(errors="skip").fit(mixed)

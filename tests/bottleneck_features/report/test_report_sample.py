"""A report of more pictures than are compared with each other: a sample, which it says."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.storage.cached_rows import filled, keys, rows

import bottleneck_features.report.sample
import featurize.machine.memory
import pipeline
from bottleneck_features.report.sample import sampled
from cache.errors import UserError
from cache.stored_rows import StoredRows
from classify.data.dataset import Dataset


def test_the_page_says_of_how_many_pictures_it_is(
    surfaces: Path,
    warm_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache, model, page = str(tmp_path / "cache"), str(tmp_path / "sgd.joblib"), tmp_path / "report.html"
    shutil.copytree(warm_cache, cache)
    count = pipeline.train(str(surfaces), "sgd", model=model, cache_dir=cache, backbone="nano")["images"]
    monkeypatch.setattr(bottleneck_features.report.sample, "MOST_IN_MEMORY", count - 1)
    monkeypatch.setattr(bottleneck_features.report.sample, "DRAWN", count - 6)
    with caplog.at_level("WARNING", "bottleneck"):
        findings = pipeline.report(str(surfaces), model, str(page), cache_dir=cache, heatmaps=False)
    assert len(findings.pictures) == count - 6
    assert f"of {count} pictures {count - 6} are here, drawn at random" in findings.scored
    assert findings.scored in page.read_text()
    assert f"the report is of {count - 6} pictures, drawn at random from {count}" in caplog.text


def test_rows_on_the_disk_are_sampled_as_far_as_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, count = filled(tmp_path, 400, 400), 800
    stored = StoredRows(store, keys(count), 10**6)
    labels = np.array(["cat", "dog"])[np.arange(count) % 2]
    data = Dataset(stored, labels, np.full(count, "all"), keys(count), [str(number) for number in range(count)])
    whole = sampled(data)  # 800 fit
    np.testing.assert_array_equal(whole.features, rows(count))
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 10**6)
    some = sampled(data)
    assert 100 <= len(some.labels) < 400 and isinstance(some.features, np.ndarray)
    chosen = [int(path) for path in some.paths]
    np.testing.assert_array_equal(some.features, rows(count)[chosen])
    np.testing.assert_array_equal(some.digests, keys(count)[chosen])
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 10**4)
    with pytest.raises(UserError, match="the rows of 800 pictures do not fit into memory, nor do 100 of them"):
        sampled(data)

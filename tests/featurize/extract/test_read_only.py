"""Caches that cannot be written: rows are served, missing ones are computed and not kept, and nothing is written."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import BUNDLED, REPOSITORY, SPEC
from helpers.other_user import folder_for_all, not_root, read_only, require_readable_code
from helpers.storage.cached_rows import damage, shards

import pipeline
from cache.digest_table import DigestTable, take_stamp
from cache.errors import UserError
from cache.row_key import content_digest
from featurize.extract.network_extractor import NetworkExtractor
from featurize.extract.writable import can_be_written
from featurize.featurizer import Featurizer


@pytest.fixture
def folder(surfaces: Path, warm_cache: Path) -> Iterator[Path]:
    """With a cache of `surfaces`, a model trained from it, and new pictures; every user may enter."""
    require_readable_code()
    with folder_for_all() as name:
        here = Path(name)
        shutil.copytree(warm_cache, here / "cache")
        shutil.copytree(surfaces, here / "surfaces")
        pipeline.train(str(surfaces), model=str(here / "m.joblib"), cache_dir=str(here / "cache"), **SPEC)
        (here / "new").mkdir()
        for picture in ("coffee.png", "rocket.jpg"):
            shutil.copy(BUNDLED / picture, here / "new")
        shutil.copy(here / "new" / "rocket.jpg", here / "new" / "same.jpg")
        (here / "new" / "damaged.jpg").write_bytes(b"no picture")
        for path in (here / "cache", here / "surfaces"):  # as pytest makes them, they are for one user
            os.chmod(path, 0o755)
        yield here


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all that is in a folder."""
    found = [*folder.rglob("*"), folder]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def test_cached_rows_are_served_without_a_word(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = everything(folder)
    with read_only(str(folder)), caplog.at_level(logging.INFO, "bottleneck"):
        classifier = pipeline.load(str(folder / "m.joblib"))
        labels = classifier.predict(str(folder / "surfaces"))
        assert classifier.extractor.when_missing == "compute" and classifier.extractor.forward_passes == 0
    assert len(labels) == 36 and caplog.messages == [] and everything(folder) == before


def test_missing_rows_are_computed_and_not_kept_which_is_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [str(path) for path in sorted((folder / "new").iterdir())] + [str(folder / "surfaces")]
    images = [*images[:-1], *sorted(map(str, (folder / "surfaces").rglob("*.png")))]
    before = everything(folder)
    with read_only(str(folder)), caplog.at_level(logging.INFO, "bottleneck"):
        classifier = pipeline.load(str(folder / "m.joblib"))
        found = classifier.predict_proba(images)
        assert classifier.extractor.forward_passes == 2  # rocket and its copy are one content
        again = classifier.predict_proba(images)
        table = classifier.top_k(images, 1)
    assert everything(folder) == before
    assert np.array_equal(found, again, equal_nan=True) and len(table) == len(images)
    assert np.isnan(found[1]).all() and np.isfinite(np.delete(found, 1, axis=0)).all()
    assert np.array_equal(found[2], found[3])
    assert len([message for message in caplog.messages if "cannot be written" in message]) == 1
    expected = pipeline.predict_proba(images, str(folder / "m.joblib"), cache_dir=str(folder / "other"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_evaluate_scores_from_it(folder: Path) -> None:
    (folder / "models").mkdir()
    for suffix in ("joblib", "json", "npz"):
        shutil.copy(folder / f"m.{suffix}", folder / "models")
    shutil.copytree(folder / "surfaces", folder / "more")
    shutil.copy(BUNDLED / "brick.png", folder / "more" / "brick" / "new.png")
    os.chmod(folder / "models", 0o777)
    os.chmod(folder / "more", 0o755)
    with read_only(str(folder / "cache")):
        report = pipeline.evaluate(str(folder / "more"), str(folder / "models" / "m.joblib"))
    assert (report["images"], report["computed"], report["cached"], report["forward_passes"]) == (37, 1, 36, 1)


def test_features_and_training_end_before_the_first_forward_pass(folder: Path) -> None:
    cache, model = str(folder / "cache"), str(folder / "out" / "m.joblib")
    (folder / "out").mkdir()
    (folder / "surfaces" / "brick" / "damaged.jpg").write_bytes(b"no picture")  # which lacks a row, and needs none
    os.chmod(folder / "out", 0o777)
    with read_only(cache):
        report = pipeline.features(str(folder / "surfaces"), cache_dir=cache, **SPEC)
        assert (report["cached"], report["failed"]) == (36, 1)
        assert pipeline.train(str(folder / "surfaces"), model=model, cache_dir=cache, **SPEC)["forward_passes"] == 0
        with pytest.raises(UserError, match=f"3 of 4 images lack rows in {cache}.*--cache-dir"):
            pipeline.features(str(folder / "new"), cache_dir=cache, **SPEC)
        with pytest.raises(UserError, match=r"37 of 37 images.*--cache-dir"):
            pipeline.train(str(folder / "surfaces"), model=model, cache_dir=cache, **SPEC | {"size": 64})


def test_a_damaged_shard_there_is_passed_over(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = pipeline.load(str(folder / "m.joblib"))
    expected = classifier.predict_proba(str(folder / "surfaces"))
    for shard in shards(classifier.extractor.store):
        damage(shard)
    before = everything(folder)
    with read_only(str(folder)):
        classifier = pipeline.load(str(folder / "m.joblib"))
        found = classifier.predict_proba(str(folder / "surfaces"))
    assert "passed over" in caplog.text and everything(folder) == before
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.fixture
def copies(folder: Path) -> list[str]:
    """Two files of one content that no row is of, known to the table of digests; nobody but root may read the first."""
    paths = [folder / "a.jpg", folder / "b.jpg"]
    for path in paths:
        shutil.copy(BUNDLED / "rocket.jpg", path)
    paths[0].chmod(0o600)
    time.sleep(0.1)  # a file is only believed to be unchanged if it was read some time after it was written
    table = DigestTable(str(folder / "cache"))
    digest = content_digest(paths[0].read_bytes())
    stamps = [take_stamp(str(path)) for path in paths]
    table.record([(str(path), stamp, digest) for path, stamp in zip(paths, stamps, strict=True) if stamp])
    return [str(path) for path in paths]


def test_a_file_that_cannot_be_read_does_not_fail_its_readable_copy(folder: Path, copies: list[str]) -> None:
    cache = str(folder / "cache")
    expected = pipeline.predict_proba(copies[1], str(folder / "m.joblib"), use_cache=False)
    with read_only(cache):
        classifier = pipeline.load(str(folder / "m.joblib"))
        assert classifier.extractor.when_missing == "compute"
        for use_cache in (None, True):
            found = classifier.predict_proba(copies, use_cache=use_cache)
            assert np.isnan(found[0]).all()
            np.testing.assert_allclose(found[1:], expected, rtol=0, atol=1e-6)
        assert "cannot be read" in classifier.top_k(copies, 1, reject=0.5)["reason"][0]
        with pytest.raises(UserError, match=f"1 of 2 images lack rows in {cache}"):
            classifier.extractor.run(copies)
        assert list(classifier.extractor.run(copies[:1]).reasons) == [0]
    with not_root():
        outcome, rows = NetworkExtractor(classifier.extractor.resolved, str(folder / "out")).complete(copies)
    assert list(outcome.reasons) == [0] and len(rows) == 1


def test_the_featurizer_does_without_writing(folder: Path) -> None:
    cache = str(folder / "cache")
    images = [str(folder / "new" / "coffee.png"), str(folder / "surfaces" / "brick" / "brick.0.png")]
    before = everything(folder)
    with read_only(str(folder)):
        rows = Featurizer(cache_dir=cache, **SPEC).transform(images)
    assert rows.shape == (2, 1280) and everything(folder) == before


def test_what_can_be_written(tmp_path: Path) -> None:
    assert can_be_written(str(tmp_path)) and can_be_written(str(tmp_path / "new" / "deeper"))
    with folder_for_all() as folder, read_only(folder):
        assert not can_be_written(folder) and not can_be_written(os.path.join(folder, "new"))
    (tmp_path / "dangling").symlink_to("nowhere")
    assert not can_be_written(str(tmp_path / "dangling"))


@pytest.mark.parametrize("cache", ["cache", "cache/absent"])
def test_the_command_on_a_read_only_mount(folder: Path, cache: str) -> None:
    """Whose graph is used where it is there, and kept in memory where it is not."""
    command = [sys.executable, "-m", "pipeline", "predict", "--model", "m.joblib", "--cache-dir", cache, "new"]
    mount = "mount --bind cache cache && mount -o remount,ro,bind cache || exit 99"
    before, has_graph = everything(folder), any(Path(folder, cache).glob("graphs/*/network.xml"))
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mount}; exec "$@"', "sh", *command],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"mounting is not possible here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 and done.stdout.count("rocket.jpg") == 1
    said = [line for line in done.stderr.splitlines() if "cannot be written" in line]
    assert len(said) == 1 and everything(folder) == before
    assert ("the converted graph is not kept" in done.stderr) == (not has_graph)

"""Joined backbones: each part as if it were alone, one row of all of them, and models that prove every part."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import BUNDLED
from helpers.models.model_records import edit
from helpers.other_user import folder_for_all, read_only, require_readable_code
from helpers.storage.cached_rows import damage, shards

import featurize.machine.memory
import pipeline
from cache.errors import UserError
from cache.joined_rows import JoinedStore
from cache.stored_rows import StoredRows
from classify.saved.persist import load
from featurize.featurizer import Featurizer

Run = Callable[..., tuple[int, str, str]]

LARGE: dict[str, Any] = {"backbone": "nano"}  # as `warm_cache` has it
SMALL: dict[str, Any] = {"backbone": "nano", "size": 64}
BOTH: dict[str, Any] = {"backbone": "nano+nano", "size": "+64"}


@pytest.fixture
def cache(warm_cache: Path, tmp_path: Path) -> str:
    """A cache with the rows of `surfaces` of the first part and not of the second."""
    return str(shutil.copytree(warm_cache, tmp_path / "cache"))


@pytest.fixture(scope="session")
def paths(surfaces: Path) -> list[str]:
    return sorted(map(str, surfaces.glob("*/*.png")))


@pytest.fixture(scope="session")
def both_cached(surfaces: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the rows of `surfaces` of both parts; for reading, or for a copy."""
    folder = shutil.copytree(warm_cache, tmp_path_factory.mktemp("both") / "cache")
    pipeline.features(str(surfaces), cache_dir=str(folder), **SMALL)
    return Path(folder)


@pytest.fixture
def warm(both_cached: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(both_cached, tmp_path / "warm"))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def alone(cache: str, paths: list[str], **options: Any) -> np.ndarray:
    return pipeline.open_extractor(cache, **options).features(paths)[1]


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    """The one line with which `call` refuses."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- rows ---


def test_a_row_is_the_parts_rows_each_of_length_one(warm: str, paths: list[str]) -> None:
    outcome, rows = pipeline.open_extractor(warm, **BOTH).features(paths)
    expected = np.concatenate([unit(alone(warm, paths, **part)) for part in (LARGE, SMALL)], axis=1)
    assert (rows.shape, rows.dtype, outcome.forward_passes) == ((36, 2560), np.float32, 0)
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    turned = pipeline.open_extractor(warm, backbone="nano+nano", size="64+96").features(paths)[1]
    np.testing.assert_array_equal(turned, np.roll(rows, 1280, axis=1))


def test_only_the_part_that_is_not_cached_is_computed(surfaces: Path, cache: str) -> None:
    stored = {path: path.read_bytes() for path in Path(cache).glob("nano-features-avg-96-*/*.h5")}
    report = pipeline.features(str(surfaces), cache_dir=cache, **BOTH)
    assert (report["images"], report["computed"], report["forward_passes"]) == (36, 36, 36)
    assert {path: path.read_bytes() for path in Path(cache).glob("nano-features-avg-96-*/*.h5")} == stored
    assert pipeline.features(str(surfaces), cache_dir=cache, **BOTH)["forward_passes"] == 0
    for part in (LARGE, SMALL):  # what was computed for the joined rows serves each part alone
        assert pipeline.features(str(surfaces), cache_dir=cache, **part)["forward_passes"] == 0


def test_nothing_of_its_own_is_stored(warm: str, paths: list[str]) -> None:
    before = sorted(os.listdir(warm))
    pipeline.open_extractor(warm, **BOTH).features(paths)
    assert sorted(os.listdir(warm)) == before


def test_without_the_cache_both_networks_are_passed(warm: str, paths: list[str]) -> None:
    extractor = pipeline.open_extractor(warm, **BOTH)
    expected = extractor.features(paths[:5])[1]
    bad = str(BUNDLED / "no such file.png")
    outcome, rows = extractor.without_cache([*paths[:3], bad, *paths[3:5]])
    assert (outcome.forward_passes, outcome.succeeded) == (10, [0, 1, 2, 4, 5])
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-6)
    outcome, rows = extractor.without_cache([bad])
    assert len(outcome.failures) == 1 and len(rows) == 0


def test_views_are_joined_view_by_view(warm: str, paths: list[str]) -> None:
    rows = alone(warm, paths[:4], views=3, **BOTH)
    expected = np.concatenate([unit(alone(warm, paths[:4], views=3, **part)) for part in (LARGE, SMALL)], axis=-1)
    assert rows.shape == (4, 3, 2560)
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_a_damaged_shard_costs_the_rows_of_its_part_alone(warm: str, paths: list[str]) -> None:
    extractor = pipeline.open_extractor(warm, **BOTH)
    expected = extractor.features(paths)[1]
    store = extractor.store
    assert isinstance(store, JoinedStore)
    damage(shards(store.parts[1])[0])
    outcome, rows = pipeline.open_extractor(warm, **BOTH).features(paths)
    assert outcome.forward_passes == 36
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-6)


def test_what_does_not_fit_into_memory_is_streamed(
    surfaces: Path, warm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(tmp_path / "m.joblib")
    options = {"cache_dir": warm, "head": "sgd", "model": model}
    accuracy = pipeline.train(str(surfaces), **options, **BOTH)["accuracy"]
    expected = pipeline.load(model).predict_proba(str(surfaces))
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 200_000)
    assert pipeline.train(str(surfaces), **options, **BOTH)["accuracy"] == accuracy
    np.testing.assert_allclose(pipeline.load(model).predict_proba(str(surfaces)), expected, atol=0.1)


def test_stored_rows_are_read_in_chunks_that_cover_every_row(warm: str, paths: list[str]) -> None:
    extractor = pipeline.open_extractor(warm, **BOTH)
    outcome, expected = extractor.features(paths)
    stored = StoredRows(extractor.store, outcome.keys, 8 * 10 * expected[0].nbytes)
    assert stored.shape == expected.shape and stored.nbytes == expected.nbytes
    np.testing.assert_array_equal(stored.apply(lambda rows: rows), expected)


def test_joined_rows_are_exported(surfaces: Path, warm: str, tmp_path: Path) -> None:
    output = str(tmp_path / "features.h5")
    assert pipeline.export(str(surfaces), output, cache_dir=warm, **BOTH) == (36, 0)
    with h5py.File(output) as file:
        np.testing.assert_array_equal(file["features"][:], alone(warm, list(file["paths"].asstr()[:]), **BOTH))
        assert [part["size"] for part in json.loads(file.attrs["spec"])["parts"]] == [[96, 96], [64, 64]]


def test_the_transformer_joins(warm: str, paths: list[str]) -> None:
    rows = Featurizer("nano+nano", size="+64", cache_dir=warm).transform(paths[:3])
    np.testing.assert_array_equal(rows, alone(warm, paths[:3], **BOTH))


# --- models ---


def test_a_model_is_trained_scored_loaded_and_asked(
    surfaces: Path, warm: str, paths: list[str], tmp_path: Path
) -> None:
    model = str(tmp_path / "m.joblib")
    report = pipeline.train(str(surfaces), model=model, cache_dir=warm, **BOTH)
    assert report["forward_passes"] == 0 and report["accuracy"] > 0.9
    assert pipeline.evaluate(str(surfaces), model)["accuracy"] == report["accuracy"]
    classifier = pipeline.load(model, no_pickle=True)
    assert classifier.extractor.cache_dir == warm
    new = str(BUNDLED / "coffee.png")
    expected = classifier.predict_proba([new, *paths])
    assert classifier.extractor.forward_passes == 2
    estimator = pipeline.load(model).saved.estimator
    np.testing.assert_allclose(estimator.predict_proba(alone(warm, paths, **BOTH)), expected[1:], atol=1e-5)
    np.testing.assert_allclose(classifier.predict_proba([new], use_cache=False), expected[:1], atol=1e-5)


def test_views_of_joined_backbones_train_and_predict(surfaces: Path, warm: str, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    report = pipeline.train(str(surfaces), model=model, cache_dir=warm, views=2, **BOTH)
    assert (report["forward_passes"], report["views"], report["predict_views"]) == (72, 2, 2)
    assert pipeline.evaluate(str(surfaces), model)["forward_passes"] == 0


def test_the_record_proves_every_part(surfaces: Path, warm: str, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    report = pipeline.train(str(surfaces), "centroid", model=model, cache_dir=warm, **BOTH)
    record = json.loads((tmp_path / "m.json").read_text())
    assert [part["size"] for part in record["spec"]["parts"]] == [[96, 96], [64, 64]]
    assert [place["kind"] for place in record["weights"]] == ["packaged", "packaged"]
    assert record["fingerprint"] == report["fingerprint"]
    turned = record["spec"] | {"parts": record["spec"]["parts"][::-1]}
    edit(model, spec=turned)
    assert record["fingerprint"] in refusal(pipeline.load, model)
    fingerprint = pipeline.open_extractor(warm, backbone="nano+nano", size="64+96").spec.fingerprint
    edit(model, spec=turned, fingerprint=fingerprint)  # all of the record agrees now: the model itself does not
    message = refusal(pipeline.load, model)
    assert fingerprint in message and record["fingerprint"] in message


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("spec", lambda record: record["spec"] | {"parts": record["spec"]["parts"][:1]}),
        ("spec", lambda record: record["spec"] | {"parts": record["spec"]["parts"][:1] * 2}),
        ("spec", lambda record: record["spec"] | {"parts": {}}),
        ("spec", lambda record: record["spec"] | {"joined": 2}),
        ("spec", lambda record: record["spec"] | {"joined": True}),
        ("spec", lambda record: record["spec"] | {"parts": [*record["spec"]["parts"], record["spec"]]}),
        ("spec", lambda record: {"parts": record["spec"]["parts"]}),
        ("spec", lambda record: record["spec"] | {"parts": [p | {"pooling": "none"} for p in record["spec"]["parts"]]}),
        ("weights", lambda record: record["weights"][:1]),
        ("weights", lambda record: record["weights"][0]),
        ("weights", lambda record: [*record["weights"], {"kind": "file", "path": "\0"}]),
        ("weights", lambda _: []),
    ],
)
def test_a_record_that_is_none_of_joined_backbones_is_refused(
    surfaces: Path, warm: str, tmp_path: Path, field: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), "centroid", model=model, cache_dir=warm, **BOTH)
    edit(model, **{field: change(json.loads((tmp_path / "m.json").read_text()))})
    assert f"{field!r} is missing or has no usable value" in refusal(load, model)


def test_a_model_of_one_backbone_has_one_place_of_weights(surfaces: Path, warm: str, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), "centroid", model=model, cache_dir=warm, **LARGE)
    edit(model, weights=[json.loads((tmp_path / "m.json").read_text())["weights"]])
    assert "'weights' is missing or has no usable value" in refusal(load, model)


def test_a_cache_that_cannot_be_written_serves_what_it_has(surfaces: Path, both_cached: Path) -> None:
    require_readable_code()
    with folder_for_all() as folder:
        cache, model = os.path.join(folder, "cache"), os.path.join(folder, "m.joblib")
        shutil.copytree(both_cached, cache)
        shutil.copy(BUNDLED / "coffee.png", folder)
        shutil.copytree(surfaces, os.path.join(folder, "surfaces"))
        for name in ("cache", "surfaces"):
            os.chmod(os.path.join(folder, name), 0o755)
        pipeline.train(str(surfaces), model=model, cache_dir=cache, **BOTH)
        images = [os.path.join(folder, "coffee.png"), os.path.join(folder, "surfaces")]
        expected = pipeline.load(model).predict_proba(images, use_cache=False)
        with read_only(folder):
            classifier = pipeline.load(model)
            found = classifier.predict_proba(images)
            assert classifier.extractor.forward_passes == 2
            message = refusal(pipeline.features, folder, cache_dir=cache, **BOTH)
            assert "1 of 37 images lack rows" in message
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cut", [None, "auto", "block_1"])
def test_finetune_takes_one_backbone(surfaces: Path, cache: str, tmp_path: Path, cut: str | None) -> None:
    model = str(tmp_path / "m.joblib")
    message = refusal(pipeline.train, str(surfaces), "finetune", model=model, cut=cut, cache_dir=cache, **BOTH)
    assert "nano+nano" in message and "one" in message


def test_the_commands_join(surfaces: Path, warm: str, tmp_path: Path, run: Run) -> None:
    asked = ("--backbone", "nano+nano", "--size", "+64", "--cache-dir", warm)
    model = str(tmp_path / "m.joblib")
    status, out, _ = run("train", "--data", surfaces, "--model", model, *asked)
    assert status == 0 and "forward passes 0" in out
    status, out, _ = run("evaluate", "--data", surfaces, "--model", model, *asked)
    assert status == 0 and "accuracy" in out
    picture = surfaces / "brick" / "brick.0.png"
    status, out, _ = run("predict", "--model", model, *asked, picture)
    assert status == 0 and out.splitlines()[1].split(",")[1] == "brick"
    status, _, err = run("predict", "--model", model, "--backbone", "nano", picture)
    assert status == 2 and "--backbone nano contradicts" in err
    status, out, _ = run("cache", "explain", *asked, picture)
    assert status == 0 and out.count("cached in") == 2
    status, out, _ = run("cache", "verify", "--data", surfaces, "--sample", "3", *asked)
    assert status == 0 and "3 rows computed again" in out


# --- real networks ---


def test_real_networks_of_other_sizes_and_weights_are_joined(shared: Path, tmp_path: Path) -> None:
    weights = str(next((shared / "weights").glob("mobilenet_v2_*_1.0_224_no_top.h5")))
    pictures = sorted(map(str, (shared / "images" / "flowers").rglob("*.jpg")))[:6]
    options: dict[str, Any] = {"weights": weights, "cache_dir": str(tmp_path / "cache")}
    extractor = pipeline.open_extractor(backbone="nano+mobilenet_v2", **options)
    outcome, rows = extractor.features(pictures)
    assert (rows.shape, outcome.forward_passes) == ((6, 2560), 12)
    nano = alone(str(tmp_path / "cache"), pictures, backbone="nano")
    outcome, mobilenet = pipeline.open_extractor(backbone="mobilenet_v2", **options).features(pictures)
    assert outcome.forward_passes == 0
    np.testing.assert_allclose(rows, np.concatenate([unit(nano), unit(mobilenet)], axis=1), rtol=1e-6)

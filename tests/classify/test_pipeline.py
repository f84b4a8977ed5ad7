"""The public functions on real photographs: what is computed, what is reused, what is refused."""

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import SPEC

import pipeline
from cache.errors import UserError


@pytest.fixture
def cache(warm_cache: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(warm_cache, tmp_path / "cache"))


@pytest.fixture
def model(surfaces: Path, cache: str, tmp_path: Path) -> str:
    path = str(tmp_path / "models" / "logreg.joblib")
    pipeline.train(str(surfaces), model=path, cache_dir=cache, **SPEC)
    return path


def some_paths(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.glob("*/*.png"))


def test_every_image_passes_the_network_once(photos: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "new")
    first = pipeline.features(str(photos), cache_dir=cache, **SPEC)
    assert (first["images"], first["computed"], first["cached"], first["failed"]) == (36, 36, 0, 0)
    assert first["forward_passes"] == 36
    second = pipeline.features(str(photos), cache_dir=cache, **SPEC)
    assert (second["computed"], second["cached"], second["forward_passes"]) == (0, 36, 0)


def test_training_reads_the_cache_over_all_heads_and_folds(surfaces: Path, cache: str, tmp_path: Path) -> None:
    for head in ("logreg", "svm", "ridge", "knn", "centroid"):
        model = str(tmp_path / f"{head}.joblib")
        report = pipeline.train(str(surfaces), head, model=model, cv=3, cache_dir=cache, **SPEC)
        assert report["forward_passes"] == 0
        assert report["baseline_accuracy"] < report["accuracy"] <= 1
        assert 0.5 < report["cv_accuracy"] <= 1
        assert report["classes"] == ["brick", "grass", "gravel"]
        assert np.sum(report["confusion_matrix"]) == 7  # a fifth of 36, rounded
        json.dumps(report, allow_nan=False)


def test_the_record_beside_the_model_says_what_it_is(model: str) -> None:
    record = json.loads(Path(model).with_suffix(".json").read_text())
    assert record["classes"] == ["brick", "grass", "gravel"]
    assert record["spec"]["backbone"] == "nano" and record["spec"]["view"] == "original"
    assert len(record["fingerprint"]) == len(record["payload"]["sha256"]) == 64
    assert {"scikit-learn", "tensorflow", "keras", "h5py", "numpy"} <= set(record["versions"])
    assert 0 < record["metrics"]["accuracy"] <= 1
    table = pd.read_csv(Path(model).with_suffix(".classes.csv"))
    assert list(table.columns)[:5] == ["class", "precision", "recall", "f1", "support"]
    for score in ("precision", "recall", "f1"):
        assert (table[f"{score}_low"] <= table[score]).all() and (table[score] <= table[f"{score}_high"]).all()
    tables = [Path(model).with_suffix(f".{name}.csv") for name in ("confusion", "confusion_normalized")]
    counts, shares = (pd.read_csv(path, index_col=0) for path in tables)
    assert (shares.T * counts.sum(axis=1)).T.round(9).equals(counts.astype(float))


def test_top_k_is_a_table_of_the_most_probable_labels(surfaces: Path, model: str) -> None:
    paths = some_paths(surfaces)[:2]
    table = pipeline.top_k(paths, model, k=2)
    assert list(table.columns) == ["path", "rank", "label", "probability", "margin"]
    assert list(table["path"]) == [paths[0]] * 2 + [paths[1]] * 2 and list(table["rank"]) == [1, 2, 1, 2]
    assert list(table[table["rank"] == 1]["label"]) == list(pipeline.predict(paths, model))


def test_a_damaged_image_has_no_label_and_the_others_keep_theirs(
    surfaces: Path, model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    good = some_paths(surfaces)[0]
    labels = pipeline.predict([str(bad), good], model)
    assert labels[0] is None and labels[1] == pipeline.predict(good, model)[0]
    assert np.isnan(pipeline.predict_proba([str(bad)], model)).all()
    assert "bad.png" in caplog.text


def test_the_datas_own_split_is_kept_and_leaks_are_counted(photos: Path, cache: str, tmp_path: Path) -> None:
    for number, path in enumerate(some_paths(photos)):
        part = photos / ("test" if number % 4 == 0 else "train") / path.split("/")[-2]
        part.mkdir(parents=True, exist_ok=True)
        shutil.move(path, part)
    for name in ("brick", "grass", "gravel"):
        (photos / name).rmdir()
    copied = next((photos / "train" / "brick").iterdir())
    shutil.copy(copied, photos / "test" / "brick" / "copy.png")
    model = str(tmp_path / "m.joblib")
    report = pipeline.train(str(photos), model=model, cache_dir=cache, cv=3, **SPEC)
    assert np.sum(report["confusion_matrix"]) == 10 and report["forward_passes"] == 0
    assert report["leaked"] == 1 and report["leaked_files"][0].endswith("copy.png")
    again = pipeline.evaluate(str(photos), model)
    assert np.sum(again["confusion_matrix"]) == 10 and again["leaked"] == 1
    scores = "accuracy", "accuracy_interval", "log_loss", "leaked_files", "without_leaked"
    assert {name: again[name] for name in scores} == {name: report[name] for name in scores}
    assert report["without_leaked"]["n"] == 9
    findings = pipeline.report(str(photos), model, str(tmp_path / "report.html"))
    assert findings.scores.accuracy == report["accuracy"] and findings.scores.n == 10
    assert findings.leaked.without is not None and findings.leaked.without.n == 9
    assert findings.leaked.without.accuracy == report["without_leaked"]["accuracy"]


def test_evaluate_scores_the_held_out_pictures_again(surfaces: Path, cache: str, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    trained = pipeline.train(str(surfaces), model=model, cache_dir=cache, **SPEC)
    evaluated = pipeline.evaluate(str(surfaces), model)
    assert evaluated["accuracy"] == trained["accuracy"]
    assert evaluated["leaked"] == 0 and evaluated["left_out"] == 29
    assert evaluated["confusion_matrix"] == trained["confusion_matrix"]


def test_a_refitted_model_leaves_nothing_to_evaluate_on(surfaces: Path, cache: str, tmp_path: Path) -> None:
    model = str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=cache, refit=True, **SPEC)
    with pytest.raises(UserError, match="trained on every one"):
        pipeline.evaluate(str(surfaces), model)


def test_weights_are_verified_by_digest_wherever_they_come_from(surfaces: Path, tmp_path: Path) -> None:
    from featurize.engines.keras_import import import_keras

    keras = import_keras()
    files = [str(tmp_path / name) for name in ("one.weights.h5", "two.weights.h5")]
    for seed, file in enumerate(files):
        keras.utils.set_random_seed(seed)
        network = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35, input_shape=(96, 96, 3))
        network.save_weights(file)
    spec: dict[str, object] = {"backbone": "mobilenet_v2_035", "size": 96, "weights": files[0]}
    cache, model = str(tmp_path / "cache"), str(tmp_path / "m.joblib")
    pipeline.train(str(surfaces), model=model, cache_dir=cache, **spec)
    expected = list(pipeline.predict(str(surfaces), model, use_cache=False))
    os.rename(files[0], tmp_path / "moved.weights.h5")
    assert list(pipeline.predict(str(surfaces), model)) == expected  # cached: needs no weights
    with pytest.raises(UserError, match=r"sha256:.*two\.weights.h5 has sha256:"):
        pipeline.predict(str(surfaces), model, weights=files[1])
    moved = str(tmp_path / "moved.weights.h5")
    assert list(pipeline.predict(str(surfaces), model, weights=moved, use_cache=False)) == expected
    os.rename(files[1], files[0])
    pipeline.load(model)  # the recorded path has other weights, those given since are right
    os.unlink(moved)
    with pytest.raises(UserError, match=r"one\.weights.h5 has sha256:"):
        pipeline.load(model)


def test_export_opens_in_plain_h5py_and_pandas(surfaces: Path, cache: str, tmp_path: Path) -> None:
    output = tmp_path / "features.h5"
    assert pipeline.export(str(surfaces), str(output), cache_dir=cache, **SPEC) == (36, 0)
    with h5py.File(output) as file:
        table = pd.DataFrame(file["features"][:], index=file["paths"].asstr()[:])
        labels = file["labels"].asstr()[:]
    assert table.shape == (36, 1280)
    assert [os.path.basename(os.path.dirname(path)) for path in table.index] == list(labels)
    assert np.array_equal(table.to_numpy(), pipeline.open_extractor(cache, **SPEC).features(list(table.index))[1])


def test_the_featurizer_is_a_transformer_over_paths(surfaces: Path, cache: str) -> None:
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    paths = some_paths(surfaces)
    labels = [path.split("/")[-2] for path in paths]
    featurizer = pipeline.Featurizer(cache_dir=cache, **SPEC)
    job = make_pipeline(featurizer, StandardScaler(), LogisticRegression(max_iter=1000))
    assert cross_val_score(clone(job), paths, labels, cv=3).mean() > 0.5
    assert job.fit(paths, labels).predict(paths[:2]).shape == (2,)
    with pytest.raises(UserError, match=r"missing\.png"):
        job.predict(["missing.png"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet"}, "resnet50_v2"),
        ({"pooling": "mean"}, "avg, max, flatten"),
        ({"resize": "lanczos"}, "antialias, nearest, bilinear"),
        ({"size": "big"}, "160x240"),
        ({"size": 16}, "32"),
        ({"weights": "nowhere.h5"}, "nowhere.h5"),
        ({"layer": "block9"}, "block8_1"),
        ({"head": "forest"}, "logreg, sgd, svm"),
        ({"head_params": {"C": -1}}, "C=-1"),
        ({"model": "m.pkl"}, ".joblib"),
        ({"test_size": 2}, "above 0 and below 1"),
        ({"cv": 13}, "12"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    surfaces: Path, cache: str, tmp_path: Path, options: dict, message: str
) -> None:
    options = {"model": str(tmp_path / "m.joblib"), "cache_dir": cache} | SPEC | options
    if "layer" in options:
        options["cache_dir"] = str(tmp_path / "other")
    with pytest.raises(UserError) as caught:
        pipeline.train(str(surfaces), **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_folds_that_cannot_be_are_refused_before_any_forward_pass(surfaces: Path, tmp_path: Path) -> None:
    cache = tmp_path / "new"
    for options in ({"cv": 13}, {"test_size": 1.5}):
        with pytest.raises(UserError):
            pipeline.train(str(surfaces), model=str(tmp_path / "m.joblib"), cache_dir=str(cache), **SPEC, **options)
    assert not cache.exists()


def test_an_unknown_option_is_a_type_error(surfaces: Path) -> None:
    with pytest.raises(TypeError, match="backbon"):
        pipeline.features(str(surfaces), backbon="vgg16")


def test_folders_in_a_list_are_predicted_picture_by_picture(surfaces: Path, model: str) -> None:
    folders = [str(surfaces / "grass"), str(surfaces / "brick")]
    one, other = (pipeline.predict_proba(folder, model) for folder in folders)
    assert np.array_equal(pipeline.predict_proba(folders, model), np.concatenate([one, other]))
    assert len(pipeline.predict(folders, model)) == 24 and None not in pipeline.predict(folders, model)
    paths = pipeline.top_k(folders, model, k=1)["path"]
    assert list(paths) == [str(path) for folder in folders for path in sorted(Path(folder).iterdir())]
    with pytest.raises(UserError, match="2 paths name 24 images, some are folders"):
        pipeline.Featurizer(**SPEC).transform(folders)

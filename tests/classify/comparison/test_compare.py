"""Comparing heads on what is cached: the same folds for all, no forward pass, and no candidate sees what is scored."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC
from helpers.storage.cached_rows import damage
from PIL import Image
from sklearn.datasets import load_digits

import featurize.machine.memory
import pipeline
from cache.errors import UserError
from classify.data.dataset import Dataset
from classify.data.grouping import Grouping
from classify.data.split import folds
from classify.heads.head_table import HEADS
from classify.scoring.out_of_fold import Folds, cross_validate
from featurize.engines.engine import Engine

QUICK = ("logreg", "ridge", "knn", "centroid")


@pytest.fixture
def cache(warm_cache: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(warm_cache, tmp_path / "cache"))


def compare(data: Path, cache: Path, *heads: str, **options: Any) -> dict[str, Any]:
    return pipeline.compare(str(data), heads=heads or QUICK, cache_dir=str(cache), **options)


def test_every_head_is_scored_in_the_folds_of_a_cross_validation(surfaces: Path, cache: Path, tmp_path: Path) -> None:
    report = compare(surfaces, cache, folds=3, seed=2)
    assert {line["head"] for line in report["lines"]} == set(QUICK) and report["pictures"] == 36
    ranks = [(-line["accuracy"], line["log_loss"]) for line in report["lines"]]
    assert ranks == sorted(ranks)
    for line in report["lines"]:
        trained = pipeline.train(
            str(surfaces), line["head"], cv=3, seed=2, cache_dir=str(cache), model=str(tmp_path / "m.joblib"), **SPEC
        )
        assert [fold["accuracy"] for fold in line["folds"]] == pytest.approx(trained["cv_scores"])
        low, high = line["accuracy_interval"]
        assert line["n"] == 36 and low < line["accuracy"] <= high <= 1
        assert sum(row["support"] for row in line["per_class"]) == 36
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_nothing_passes_the_network_which_is_counted(
    surfaces: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = []
    call = Engine.__call__
    monkeypatch.setattr(Engine, "__call__", lambda *args, **cost: passed.append(len(args[1])) or call(*args, **cost))
    report = compare(surfaces, cache)
    assert report["forward_passes"] == 0 and {line["forward_passes"] for line in report["lines"]} == {0}
    assert not passed
    pipeline.features(str(surfaces), cache_dir=str(cache), backbone="nano", size=64)
    assert sum(passed) == 36
    assert compare(surfaces, cache)["forward_passes"] == 0 and sum(passed) == 36


def test_specs_with_all_rows_are_compared_and_the_others_named(
    photos: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    pipeline.features(str(photos), cache_dir=str(cache), pooling="max", views=2, **SPEC)
    pipeline.features(str(photos / "brick"), cache_dir=str(cache), size=64, **SPEC)
    report = compare(photos, cache, "centroid")
    assert sorted(line["spec"]["pooling"] for line in report["lines"]) == ["avg", "max"]
    reasons = {one["features"].rpartition("-")[0]: one["reason"] for one in report["left_out"]}
    assert reasons == {
        "nano-features-avg-64": "24 of 36 pictures have no row",
        "nano-features-max-96-mirror-crops-1": "augmented views have no line of their own",
    }
    assert "not compared, 24 of 36 pictures have no row: nano-features-avg-64-" in caplog.text
    chosen = compare(photos, cache, "centroid", pooling="max")
    assert [line["spec"]["pooling"] for line in chosen["lines"]] == ["max"]
    assert "pooling is not max" in {one["reason"] for one in chosen["left_out"]}
    with pytest.raises(UserError, match=r"no spec in .* has the rows of these 36 pictures"):
        compare(photos, cache, backbone="vgg16")
    with pytest.raises(UserError, match="views 4"):
        compare(photos, cache, views=4)


def test_a_picture_that_cannot_be_decoded_is_a_failure_and_one_that_can_lacks_a_row(photos: Path, cache: Path) -> None:
    (photos / "brick" / "bad.png").write_bytes(b"\x89PNG but not for long")
    report = compare(photos, cache, "centroid")
    assert report["pictures"] == 36 and report["images"] == 37
    assert [Path(failure["path"]).name for failure in report["failures"]] == ["bad.png"]
    pipeline.features(str(photos), cache_dir=str(cache), pooling="max", **SPEC)
    other = pipeline.open_extractor(str(cache), pooling="max", **SPEC).store
    key = np.frombuffer(hashlib.sha256((photos / "brick" / "bad.png").read_bytes()).digest(), np.uint8)[None]
    other.commit(np.ones((1, 1280), np.float32), key, {})
    report = compare(photos, cache, "centroid")
    assert [line["spec"]["pooling"] for line in report["lines"]] == ["max"] and report["pictures"] == 37
    assert [one["reason"] for one in report["left_out"]] == ["1 of 37 pictures have no row"]
    Image.new("RGB", (50, 50), "red").save(photos / "brick" / "new.png")
    with pytest.raises(UserError, match="of these 38 pictures"):
        compare(photos, cache, "centroid")


def test_joined_backbones_are_compared_with_each_of_them_alone(surfaces: Path, cache: Path, tmp_path: Path) -> None:
    pipeline.features(str(surfaces), cache_dir=str(cache), backbone="nano", size=64)
    both: dict[str, Any] = {"backbone": "nano+nano", "size": "96+64"}
    report = compare(surfaces, cache, "ridge", folds=3, **both)
    assert report["forward_passes"] == 0 and len(report["lines"]) == 3
    (line,) = [line for line in report["lines"] if line["backbone"] == "nano+nano"]
    assert [part["size"] for part in line["spec"]["parts"]] == [[96, 96], [64, 64]]
    assert sorted(line["features"].split(" + ")) == sorted(
        other["features"] for other in report["lines"] if other is not line
    )
    trained = pipeline.train(
        str(surfaces), "ridge", cv=3, cache_dir=str(cache), model=str(tmp_path / "m.joblib"), **both
    )
    assert [fold["accuracy"] for fold in line["folds"]] == pytest.approx(trained["cv_scores"])
    assert len(compare(surfaces, cache, "ridge")["lines"]) == 2


def test_a_damaged_shard_costs_its_spec_alone(surfaces: Path, cache: Path) -> None:
    pipeline.features(str(surfaces), cache_dir=str(cache), pooling="max", **SPEC)
    (folder,) = cache.glob("nano-features-max-*")
    (shard,) = folder.glob("*.h5")
    damage(str(shard))
    report = compare(surfaces, cache, "centroid")
    assert [line["spec"]["pooling"] for line in report["lines"]] == ["avg"]
    (failed,) = report["not_compared"]
    assert failed["features"] == folder.name and "damaged or gone: `features` computes them again" in failed["reason"]


def test_a_head_that_fails_on_the_data_is_named_and_the_others_go_on(
    surfaces: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featurize.machine.memory, "free_memory", lambda: 100_000)
    report = compare(surfaces, cache, "svm", "sgd", "finetune")
    assert [line["head"] for line in report["lines"]] == ["sgd"]
    (without, failed) = report["not_compared"]
    assert without["head"] == "finetune" and "takes maps, and none of these pictures are cached" in without["reason"]
    assert failed["head"] == "svm" and "svm cannot stream them" in failed["reason"]
    with pytest.raises(UserError, match=r"no head can be compared; the first of 1: .*svm cannot stream"):
        compare(surfaces, cache, "svm")


def test_what_cannot_be_done_is_refused(photos: Path, cache: Path) -> None:
    with pytest.raises(UserError, match="unknown head 'forest'"):
        compare(photos, cache, "forest")
    with pytest.raises(UserError, match="too few different pictures"):
        compare(photos, cache, folds=13)
    with pytest.raises(UserError, match="no spec in"):
        compare(photos, cache.with_name("no cache"))


def test_under_an_own_split_the_folds_are_of_the_train_folder_alone(
    surfaces: Path, cache: Path, tmp_path: Path
) -> None:
    for name in ("brick", "grass", "gravel"):
        shutil.copytree(surfaces / name, tmp_path / "data" / "train" / name)
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        Image.new("RGB", (60, 60), "blue").save(tmp_path / "data" / "test" / name / f"{name}.png")
    report = compare(tmp_path / "data", cache, "centroid")
    assert report["pictures"] == 36 and report["forward_passes"] == 0


def test_the_size_is_that_of_the_saved_files(surfaces: Path, cache: Path, tmp_path: Path) -> None:
    report = compare(surfaces, cache, "logreg", "knn", folds=6)
    size = {line["head"]: line["bytes"] for line in report["lines"]}
    assert size["knn"] > 4 * 1280 * 30  # it keeps the rows
    options: dict[str, Any] = {"test_size": 1 / 6, "cache_dir": str(cache), "model": str(tmp_path / "m.joblib")}
    assert pipeline.train(str(surfaces), "logreg", **options, **SPEC)["n"] == 6
    saved = sum((tmp_path / name).stat().st_size for name in ("m.joblib", "m.npz"))
    assert abs(size["logreg"] - saved) < 200  # the temperature and the place of the weights are told in other words


def test_fine_tuning_is_compared_where_its_maps_are_cached(
    surfaces: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"epochs": 1, "learning_rate": 1e-4}
    pipeline.train(
        str(surfaces), "finetune", layer="down16", head_params=quick, cache_dir=str(cache),
        model=str(tmp_path / "m.joblib"), **SPEC,
    )  # fmt: skip
    report = compare(surfaces, cache, "centroid", "finetune", folds=2)
    (line,) = [line for line in report["lines"] if line["head"] == "finetune"]
    assert line["spec"]["layer"] == "down16" and line["accuracy"] > 0.8
    assert (line["views"]["train"], line["views"]["predict"]) == HEADS["finetune"].views
    assert report["forward_passes"] == 0 and not report["not_compared"]
    monkeypatch.setattr("featurize.extract.cached_specs._candidates", lambda *_: iter(()))
    report = compare(surfaces, cache, "centroid", "finetune", folds=2)
    assert [line["head"] for line in report["lines"]] == ["centroid"]
    assert "the weights of its backbone are not to be found" in report["not_compared"][0]["reason"]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """250 different digits from 0 to 4."""
    pixels, numbers = load_digits(n_class=5, return_X_y=True)
    pixels, first = np.unique(pixels.astype(np.float32), axis=0, return_index=True)
    chosen = np.random.default_rng(0).permutation(len(pixels))[:250]
    digests = [hashlib.sha256(row.tobytes()).digest() for row in pixels[chosen]]
    return Dataset(
        features=pixels[chosen],
        labels=numbers[first][chosen].astype(str),
        parts=np.full(250, "all"),
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
        paths=[f"{number}.png" for number in range(250)],
    )


@pytest.mark.parametrize("head", ["logreg", "knn"])
def test_each_fold_is_tuned_without_the_pictures_that_it_is_scored_on(digits: Dataset, head: str) -> None:
    each = np.arange(250)
    plan = Folds(Grouping(each), folds(digits.labels, each, 3, 0), search=True, seed=0)
    plain = cross_validate(digits, head, {}, plan)
    assert [len(fold["search"][0]["scores"]) for fold in plain.folds] == [5] * 3
    for number, (_, test) in enumerate(plan.splits):
        spoiled = digits.features.copy()
        spoiled[test] = np.random.default_rng(0).random((len(test), 64))
        labels = digits.labels.copy()
        labels[test] = np.roll(labels[test], 1)
        other = cross_validate(replace(digits, features=spoiled, labels=labels), head, {}, plan).folds[number]
        before = plain.folds[number]
        assert other["params"] == before["params"] and other["accuracy"] < before["accuracy"]
        scores, expected = ([row["scores"] for row in fold["search"]] for fold in (other, before))
        assert np.allclose(scores, expected, atol=1e-12)


def test_the_command_prints_a_leaderboard_and_draws_it(
    run: Callable[..., tuple[int, str, str]], surfaces: Path, cache: Path, tmp_path: Path
) -> None:
    words = ("compare", "--data", surfaces, "--cache-dir", cache, "--folds", 3)
    status, out, err = run(
        *words, "--output", tmp_path / "heads.svg", "--json", tmp_path / "r.json", "--heads", "ridge", "knn", "finetune"
    )
    assert status == 0 and "Traceback" not in err
    assert "36 pictures of 3 classes in 3 folds\n" in out and "forward passes 0;" in out
    assert "not compared: finetune: takes maps" in out
    report = json.loads((tmp_path / "r.json").read_text())
    rows = [line.split() for line in out.splitlines() if " to " in line]
    assert [row[0] for row in rows] == [line["head"] for line in report["lines"]]
    assert [float(row[2]) for row in rows] == pytest.approx([line["accuracy"] for line in report["lines"]], abs=1e-4)
    svg = (tmp_path / "heads.svg").read_text()
    assert "<svg" in svg and all(f">{text}<" in svg for text in ("ridge", "knn", "nano-features-avg-96"))
    status, out, _ = run(*words, "--output", tmp_path / "heads.png", "--heads", "ridge,knn", "--search")
    assert status == 0 and "each tuned inside every fold" in out
    with Image.open(tmp_path / "heads.png") as drawn:
        assert drawn.format == "PNG" and min(drawn.size) > 300
    status, _, err = run(*words, "--output", tmp_path / "heads.pdf")
    assert status == 2 and "heads.pdf'" in err and ".svg or .png" in err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"backbone": "mobilnet_v2"}, "mobilnet_v2"),
        ({"backbone": "nowhere.keras"}, r"there is no file .*nowhere\.keras"),
        ({"weights": "nowhere.h5"}, r"there is no file .*nowhere\.h5"),
    ],
)
def test_what_there_is_not_is_refused_by_name(
    surfaces: Path, cache: Path, options: dict[str, str], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        compare(surfaces, cache, **options)


def test_a_picture_that_goes_meanwhile_costs_no_traceback(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import classify.comparison.compare_heads as comparison

    cut = comparison.groups_needed

    def then_gone(*arguments: Any) -> Any:
        (photos / "brick" / "brick.3.png").unlink()
        return cut(*arguments)

    monkeypatch.setattr(comparison, "groups_needed", then_gone)
    with pytest.raises(UserError, match="changed or gone"):
        compare(photos, cache, "centroid")

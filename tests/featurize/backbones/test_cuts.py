"""Where a backbone can be cut, which cut is taken, and fine-tuning from the command line to the prediction."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPEC

import classify.heads.finetune.cut_choice
import featurize.backbones.cuts
import pipeline
from cache.digest_table import DigestTable
from cache.errors import UserError
from classify.heads.finetune.cut_choice import spec_at_cut
from classify.labels.read_labels import read_labels
from featurize.backbones.cuts import candidate_cuts
from featurize.backbones.tail import Tail
from featurize.backbones.weights import Weights
from featurize.resolve import resolve

SMALL = {"backbone": "mobilenet_v2_035", "weights": "random", "size": 64}
QUICK = {"epochs": 1, "verbose": 0}


@pytest.mark.parametrize("options", [SMALL, SPEC, {"backbone": "efficientnet_lite0", "weights": "random", "size": 64}])
def test_cuts_part_a_network_in_two(options: dict[str, Any], tmp_path: Path) -> None:
    resolved = resolve(DigestTable(str(tmp_path)), **options)
    cuts = candidate_cuts(resolved, np.inf)
    assert cuts and [cut.share_above for cut in cuts] == sorted(cut.share_above for cut in cuts)
    for cut in cuts:
        tail = Tail(resolved.network, resolved.weights, resolved.spec.size, cut.layer).build()
        assert tail.input_shape[1:] == cut.shape and cut.row_bytes == 2 * np.prod(cut.shape)
        assert 0 < cut.share_above < 1


def test_maps_that_take_too_much_are_no_candidates(tmp_path: Path) -> None:
    resolved = resolve(DigestTable(str(tmp_path)), **SPEC)
    sizes = [cut.row_bytes for cut in candidate_cuts(resolved, np.inf)]
    assert all(cut.row_bytes < max(sizes) for cut in candidate_cuts(resolved, max(sizes) - 1))
    assert candidate_cuts(resolved, 1) == []


def test_a_layer_beside_a_shortcut_is_no_place_to_cut(tmp_path: Path) -> None:
    resolved = resolve(DigestTable(str(tmp_path)), **SMALL)
    with pytest.raises(UserError, match=r"'block_14_expand' .* is no place to cut"):
        Tail(resolved.network, resolved.weights, resolved.spec.size, "block_14_expand").build()


def test_every_view_passes_the_lower_part_once_over_all_folds(surfaces: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "head": "finetune", "layer": "down16", "cv": 2, "head_params": QUICK,
        "cache_dir": str(tmp_path / "cache"), "model": str(tmp_path / "m.joblib"),
    } | SPEC  # fmt: skip
    report = pipeline.train(str(surfaces), **options)
    assert (report["images"], report["forward_passes"]) == (36, 36 * 8)
    assert (report["views"], report["predict_views"], report["recipe"]) == (8, 8, "mirror-crops")
    assert report["accuracy"] > 0.8 and len(report["cv_scores"]) == 2
    again = pipeline.train(str(surfaces), **(options | {"cv": 0, "views": 3, "predict_views": 3}))
    assert again["forward_passes"] == 0
    with open(tmp_path / "m.history.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["epoch", "seconds", "loss", "accuracy", "val_loss", "val_accuracy"] and len(rows) == 1
    record = json.loads((tmp_path / "m.json").read_text())
    assert record["head_params"] == QUICK and record["metrics"]["history"]["loss"]
    assert (record["spec"]["pooling"], record["spec"]["stored"], record["spec"]["layer"]) == (
        "none",
        "float16",
        "down16",
    )
    found = pipeline.predict(str(surfaces), options["model"])
    assert (found == [path.parent.name for path in sorted(surfaces.glob("*/*.png"))]).mean() > 0.8


def test_a_search_tunes_it(surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {"learning_rate": [1e-6, 3e-4]}
    monkeypatch.setattr("classify.hyperparameter_search.search_grid", lambda _: grid)
    report = pipeline.train(
        str(surfaces), "finetune", layer="down16", views=1, search=True, head_params=QUICK | {"validation_fraction": 0},
        cache_dir=str(tmp_path / "cache"), model=str(tmp_path / "m.joblib"), **SPEC,
    )  # fmt: skip
    assert [row["params"] for row in report["search"]] == [{"learning_rate": rate} for rate in (1e-6, 3e-4)]
    assert report["forward_passes"] == 36


def test_a_cut_is_chosen_by_a_trial_without_the_test_pictures(
    surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bottleneck")
    monkeypatch.setattr(classify.heads.finetune.cut_choice, "PICTURES", 18)
    monkeypatch.setattr(featurize.backbones.cuts, "SHARES", (0.5, 0.7))
    data = tmp_path / "photos"
    for part, numbers in (("train", range(9)), ("test", range(9, 12))):
        for name in ("brick", "grass", "gravel"):
            (data / part / name).mkdir(parents=True)
            for number in numbers:
                picture = f"{name}.{number}.png"
                (data / part / name / picture).write_bytes((surfaces / name / picture).read_bytes())
    report = pipeline.train(
        str(data), "finetune", cut="auto", views=1, head_params=QUICK,
        cache_dir=str(tmp_path / "cache"), model=str(tmp_path / "m.joblib"), **SPEC,
    )  # fmt: skip
    tried = [line.split()[1].rstrip(":") for line in caplog.messages if line.startswith("cut ")]
    chosen = json.loads((tmp_path / "m.json").read_text())["spec"]["layer"]
    assert f"cut: {chosen}" in caplog.messages and chosen in tried and len(tried) > 1
    assert report["images"] == 36 and report["forward_passes"] == 36 - 18  # the others are cached since the trial


@pytest.mark.parametrize(
    ("head", "options", "reason"),
    [
        ("logreg", {"cut": "down16"}, "cut 'down16': the head logreg trains no layers"),
        ("finetune", {"pooling": "avg"}, "pooling 'avg': the head finetune takes maps"),
        ("finetune", {"cut": "down8", "layer": "down16"}, "cut 'down8' contradicts layer 'down16'"),
        ("finetune", {"cut": "down17"}, "unknown layer 'down17'"),
        ("finetune", {"cut": "block16_2_expand"}, "is no place to cut"),
    ],
)
def test_cuts_that_cannot_be_are_refused(
    surfaces: Path, tmp_path: Path, head: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        pipeline.train(
            str(surfaces), head, cache_dir=str(tmp_path / "cache"), model=str(tmp_path / "m.joblib"), **SPEC, **options
        )


def test_no_room_for_any_maps_is_an_error_before_any_work(
    surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify.heads.finetune.cut_choice, "MEMORY", 0.0)
    with pytest.raises(UserError, match="no place to cut nano was found whose maps take less than 0 bytes a view"):
        pipeline.train(str(surfaces), "finetune", cache_dir=str(tmp_path), model=str(tmp_path / "m.joblib"), **SPEC)


def test_a_cut_that_was_measured_is_taken_without_a_trial_unless_one_is_asked_for(
    surfaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(featurize.backbones.cuts.MEASURED, "nano", "down16")
    found = read_labels(str(surfaces))
    assert spec_at_cut({"backbone": "nano"}, None, found, str(tmp_path), 0)["layer"] == "down16"
    assert spec_at_cut({"backbone": "nano", "layer": "down8"}, None, found, str(tmp_path), 0)["layer"] == "down8"
    assert spec_at_cut({"backbone": "nano"}, "down8", found, str(tmp_path), 0)["layer"] == "down8"
    assert not caplog.text
    monkeypatch.setattr(classify.heads.finetune.cut_choice, "choose_cut", lambda *_: "tried")
    assert spec_at_cut({"backbone": "nano"}, "auto", found, str(tmp_path), 0)["layer"] == "tried"
    assert (
        spec_at_cut({"backbone": "mobilenet_v2_035", "weights": "random"}, None, found, str(tmp_path), 0)["layer"]
        == "tried"
    )


def test_measured_cuts_are_places_to_cut() -> None:
    for backbone, layer in featurize.backbones.cuts.MEASURED.items():
        tail = Tail(backbone, Weights("random", ""), (64, 64), layer).build()
        assert len(tail.input_shape) == 4


def test_of_cuts_with_much_the_same_work_above_them_the_measured_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = resolve(DigestTable(str(tmp_path)), **SMALL)
    before = [cut.layer for cut in candidate_cuts(resolved, np.inf)]
    assert "block_13_project_BN" not in before
    monkeypatch.setitem(featurize.backbones.cuts.MEASURED, "mobilenet_v2_035", "block_13_project_BN")
    after = [cut.layer for cut in candidate_cuts(resolved, np.inf)]
    assert "block_13_project_BN" in after and len(set(before) & set(after)) == len(before) - 1


def test_an_earlier_cut_is_taken_only_if_it_is_clearly_better() -> None:
    losses = np.random.default_rng(0).uniform(0, 1, 80)
    chance = np.random.default_rng(1).normal(0, 0.1, 80)
    clearly_lower = classify.heads.finetune.cut_choice._clearly_lower
    assert clearly_lower(losses - 0.02, losses + chance - chance.mean())
    assert not clearly_lower(losses - 0.005, losses + chance - chance.mean())
    assert not clearly_lower(losses, losses)
